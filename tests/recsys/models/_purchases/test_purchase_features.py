"""Features of purchases, worked out by hand."""

from typing import Any

import numpy as np

from recsys.models._purchases.purchase_days import purchase_days
from recsys.models._purchases.purchase_features import NEVER_DAYS, describe_purchases

BUY = 5.0
EVENTS = [
    ("a", "p", 40.5, BUY),
    ("a", "p", 20.5, BUY),
    ("a", "p", 10.5, BUY),
    ("b", "p", 6.5, BUY),
    ("b", "q", 100.5, BUY),
]


def test_known_answers(shop_of: Any):
    result = describe_purchases(purchase_days(shop_of(EVENTS)))
    a, b, p, q = 0, 1, 0, 1
    users, items = np.array([a, b, b, a], np.int32), np.array([p, p, q, q], np.int32)
    rows = result.join(users, items)
    assert rows.shape == (4, 22)
    np.testing.assert_array_equal(rows[:, 0], [3, 1, 1, 0])  # purchases of the pair
    np.testing.assert_array_equal(rows[:, 1], [10.5, 6.5, 100.5, NEVER_DAYS])  # days since the last
    np.testing.assert_array_equal(rows[:, 2], [30, 0, 0, 0])  # from first to last
    decayed = sum(0.5 ** (age / 90) for age in (40.5, 20.5, 10.5))
    np.testing.assert_allclose(rows[0, 5], decayed, rtol=1e-6)
    cycle_p, cycle_q = (30 + 5 * 15) / (2 + 5), 15.0  # two gaps of 15 days on average, and five of the shop's mean
    np.testing.assert_allclose(rows[:, 7], [cycle_p, cycle_p, cycle_q, cycle_q], rtol=1e-6)
    np.testing.assert_allclose(rows[:, 8], [1 / 12, 1 / 12, 0, 0], rtol=1e-6)  # one of two buyers, ten mixed in
    np.testing.assert_array_equal(rows[:, 9], [2, 2, 1, 1])  # buyers
    np.testing.assert_array_equal(rows[0, 10:15], [4, 1, 2, 3, 4])  # of p: in all, in 7, 14, 28, 84 days
    np.testing.assert_array_equal(rows[[0, 1], 15:19], [[3, 2, 3, 10.5], [2, 1, 1, 6.5]])  # of the users
    gap = (30 + 2 * cycle_p) / (2 + 2)
    np.testing.assert_allclose(rows[0, 19:], [10.5 / gap, 10.5 / cycle_p, 1.0], rtol=1e-6)


def test_what_was_known_earlier_is_what_those_events_alone_say(shop_of: Any):
    """The rows of users and items are those of now, so that b and q, of whom nothing was known, are there."""
    later = [("b", "q", 3.25, BUY), ("a", "q", 1.5, BUY)]
    earlier = purchase_days(shop_of([*EVENTS, *later])).before(5)
    alone = purchase_days(shop_of([(user, item, age - 5, weight) for user, item, age, weight in EVENTS]))
    np.testing.assert_array_equal(earlier.pairs, alone.pairs)
    np.testing.assert_allclose(earlier.ages, alone.ages)
    for name, array in describe_purchases(earlier).arrays().items():
        np.testing.assert_allclose(array, describe_purchases(alone).arrays()[name], rtol=1e-6, err_msg=name)


def test_pairs_bought_within_days(shop_of: Any):
    purchases = purchase_days(shop_of(EVENTS))
    assert purchases.within(7).tolist() == [1 * 2 + 0]
    assert purchases.within(20).tolist() == [0, 2]
