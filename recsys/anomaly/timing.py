"""Statistics of the gaps between a user's events: whether a script made them, and whether they are too regular.

Gaps of 0 are ignored, because events that are sent together have one time, and so are times in whole minutes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Final

from recsys.anomaly.limits import (
    AUTOMATED_LOG_DEVIATION,
    AUTOMATED_LOG_MEAN,
    HUMAN_LOG_DEVIATION,
    HUMAN_LOG_MEAN,
    SESSION_BREAK_SECONDS,
)

MIN_SECONDS: Final = 0.01
MINUTE_MS: Final = 60_000
MAX_GAP_EVIDENCE: Final = 1.0
MIN_GAP_EVIDENCE: Final = -2.0
"""Bounds of the evidence of one gap: a double click is no script, a pause is no proof of a person."""
ACCEPTANCE_BOUND: Final = log(0.05)
"""Wald's lower bound, at which the gaps are accepted as human."""
REGULAR_DEVIATION: Final = 0.25
"""Log gaps closer to their mean than this are evidence of a script; those of humans lie 0.75 from it on average."""
WARM_UP_GAPS: Final = 3
"""Gaps that only update the mean, before any is compared with it."""


@dataclass(frozen=True)
class GapStatistics:
    """Mean and variance of the logarithm of seconds over `count` gaps; 0 without gaps."""

    count: int
    mean: float
    variance: float

    @property
    def typical_seconds(self) -> float:
        """The geometric mean of the gaps."""
        return exp(self.mean)


def log_gaps(times_ms: Sequence[int]) -> list[float]:
    """Return the logarithms of the seconds between successive times of the last session; `times_ms` are sorted."""
    if all(at % MINUTE_MS == 0 for at in times_ms):
        return []
    gaps: list[float] = []
    for earlier, later in pairwise(times_ms):
        seconds = (later - earlier) / 1e3
        if seconds > SESSION_BREAK_SECONDS:
            gaps.clear()
        elif seconds > 0:
            gaps.append(log(max(seconds, MIN_SECONDS)))
    return gaps


def summarize_gaps(gaps: Sequence[float]) -> GapStatistics:
    """Compute the statistics of log gaps."""
    if not gaps:
        return GapStatistics(0, 0.0, 0.0)
    mean = sum(gaps) / len(gaps)
    return GapStatistics(len(gaps), mean, sum((gap - mean) ** 2 for gap in gaps) / len(gaps))


def likelihood_ratio(gap: float) -> float:
    """Compute the log-likelihood ratio of script to human for one log gap, within the bounds."""
    human = (gap - HUMAN_LOG_MEAN) / HUMAN_LOG_DEVIATION
    automated = (gap - AUTOMATED_LOG_MEAN) / AUTOMATED_LOG_DEVIATION
    ratio = (human**2 - automated**2) / 2 + log(HUMAN_LOG_DEVIATION / AUTOMATED_LOG_DEVIATION)
    return min(MAX_GAP_EVIDENCE, max(MIN_GAP_EVIDENCE, ratio))


def automation_statistic(gaps: Iterable[float]) -> float:
    """Compute the statistic of the sequential probability ratio test (Wald 1945) of a script against a human.

    At least 0, higher for scripts. The test restarts whenever it accepts a human. Each gap adds at most
    `MAX_GAP_EVIDENCE`, so reaching the limit takes at least as many gaps.
    """
    total = 0.0
    for gap in gaps:
        total += likelihood_ratio(gap)
        if total <= ACCEPTANCE_BOUND:
            total = 0.0
    return max(total, 0.0)


def regularity_statistic(gaps: Iterable[float]) -> float:
    """Compute a one-sided CUSUM (Page 1954) of how much closer log gaps lie to their mean than those of humans.

    At least 0, higher for more regular gaps. A gap is compared with the mean of the gaps before it, then updates
    the mean; the first `WARM_UP_GAPS` only update it, and each later gap adds at most `REGULAR_DEVIATION`.
    """
    total = mean = 0.0
    for number, gap in enumerate(gaps):
        if number >= WARM_UP_GAPS:
            total = max(0.0, total + REGULAR_DEVIATION - abs(gap - mean))
        mean += (gap - mean) / (number + 1)
    return total
