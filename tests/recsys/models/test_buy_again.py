"""Learned repeats: what is due comes first, though something else was bought more often."""

from typing import Any

import numpy as np

from recsys.models.buy_again import BuyAgain, BuyAgainConfig
from recsys.models.repurchase import Repurchase
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(
    settings={"horizon_days": 60, "windows": 1, "leaf_rows": 5, "trees": 10},
    predicts_new_items=False,
    needs_repeats=True,
)

BUY = 5.0
SMALL = BuyAgainConfig(horizon_days=10, windows=2, trees=30, leaf_rows=20, candidates=3)


def shop_with_a_rhythm(shop_of: Any):
    """Each of 120 users buys `weekly` every 7 days to this day, and bought `gone` daily until 40 days ago.

    `once` was bought by some, once. Only `weekly` is bought in any horizon.
    """
    events = [
        (f"u{user:03}", "weekly", 0.5 + 7 * week + user % 5, BUY) for user in range(120) for week in range(12)
    ]
    events += [(f"u{user:03}", "gone", 40.5 + day, BUY) for user in range(120) for day in range(60)]
    events += [(f"u{user:03}", "once", 60.5, BUY) for user in range(0, 120, 2)]
    return shop_of(events)


def test_what_is_due_comes_before_what_was_bought_more_often_and_dropped(shop_of: Any):
    shop = shop_with_a_rhythm(shop_of)
    everyone = np.arange(shop.shape[0], dtype=np.int32)
    gone, once, weekly = 0, 1, 2
    by_rate, _ = Repurchase().fit(shop).recommend(everyone, 1)
    by_chance, _ = BuyAgain(SMALL).fit(shop).recommend(everyone, 1)
    assert (by_rate == gone).all()
    assert (by_chance == weekly).all()
    assert once not in by_chance


def test_the_chance_is_one_of_a_purchase(shop_of: Any):
    shop = shop_with_a_rhythm(shop_of)
    scores = BuyAgain(SMALL).fit(shop).scores(np.arange(shop.shape[0], dtype=np.int32))
    assert (scores[:, 2] - 1 > 0.8).all()
    assert (scores[:, 0] - 1 < 0.2).all()


def test_without_a_history_as_long_as_the_horizon_repurchase_decides(shop_of: Any):
    shop = shop_of([("a", "p", 3.5, BUY), ("a", "q", 1.5, BUY), ("b", "p", 2.5, BUY)])
    everyone = np.arange(2, dtype=np.int32)
    result, expected = BuyAgain(SMALL).fit(shop), Repurchase().fit(shop)
    np.testing.assert_array_equal(result.recommend(everyone, 2)[0], expected.recommend(everyone, 2)[0])


def test_candidates_are_ranked_and_the_rest_keeps_its_order(shop_of: Any):
    shop = shop_with_a_rhythm(shop_of)
    everyone = np.arange(shop.shape[0], dtype=np.int32)
    few = BuyAgain(BuyAgainConfig(horizon_days=10, windows=2, trees=30, leaf_rows=20, candidates=2)).fit(shop)
    scores = few.scores(everyone)
    assert ((scores > 1) == [True, False, True]).all()
    assert (scores >= 0).all()
