"""Scores of users: values worked out by hand, and properties of any score."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys.anomaly.acts import Act
from recsys.anomaly.limits import LIMITS
from recsys.anomaly.scoring import (
    UserSignals,
    evidence_weight,
    has_high_rate,
    has_suspicious_timing,
    score_user,
    select_order_events,
)
from recsys.schema import DEFAULT_WEIGHTS
from recsys.settings.anomalies import Anomalies

ORDERS = select_order_events(DEFAULT_WEIGHTS)
FLAG_SCORE = Anomalies().flag_threshold
NOW = 1_772_366_400_123
SPEED_ALONE = replace(LIMITS, likelihood=1e9, regularity=1e9, items_a_minute=10**9)

COUNT = st.floats(0, 1e6)
COUNTS = st.tuples(COUNT, COUNT, COUNT)
ACTS = st.lists(
    st.builds(
        Act,
        st.integers(NOW - 600_000, NOW),
        st.sampled_from([f"i{number}" for number in range(30)]),
        st.sampled_from(["view", "cart", "purchase"]),
        st.sampled_from([0.0, 1.0, 2.5]),
    ),
    max_size=50,
)
NETWORK: dict[str, Any] = {
    "session": COUNTS,
    "address": COUNTS,
    "device": COUNTS,
    "address_items": st.integers(0, 10**7),
    "device_users": st.integers(0, 10**7),
}
SEEN = st.builds(UserSignals, st.just(NOW), ACTS, COUNTS, unpriced=st.booleans(), **NETWORK)


def views(count: int, milliseconds: int, items: int | None = None) -> list[Act]:
    """Return views at equal gaps, the last one now, of some items in turn; by default each of another item."""
    return [
        Act(NOW - (count - 1 - number) * milliseconds, f"i{number % (items or count)}", "view")
        for number in range(count)
    ]


def score(acts: list[Act] | None = None, **seen: Any) -> float:
    return score_user(UserSignals(NOW, acts or [], **seen), ORDERS).score


def test_evidence_is_none_at_nothing_and_eight_tenths_at_the_limit() -> None:
    assert [round(evidence_weight(share), 4) for share in (0, 0.5, 1, 1.5)] == [0.0, 0.3313, 0.8, 0.9733]
    assert evidence_weight(1e9) == 1.0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_evidence_grows_with_its_share(one: float, other: float) -> None:
    assert 0 <= evidence_weight(min(one, other)) <= evidence_weight(max(one, other)) <= 1


def test_what_was_not_seen_says_nothing() -> None:
    verdict = score_user(UserSignals(NOW, []), ORDERS)
    assert (verdict.score, verdict.reasons) == (0.0, ())


def test_orders_are_events_as_weighty_as_a_purchase() -> None:
    assert select_order_events(DEFAULT_WEIGHTS) == {"purchase", "refund"}
    assert select_order_events({"view": 1.0, "lease": 12.0, "recall": -30.0}) == {"lease", "recall"}


@pytest.mark.parametrize("window", [0, 1, 2])
def test_as_many_events_as_a_limit_flag_alone(window: int) -> None:
    counts = [0.0, 0.0, 0.0]
    counts[window] = float(LIMITS.events[window])
    verdict = score_user(UserSignals(NOW, [], user=(counts[0], counts[1], counts[2])), ORDERS)
    name = ("30 events in 10 s", "150 events in 5 min", "600 events in an hour")[window]
    assert verdict.score == 80.0 == FLAG_SCORE
    assert verdict.reasons == (f"{name}, a shopper makes at most {LIMITS.events[window]:,}",)
    counts[window] -= 1
    assert score(user=(counts[0], counts[1], counts[2])) < FLAG_SCORE


def test_detectors_of_speed_count_by_the_strongest() -> None:
    assert score(user=(30.0, 150.0, 600.0)) == 80.0


def test_what_is_independent_goes_together_by_a_noisy_or() -> None:
    """.8 by events, .3 by a missing price: 1 - .2 * .7; with .4 by users of the device, 1 - .2 * .7 * .6."""
    assert score(user=(30.0, 0.0, 0.0), unpriced=True) == 86.0
    verdict = score_user(UserSignals(NOW, [], user=(30.0, 0.0, 0.0), device_users=50, unpriced=True), ORDERS)
    assert verdict.score == 91.6
    assert [reason.split(",")[0] for reason in verdict.reasons] == [
        "30 events in 10 s",
        "50 users of its device in an hour",
        "a purchase without a price",
    ]
    assert score(unpriced=True) == 30.0


def test_network_counts_half_and_by_the_strongest() -> None:
    limit = (300.0, 0.0, 0.0)
    assert score(address=limit) == score(address=limit, device=limit, session=limit, device_users=50) == 40.0
    assert score(address_items=5_000) == 40.0
    assert score(address_items=10**6, device_users=10**6) == 50.0


def test_events_of_the_acts_count_in_the_shortest_window() -> None:
    """30 views in 8.7 s that no counter knows of, as where they are orders."""
    assert score_user(UserSignals(NOW, views(30, 300)), ORDERS, SPEED_ALONE).score == 80.0
    assert score_user(UserSignals(NOW + 10_000, views(30, 300)), ORDERS, SPEED_ALONE).score == 0.0


def test_items_a_minute_are_different_ones() -> None:
    """16 in 15 s, and no others are known: 64 a minute. Where an older act is known, they are 16 of the minute."""
    limits = replace(LIMITS, likelihood=1e9, regularity=1e9, events=(10**9, 10**9, 10**9), items_a_minute=64)
    older = Act(NOW - 200_000, "i99", "view")
    assert score_user(UserSignals(NOW, views(16, 1_000)), ORDERS, limits).score == 80.0
    assert score_user(UserSignals(NOW, views(16, 1_000, 8)), ORDERS, limits).score == round(
        100 * evidence_weight(0.5), 1
    )
    assert score_user(UserSignals(NOW, [older, *views(16, 1_000)]), ORDERS, limits).score == round(
        100 * evidence_weight(0.25), 1
    )
    assert score_user(UserSignals(NOW, views(15, 1_000)), ORDERS, limits).score == 0.0


def test_haste_without_end_is_a_scripts() -> None:
    """22 gaps of half a second."""
    verdict = score_user(UserSignals(NOW, views(23, 500, 3)), ORDERS)
    assert verdict.score >= FLAG_SCORE
    assert verdict.reasons[0] == "0.5 s between events, again and again, a shopper takes 33 s"


def test_clockwork_is_a_scripts_unless_it_is_a_page_that_reloads_itself() -> None:
    """19 gaps of 40 s."""
    verdict = score_user(UserSignals(NOW, views(20, 40_000)), ORDERS)
    assert verdict.score == 80.0
    assert verdict.reasons == ("gaps between events vary by 0%, a shopper's by 97%",)
    assert score(views(20, 40_000, 4)) < 1


@pytest.mark.parametrize("milliseconds", [0, 10])
def test_an_order_of_many_lines_is_one_act(milliseconds: int) -> None:
    lines = [act._replace(event="purchase") for act in views(100, milliseconds)]
    assert score(lines) < 1
    assert score(views(100, milliseconds)) >= FLAG_SCORE


def test_a_customer_of_an_hour_is_no_script() -> None:
    """Pages of 4 to 2 minutes, some of them skimmed."""
    generator = Random(3)
    at_ms, acts = NOW - 3_000_000, list[Act]()
    while at_ms < NOW:
        acts.append(Act(at_ms, f"i{generator.randrange(30)}", "view"))
        at_ms += int(1_000 * min(120.0, generator.lognormvariate(3.51, 0.97)))
    assert len(acts) > 40
    assert score(acts[-50:], user=(2.0, 12.0, float(len(acts)))) < 20


def test_a_quarter_of_a_limit_is_looked_at() -> None:
    assert not has_high_rate((7.0, 37.0, 149.0))
    assert has_high_rate((8.0, 0.0, 0.0))
    assert has_high_rate((0.0, 38.0, 0.0))
    assert has_high_rate((0.0, 0.0, 150.0))


def test_the_last_acts_are_looked_at_where_they_were_fast_or_alike() -> None:
    def at_gaps(count: int, milliseconds: int) -> list[float]:
        return [float(NOW - number * milliseconds) for number in range(count)]

    assert has_suspicious_timing(at_gaps(9, 4_500))
    assert not has_suspicious_timing(at_gaps(9, 4_501))
    assert not has_suspicious_timing(at_gaps(8, 10))
    assert has_suspicious_timing(at_gaps(13, 60_000))
    assert not has_suspicious_timing(at_gaps(12, 60_000))
    uneven = at_gaps(13, 60_000)
    assert not has_suspicious_timing([*uneven[:-1], uneven[-1] - 120_001])
    assert has_suspicious_timing([*uneven[:-1], uneven[-1] - 119_999])


@given(SEEN)
def test_a_score_is_of_0_to_100_with_a_reason(seen: UserSignals) -> None:
    verdict = score_user(seen, ORDERS)
    assert 0 <= verdict.score <= 100
    assert len(verdict.reasons) <= 4
    assert all(verdict.reasons)
    assert verdict.reasons or verdict.score < 4


@given(SEEN, COUNTS)
def test_more_events_never_lower_a_score(seen: UserSignals, more: tuple[float, float, float]) -> None:
    a, b, c = (before + added for before, added in zip(seen.user, more, strict=True))
    assert score_user(replace(seen, user=(a, b, c)), ORDERS).score >= score_user(seen, ORDERS).score


@given(SEEN, st.integers(1, 30))
def test_more_acts_never_lower_the_score_of_rates(seen: UserSignals, more: int) -> None:
    added = [Act(NOW, f"j{number}", "view") for number in range(more)]
    before = score_user(seen, ORDERS, SPEED_ALONE).score
    assert score_user(replace(seen, acts=[*seen.acts, *added]), ORDERS, SPEED_ALONE).score >= before


@given(SEEN, st.integers(0, 2**32))
def test_acts_may_come_in_any_order(seen: UserSignals, seed: int) -> None:
    """So may those of one time among themselves."""
    moments = [act._replace(at_ms=act.at_ms // 60_000 * 60_000 + 1) for act in seen.acts]
    shuffled = list(moments)
    Random(seed).shuffle(shuffled)
    assert score_user(replace(seen, acts=shuffled), ORDERS) == score_user(replace(seen, acts=moments), ORDERS)


@hypothesis_settings(max_examples=300)
@given(st.builds(UserSignals, st.just(NOW), st.just([]), **NETWORK))
def test_address_device_and_session_never_flag_alone(seen: UserSignals) -> None:
    verdict = score_user(seen, ORDERS)
    assert verdict.score <= 100 * LIMITS.network_share < FLAG_SCORE


def test_a_counter_that_others_share_speaks_against_nobody_whose_acts_are_known() -> None:
    few, shared = views(5, 40_000), (0.0, 400.0, 900.0)
    assert score(few, user=shared, complete=True) < FLAG_SCORE / 2
    assert score(few, user=shared) >= FLAG_SCORE
    ahead = [*few, Act(NOW + 60_000, "i9", "view")]
    assert score(ahead, user=shared, complete=True) >= FLAG_SCORE
    # Acts that reach back over five minutes tell of these, but not of the hour.
    assert score(views(11, 40_000), user=(0.0, 400.0, 0.0)) < FLAG_SCORE
    assert score(views(11, 40_000), user=(0.0, 0.0, 900.0)) >= FLAG_SCORE
