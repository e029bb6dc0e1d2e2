from typing import Any

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models.bpr import Bpr, BprConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(settings={"factors": 8, "learning_rate": 0.1, "epochs": 60})

USERS, ITEMS = 20, 16


@pytest.fixture
def checkerboard(shop_of: Any) -> Interactions:
    """Even users have all even items, odd users all odd ones."""
    return shop_of(
        [(f"u{user:02}", f"i{item:02}", 1.0, 5.0) for user in range(USERS) for item in range(user % 2, ITEMS, 2)]
    )


def margins(shop: Interactions, epochs: int) -> np.ndarray:
    """For every user, score of an item the user has less score of one the user has not."""
    config = BprConfig(factors=8, learning_rate=0.05, epochs=epochs)
    scores = Bpr(config).fit(shop).scores(np.arange(USERS, dtype=np.int32))
    has = shop.user_items.toarray() > 0
    pairs = [(scores[user, has[user]][:, None] - scores[user, ~has[user]]).ravel() for user in range(USERS)]
    return np.concatenate(pairs)


def test_observed_items_rank_above_all_others(checkerboard: Interactions):
    assert (margins(checkerboard, 120) > 0).all()


def test_the_loss_of_the_paper_falls(checkerboard: Interactions):
    losses = [np.log1p(np.exp(-margins(checkerboard, epochs))).mean() for epochs in (1, 20, 60, 120)]
    assert losses[0] == pytest.approx(np.log(2), abs=0.05)
    assert (np.diff(losses) < 0).all()
    assert losses[-1] < 0.3


def test_where_tastes_do_not_differ_it_ranks_by_popularity(shop_of: Any):
    """Everybody wants two items, item j in proportion to 1 / (1 + j): the paper's score is log popularity."""
    generator = np.random.default_rng(5)
    share = 1 / (1 + np.arange(40)) / (1 / (1 + np.arange(40))).sum()
    wants = [(user, item) for user in range(500) for item in generator.choice(40, 2, replace=False, p=share)]
    shop = shop_of([(f"u{user:03}", f"i{item:02}", 1.0, 5.0) for user, item in wants])
    mean = Bpr(BprConfig(factors=4)).fit(shop).scores(np.arange(500, dtype=np.int32)).mean(axis=0)
    log_popularity = np.log(np.bincount([item for _, item in wants]))
    assert np.corrcoef(mean, log_popularity)[0, 1] > 0.95
    assert np.polyfit(log_popularity, mean, 1)[0] == pytest.approx(1, abs=0.2)


def test_confidences_are_not_used(shop_of: Any):
    events = [("a", "p", 1.0, 1.0), ("a", "q", 1.0, 2.0), ("b", "q", 1.0, 4.0), ("c", "r", 1.0, 1.0)]
    equal = [(user, item, age, 5.0) for user, item, age, _ in events]
    one, other = (Bpr().fit(shop_of(weighted)) for weighted in (events, equal))
    np.testing.assert_array_equal(one.user_factors, other.user_factors)
    np.testing.assert_array_equal(one.item_bias, other.item_bias)


def test_another_seed_gives_other_factors(checkerboard: Interactions):
    one, other = (Bpr(BprConfig(factors=4, seed=seed)).fit(checkerboard) for seed in (0, 1))
    assert not np.array_equal(one.user_factors, other.user_factors)


def test_a_fit_that_is_not_finite_is_an_error(checkerboard: Interactions):
    with pytest.raises(ModelError, match="bpr: the fit gave factors that are not finite"):
        Bpr(BprConfig(learning_rate=1e30)).fit(checkerboard)
