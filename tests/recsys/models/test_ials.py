from typing import Any

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models import ials
from recsys.models.ials import Ials, IalsConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(settings={"factors": 8, "regularization": 0.3, "unobserved_weight": 1.0})

CONFIG = IalsConfig(factors=2, regularization=0.1, unobserved_weight=0.3, frequency_exponent=0.5, epochs=300)


@pytest.fixture
def shop(shop_of: Any) -> Interactions:
    pairs = ["ap", "aq", "bq", "br", "cp", "cs", "dr", "ds", "es", "eq", "fp", "fq", "fr", "fs"]
    return shop_of([(user, item, 1.0, 1.0) for user, item in pairs])


def penalties(positives: np.ndarray, config: IalsConfig) -> np.ndarray:
    """Of each row, by the docstring."""
    counts = positives.sum(axis=1)
    weighs = counts + config.unobserved_weight * counts.mean()
    return config.regularization * counts.mean() * (weighs / weighs.mean()) ** config.frequency_exponent


def loss(shop: Interactions, users: np.ndarray, items: np.ndarray, config: IalsConfig) -> float:
    """The sum of the class's docstring, in float64."""
    positives = (shop.positives.toarray() > 0).astype(float)
    scores = users @ items.T
    squares = penalties(positives, config) @ (users**2).sum(1) + penalties(positives.T, config) @ (items**2).sum(1)
    observed = (positives * (1 - scores) ** 2).sum()
    return float(observed + config.unobserved_weight * positives.mean() * (scores**2).sum() + squares)


def in_double(model: Ials) -> tuple[np.ndarray, np.ndarray]:
    return model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)


def test_one_factor_by_hand(shop_of: Any):
    """One user, one item, x = y: (1 - x^2)^2 + 0.5 x^4 + 2 r x^2 is least where x^2 = (1 - r) / 1.5, r = 0.1."""
    config = IalsConfig(factors=1, regularization=0.1, unobserved_weight=0.5, epochs=200)
    model = Ials(config).fit(shop_of([("a", "p", 1.0, 1.0)]))
    assert model.scores(np.array([0], np.int32))[0, 0] == pytest.approx((1 - 0.1) / 1.5, rel=1e-4)


@pytest.mark.parametrize("block", [1, 2, 256])
def test_the_fit_ends_where_no_small_step_lowers_the_loss(
    shop: Interactions, block: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ials, "BLOCK_ROWS", block)
    users, items = in_double(Ials(CONFIG).fit(shop))
    best = loss(shop, users, items, CONFIG)
    assert best < loss(shop, users * 0, items * 0, CONFIG) - 1
    generator = np.random.default_rng(1)
    for _ in range(200):
        to_users, to_items = generator.normal(0, 0.01, users.shape), generator.normal(0, 0.01, items.shape)
        assert loss(shop, users + to_users, items + to_items, CONFIG) > best - 1e-6


def test_more_alternations_never_raise_the_loss(shop: Interactions):
    result: list[float] = []
    for epochs in (1, 2, 4, 8):
        config = IalsConfig(5, 0.1, 0.3, 0.5, epochs)
        result.append(loss(shop, *in_double(Ials(config).fit(shop)), config))
    assert result == sorted(result, reverse=True)
    assert result[0] > result[-1] + 0.01


def test_a_greater_exponent_holds_those_with_much_history_back(shop: Interactions):
    """User f has twice the items of the others."""
    even, scaled = (Ials(IalsConfig(2, 0.1, 0.01, power, 100)).fit(shop) for power in (0.0, 2.0))
    lengths = [np.linalg.norm(model.user_factors, axis=1) for model in (even, scaled)]
    assert lengths[1][5] / lengths[1][:5].mean() < lengths[0][5] / lengths[0][:5].mean()


def test_a_user_who_wants_nothing_any_more_has_no_list(shop_of: Any):
    events = [("a", "p", 1.0, 5.0), ("b", "p", 1.0, 5.0), ("b", "q", 1.0, 5.0), ("c", "q", 1.0, -5.0)]
    rows, _ = Ials(CONFIG).fit(shop_of(events)).recommend(np.array([1, 2], np.int32), 2)
    assert (rows[0] >= 0).all()
    assert rows[1].tolist() == [-1, -1]


def test_an_alternation_of_enough_steps_solves_for_each_vector(shop: Interactions, monkeypatch: pytest.MonkeyPatch):
    """The users' vectors are those of the normal equations, from the items' vectors before the alternation."""
    monkeypatch.setattr(ials, "STEPS", 8)
    generator = np.random.default_rng(5)
    items = generator.normal(size=(4, 3)).astype(np.float32)
    users = generator.normal(size=(6, 3)).astype(np.float32)
    Ials(CONFIG)._update(shop.positives, items, users)
    positives = (shop.positives.toarray() > 0).astype(float)
    weight = CONFIG.unobserved_weight * positives.mean()
    for row, penalty in enumerate(penalties(positives, CONFIG)):
        own = items[positives[row] > 0].astype(float)
        hessian = weight * items.T @ items + own.T @ own + penalty * np.eye(3)
        np.testing.assert_allclose(users[row], np.linalg.solve(hessian, own.sum(0)), rtol=1e-3, atol=1e-5)


def test_a_fit_that_is_not_finite_is_an_error(shop: Interactions):
    with pytest.raises(ModelError, match="ials: the fit gave user_factors that are not finite"):
        Ials(IalsConfig(factors=16, regularization=1e39)).fit(shop)
