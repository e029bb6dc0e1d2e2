from typing import Any

import numpy as np
import pytest

from recsys.models.popularity import Popularity, PopularityConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(is_personal=False)

# Item rows: 0 fad, 1 loved, 2 returned. One user is mad about the fad. All on one day: nobody is known better.
EVENTS = [
    ("a", "fad", 1.0, 45.0),
    ("b", "loved", 1.0, 5.0),
    ("c", "loved", 1.0, 15.0),
    ("a", "returned", 1.0, 5.0),
    ("a", "returned", 0.5, -5.0),
]


def scores(shop_of: Any, saturation: float) -> list[float]:
    model = Popularity(PopularityConfig(saturation)).fit(shop_of(EVENTS))
    result = model.scores(np.array([0, 2], np.int32))
    np.testing.assert_array_equal(result[0], result[1])
    return result[0].tolist()


def test_a_users_say_is_saturated(shop_of: Any):
    assert scores(shop_of, 5.0) == pytest.approx([45 / 50, 5 / 10 + 15 / 20, 0])


def test_without_saturation_heads_are_counted(shop_of: Any):
    assert scores(shop_of, 0.0) == [1, 2, 0]


def test_with_much_saturation_confidence_is_counted(shop_of: Any):
    assert np.array(scores(shop_of, 1e9)) * 1e9 == pytest.approx([45, 20, 0], rel=1e-5)


def test_what_only_new_users_want_counts_as_far_as_known_ones_do_elsewhere(shop_of: Any):
    """Known users came on five days, half of whose say of the shop is (1 + 1/256) / 2."""
    known = [(user, "bread", float(day), 1.0) for user in "ab" for day in range(1, 6)]
    new = [(f"new {number}", item, 1.0, 1.0) for number in range(2) for item in ("bread", "fake")]
    shop = shop_of([*known, *new])
    half = (1 + 1 / 256) / 2
    assert shop.trust == pytest.approx([half, half, 1 / 256, 1 / 256])
    mean_trust = (2 * half + 4 / 256) / 6
    result = Popularity(PopularityConfig(0)).fit(shop).scores(np.zeros(1, np.int32))[0]
    assert result == pytest.approx([4, (2 / 256) / mean_trust])
    assert result[1] < 0.1


def test_a_burst_of_new_accounts_leaves_the_order_of_popular_items_as_it_was(shop_of: Any):
    """50 accounts of 20 clicks each; no item of the shop has more than 30 users."""
    shop = [
        (f"known {user}", f"item {number:02d}", float(day), 1.0)
        for number in range(30)
        for user in range(30 - number)
        for day in range(number % 5, 60, 5)
    ]
    burst = [(f"new {user}", "target", 0.01, 1.0) for user in range(50) for _ in range(20)]
    before, after = shop_of(shop), shop_of([*shop, *burst])
    assert ranking(after) == [*ranking(before), "target"]
    assert ranking(before) == [f"item {number:02d}" for number in range(30)]
    heads = np.bincount(after.positives.indices)
    assert after.items.values[int(heads.argmax())] == "target"


def ranking(shop: Any) -> list[str]:
    rows, _ = Popularity().fit(shop).recommend(np.zeros(1, np.int32), shop.shape[1])
    return shop.items.ids(rows[0]).to_list()
