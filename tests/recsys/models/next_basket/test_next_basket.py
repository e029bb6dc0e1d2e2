from typing import Any

import numpy as np

from recsys.models.next_basket.next_basket import NextBasket, NextBasketConfig
from tests.conformance.expectations import Expectations

SETTINGS = {"candidates": 6, "leaf_rows": 5, "trees": 20}
CONFORMANCE = Expectations(
    settings=SETTINGS, predicts_new_items=False, needs_repeats=True, ranks_after_exclusion=True
)

BUY = 5.0
STAPLES, TREATS = ["s0", "s1", "s2"], ["t0", "t1", "t2"]
ROWS = {item: row for row, item in enumerate([*STAPLES, *TREATS])}


def events(users: int, days: int) -> list[tuple[str, str, float, float]]:
    """Each user buys one staple every day and one of the treats, in turn."""
    return [
        (f"u{user:03}", item, days - day - 0.5, BUY)
        for user in range(users)
        for day in range(days)
        for item in (STAPLES[user % 3], TREATS[(user + day) % 3])
    ]


def test_trees_learn_what_is_bought_again_and_what_comes_next(shop_of: Any):
    """The next treat is the one bought longest ago, which frequency and recency put last."""
    model = NextBasket(NextBasketConfig(candidates=6, leaf_rows=20, trees=60)).fit(shop_of(events(300, 7)))
    rows, _ = model.recommend(np.arange(300, dtype=np.int32), 2)
    wanted = [{ROWS[STAPLES[user % 3]], ROWS[TREATS[(user + 1) % 3]]} for user in range(300)]
    assert [set(row) for row in rows.tolist()] == wanted


def test_without_a_second_basket_items_are_in_the_order_of_tifu_knn(shop_of: Any):
    shop = shop_of(events(30, 1))
    model = NextBasket().fit(shop)
    users = np.arange(30, dtype=np.int32)
    np.testing.assert_array_equal(model.recommend(users, 6)[0], model._sources.tifu_knn.recommend(users, 6)[0])
