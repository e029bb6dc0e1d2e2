"""Statistics of the gaps between events: worked out by hand, and on customers and scripts drawn at random."""

from math import log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.anomaly.limits import (
    AUTOMATED_LOG_DEVIATION,
    AUTOMATED_LOG_MEAN,
    HUMAN_LOG_DEVIATION,
    HUMAN_LOG_MEAN,
    LIMITS,
)
from recsys.anomaly.timing import (
    ACCEPTANCE_BOUND,
    MAX_GAP_EVIDENCE,
    MIN_GAP_EVIDENCE,
    REGULAR_DEVIATION,
    WARM_UP_GAPS,
    automation_statistic,
    likelihood_ratio,
    log_gaps,
    regularity_statistic,
    summarize_gaps,
)

SKIMMED, SHOPPED = log(0.5), log(33.0)
LOG_GAPS = st.lists(st.floats(-5, 7.5), max_size=40)


def test_gaps_are_logarithms_of_seconds() -> None:
    assert log_gaps([1, 1_001, 3_001, 3_501]) == pytest.approx([0.0, log(2), log(0.5)])
    assert log_gaps([]) == log_gaps([5]) == []


def test_what_is_sent_together_has_no_gap_and_the_least_is_a_hundredth() -> None:
    assert log_gaps([1, 1, 1, 1_001]) == [0.0]
    assert log_gaps([1, 2]) == [log(0.01)]


def test_gaps_are_of_the_last_session() -> None:
    half_an_hour = 1_800_000
    assert log_gaps([1, 1_001, 1_001 + half_an_hour]) == pytest.approx([0.0, log(1_800)])
    assert log_gaps([1, 1_001, 1_002 + half_an_hour, 5_002 + half_an_hour]) == pytest.approx([log(4)])


def test_times_in_whole_minutes_say_nothing() -> None:
    assert log_gaps([0, 60_000, 120_000]) == []
    assert len(log_gaps([0, 60_000, 120_001])) == 2


def test_mean_and_variance_are_of_logarithms() -> None:
    gaps = summarize_gaps([0.0, log(4)])
    assert (gaps.count, gaps.mean, gaps.variance) == pytest.approx((2, log(2), log(2) ** 2))
    assert gaps.typical_seconds == pytest.approx(2.0)
    assert (summarize_gaps([]).count, summarize_gaps([]).typical_seconds) == (0, 1.0)


def test_the_likelihood_ratio_is_that_of_two_normal_distributions() -> None:
    """At 5 s: (log 5 - 3.51) / .97 = -1.959, (log 5 + .69) / 1.2 = 1.916; half the difference of their squares is
    .084, and log(.97 / 1.2) is -.213."""
    assert likelihood_ratio(log(5)) == pytest.approx(-0.129, abs=1e-3)
    assert likelihood_ratio(SKIMMED) == MAX_GAP_EVIDENCE
    assert likelihood_ratio(SHOPPED) == MIN_GAP_EVIDENCE


@given(st.floats(-5, 7.5))
def test_a_gap_says_no_more_than_its_bounds(gap: float) -> None:
    assert MIN_GAP_EVIDENCE <= likelihood_ratio(gap) <= MAX_GAP_EVIDENCE


def test_the_limit_is_that_of_walds_test() -> None:
    """Missing one script in twenty, and calling one customer in a billion a script."""
    assert LIMITS.likelihood == pytest.approx(log((1 - 0.05) / 1e-9), abs=0.05)
    assert pytest.approx(log(0.05)) == ACCEPTANCE_BOUND


def test_a_script_is_decided_on_after_as_many_gaps_as_the_limit() -> None:
    assert automation_statistic([SKIMMED] * 20) == 20.0 < LIMITS.likelihood
    assert automation_statistic([SKIMMED] * 21) == 21.0 > LIMITS.likelihood


def test_the_test_begins_anew_when_it_accepts_a_customer() -> None:
    """A customer's gap takes 2, two of them 4: more than the 3.0 at which a customer is accepted."""
    assert automation_statistic([SHOPPED]) == 0.0
    assert automation_statistic([SHOPPED] + [SKIMMED] * 5) == 3.0
    assert automation_statistic([SHOPPED] * 2 + [SKIMMED] * 5) == 5.0
    assert automation_statistic([SHOPPED] * 8 + [SKIMMED] * 5) == 5.0
    assert automation_statistic([SKIMMED] * 5 + [SHOPPED]) == 3.0


def test_customers_are_no_scripts_and_scripts_are() -> None:
    generator = Random(7)

    def drawn(mean: float, deviation: float) -> list[float]:
        return [generator.gauss(mean, deviation) for _ in range(50)]

    customers = [drawn(HUMAN_LOG_MEAN, HUMAN_LOG_DEVIATION) for _ in range(1_000)]
    scripts = [drawn(AUTOMATED_LOG_MEAN, AUTOMATED_LOG_DEVIATION) for _ in range(1_000)]
    assert max(map(automation_statistic, customers)) < LIMITS.likelihood / 2
    assert sum(automation_statistic(gaps) >= LIMITS.likelihood for gaps in scripts) >= 990
    assert max(map(regularity_statistic, customers)) < LIMITS.regularity


@given(st.floats(-4.5, 7.0))
def test_clockwork_is_regular_however_slow_it_is(gap: float) -> None:
    """16 gaps of .25 each behind the three that are learned from."""
    assert regularity_statistic([gap] * 18) < LIMITS.regularity
    assert regularity_statistic([gap] * 19) == pytest.approx(LIMITS.regularity)


def test_a_gap_is_compared_with_those_before_it_and_then_learned() -> None:
    """.25 - .2, for the mean before it is 0; it is .05 afterwards, where the next gap lies."""
    assert regularity_statistic([0.0, 0.0, 0.0, 0.2]) == pytest.approx(0.05)
    assert regularity_statistic([0.0, 0.0, 0.0, 0.2, 0.05]) == pytest.approx(0.30)


def test_the_first_gaps_are_learned_alone_and_others_bring_it_to_no_less_than_nothing() -> None:
    assert WARM_UP_GAPS == 3
    assert regularity_statistic([1.0] * 3) == 0.0
    assert regularity_statistic([1.0] * 4) == REGULAR_DEVIATION
    assert regularity_statistic([1.0] * 4 + [7.0]) == 0.0
    assert regularity_statistic([0.0, 0.0, 0.0, 4.0, 1.0]) == pytest.approx(0.25)


@given(LOG_GAPS)
def test_statistics_are_never_negative_and_grow_by_no_more_than_their_bounds(gaps: list[float]) -> None:
    assert 0 <= automation_statistic(gaps) <= MAX_GAP_EVIDENCE * len(gaps)
    assert 0 <= regularity_statistic(gaps) <= REGULAR_DEVIATION * max(0, len(gaps) - WARM_UP_GAPS)


@given(LOG_GAPS, st.floats(-5, AUTOMATED_LOG_MEAN))
def test_a_scripts_gap_never_speaks_for_a_customer(gaps: list[float], quick: float) -> None:
    assert automation_statistic([*gaps, max(quick, SKIMMED - 0.1)]) >= automation_statistic(gaps)


@given(st.lists(st.integers(0, 10**10), max_size=30).map(sorted), st.integers(1, 59_999))
def test_gaps_do_not_depend_on_when_they_were(times: list[int], later: int) -> None:
    moved = [at + 60_000 * later for at in times]
    assert log_gaps(moved) == log_gaps(times)
