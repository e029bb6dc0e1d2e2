from typing import Any

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models.als import Als, AlsConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(settings={"factors": 8, "regularization": 0.5})

CONFIG = AlsConfig(factors=2, regularization=0.05, alpha=3.0, epochs=200)


@pytest.fixture
def shop(shop_of: Any) -> Interactions:
    events = [("a", "p", 1.0), ("a", "q", 4.0), ("b", "q", 2.0), ("b", "r", 1.0), ("c", "p", 5.0)]
    more = [("c", "s", 1.0), ("d", "r", 3.0), ("d", "s", 2.0), ("e", "s", 0.5), ("e", "q", 1.0), ("e", "p", -1.0)]
    return shop_of([(user, item, 1.0, weight) for user, item, weight in events + more])


def objective(shop: Interactions, users: np.ndarray, items: np.ndarray) -> float:
    """The sum of the class's docstring, in float64."""
    confidence = shop.user_items.toarray().astype(np.float64)
    positives = confidence > 0
    weight = np.where(positives, CONFIG.alpha * confidence / confidence[positives].mean(), 1)
    squares = (users**2).sum() + (items**2).sum()
    regularization = CONFIG.regularization * weight[positives].sum() / len(positives)
    return float((weight * (positives - users @ items.T) ** 2).sum() + regularization * squares)


def gradient(shop: Interactions, factors: np.ndarray, users: int) -> np.ndarray:
    """By central differences, over all factors of users, then items."""
    result = np.zeros_like(factors)
    for place in np.ndindex(factors.shape):
        step = np.zeros_like(factors)
        step[place] = 1e-5
        high, low = factors + step, factors - step
        result[place] = objective(shop, high[:users], high[users:]) - objective(shop, low[:users], low[users:])
    return result / 2e-5


def test_the_fit_ends_where_the_objective_is_flat(shop: Interactions):
    model = Als(CONFIG).fit(shop)
    factors = np.concatenate([model.user_factors, model.item_factors]).astype(np.float64)
    assert np.abs(gradient(shop, factors * 1.1, shop.shape[0])).max() > 0.1
    assert np.abs(gradient(shop, factors, shop.shape[0])).max() < 1e-3


def test_no_small_step_lowers_the_objective(shop: Interactions):
    model = Als(CONFIG).fit(shop)
    users, items = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
    best = objective(shop, users, items)
    generator = np.random.default_rng(1)
    for _ in range(200):
        to_users, to_items = generator.normal(0, 0.01, users.shape), generator.normal(0, 0.01, items.shape)
        assert objective(shop, users + to_users, items + to_items) > best - 1e-6


def test_the_scale_of_the_weights_changes_nothing(shop_of: Any):
    events = [("a", "p", 1.0, 1.0), ("a", "q", 1.0, 2.0), ("b", "q", 1.0, 4.0), ("c", "r", 1.0, 1.0)]
    eightfold = [(user, item, age, 8 * weight) for user, item, age, weight in events]
    one, other = (Als(CONFIG).fit(shop_of(weighted)) for weighted in (events, eightfold))
    np.testing.assert_array_equal(one.user_factors, other.user_factors)


def test_more_confidence_gives_a_score_nearer_to_one(shop: Interactions):
    """User c wants p five times as much as s, of which others want more."""
    scores = Als(CONFIG).fit(shop).scores(np.array([2], np.int32))[0]
    assert 0 < scores[3] < scores[0] < 1


def test_a_user_who_wants_nothing_any_more_has_no_list(shop_of: Any):
    events = [("a", "p", 1.0, 5.0), ("b", "p", 1.0, 5.0), ("b", "q", 1.0, 5.0), ("c", "q", 1.0, -5.0)]
    rows, _ = Als(CONFIG).fit(shop_of(events)).recommend(np.array([1, 2], np.int32), 2)
    assert (rows[0] >= 0).all()
    assert rows[1].tolist() == [-1, -1]


def test_a_fit_that_is_not_finite_is_an_error(shop: Interactions):
    with pytest.raises(ModelError, match="als: the fit gave factors that are not finite"):
        Als(AlsConfig(alpha=1e38)).fit(shop)
