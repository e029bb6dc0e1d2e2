from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.repurchase import Repurchase, RepurchaseConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(predicts_new_items=False)

Event = tuple[str, str, float, float]
DEFAULTS = RepurchaseConfig()
BUY, SEND_BACK, VIEW = 5.0, -5.0, 1.0
# One purchase of everything by everybody, long ago, so that rows are the same whatever else is bought.
LONG_AGO = [(user, item, 900.25, BUY) for user in "ab" for item in "pq"]


def scores(shop_of: Any, events: Sequence[Event], config: RepurchaseConfig = DEFAULTS) -> np.ndarray:
    shop = shop_of(events)
    return Repurchase(config).fit(shop).scores(np.arange(shop.shape[0], dtype=np.int32))


def test_known_answers(shop_of: Any):
    """Gaps of 20 days of p and 40 of q: a mean of 30, to which 5 gaps of 30 days pull both."""
    events = [("a", "p", 10.5, BUY), ("a", "p", 30.5, BUY), ("b", "q", 5.25, BUY), ("b", "q", 45.25, BUY)]
    config = RepurchaseConfig(half_life_days=90, prior_users=2.5, prior_gaps=5)
    result = scores(shop_of, [*events, ("c", "p", 60.0, BUY), ("c", "q", 1.0, VIEW)], config)
    p, q = sqrt((20 + 150) / 6 / 30), sqrt((40 + 150) / 6 / 30)
    of_a = (0.5 ** (10.5 / (90 * p)) + 0.5 ** (30.5 / (90 * p))) / p
    of_b = (0.5 ** (5.25 / (90 * q)) + 0.5 ** (45.25 / (90 * q))) / q
    of_c = 0.5 ** (60 / (90 * p)) / p
    assert of_a > 1  # so that a's say in the prior is cut off
    assert of_b > 1
    prior_p, prior_q = 2.5 * (1 + of_c) / 3, 2.5 * 1 / 3
    expected = [[of_a + prior_p, prior_q], [prior_p, of_b + prior_q], [of_c + prior_p, prior_q]]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_purchases_fade_by_half_in_a_half_life(shop_of: Any):
    result = scores(shop_of, [("a", "p", 30.0, BUY), ("b", "p", 60.0, BUY)], RepurchaseConfig(30, prior_users=0))
    np.testing.assert_allclose(result, [[0.5], [0.25]])


def test_a_day_counts_once(shop_of: Any):
    once = [*LONG_AGO, ("a", "p", 3.75, BUY), ("a", "p", 2.75, BUY)]
    twice = [*once, ("a", "p", 3.25, BUY), ("a", "p", 3.0, BUY)]
    np.testing.assert_array_equal(scores(shop_of, twice), scores(shop_of, once))
    another_day = [*once, ("a", "p", 4.0, BUY)]
    assert scores(shop_of, another_day)[0, 0] > scores(shop_of, once)[0, 0]


def test_views_are_no_purchases_where_there_are_purchases(shop_of: Any):
    np.testing.assert_array_equal(scores(shop_of, [*LONG_AGO, ("a", "p", 3.0, VIEW)]), scores(shop_of, LONG_AGO))


def test_a_shop_that_has_only_views_repeats_those(shop_of: Any):
    result = scores(shop_of, [("a", "p", 1.0, VIEW), ("b", "q", 1.0, VIEW)], RepurchaseConfig(prior_users=0))
    assert (np.diag(result) > 0).all()
    assert result[0, 1] == result[1, 0] == 0


BOUGHT_TWICE = [*LONG_AGO, ("a", "p", 20.5, BUY), ("a", "p", 10.5, BUY)]


def test_a_refund_takes_back_the_latest_purchase_before_it_on_whatever_day(shop_of: Any):
    without_latest = scores(shop_of, BOUGHT_TWICE[:-1])
    for days_ago in (10.5, 10.25, 1.0):
        result = scores(shop_of, [*BOUGHT_TWICE, ("a", "p", days_ago, SEND_BACK)])
        np.testing.assert_array_equal(result, without_latest)
    result = scores(shop_of, [*BOUGHT_TWICE, ("a", "p", 15.0, SEND_BACK)])
    np.testing.assert_array_equal(result, scores(shop_of, [*LONG_AGO, BOUGHT_TWICE[-1]]))


def test_a_refund_of_nothing_takes_nothing(shop_of: Any):
    for refund in (("a", "p", 950.0, SEND_BACK), ("b", "q", 999.0, SEND_BACK)):
        np.testing.assert_array_equal(scores(shop_of, [refund, *BOUGHT_TWICE]), scores(shop_of, BOUGHT_TWICE))


def test_of_two_purchases_of_a_day_one_refund_leaves_one(shop_of: Any):
    day = [("a", "p", 3.75, BUY), ("a", "p", 3.5, BUY), ("a", "p", 3.25, SEND_BACK)]
    result = scores(shop_of, [*BOUGHT_TWICE, *day])
    np.testing.assert_array_equal(result, scores(shop_of, [*BOUGHT_TWICE, day[0]]))


STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("pq"), st.sampled_from([BUY, SEND_BACK])))


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_refunds_match_purchases_like_brackets(shop_of: Any, steps: list[tuple[str, str, float]]):
    events: list[Event] = [(user, item, 90.5 - day, weight) for day, (user, item, weight) in enumerate(steps)]
    kept: dict[tuple[str, str], list[Event]] = {event[:2]: [event] for event in LONG_AGO}
    for event in events:
        of_pair = kept[event[:2]]
        if event[3] == BUY:
            of_pair.append(event)
        elif of_pair:
            of_pair.pop()
    left = [event for of_pair in kept.values() for event in of_pair]
    same_rows = [("z", "p", 1.0, BUY), *((user, item, 0.0, VIEW) for user in "ab" for item in "pq")]
    np.testing.assert_array_equal(
        scores(shop_of, [*LONG_AGO, *events, *same_rows]), scores(shop_of, [*left, *same_rows])
    )
