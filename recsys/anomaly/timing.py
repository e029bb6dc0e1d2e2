"""What the gaps between a user's events say: whether they are a script's, and whether they are too alike.

Gaps of 0 say nothing: what is sent together has one time. Nor do times that are whole minutes.
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
"""One gap counts no more, for or against: a double click is no script, a pause no proof of a person."""
ACCEPTANCE_BOUND: Final = log(0.05)
"""Wald's lower bound: the gaps are a shopper's."""
REGULAR_DEVIATION: Final = 0.25
"""Gaps whose logarithms lie closer to their mean speak for a script; a shopper's lie 0.75 from it on average."""
WARM_UP_GAPS: Final = 3
"""Gaps that the mean is learned from before any is compared with it."""


@dataclass(frozen=True)
class GapStatistics:
    """Mean and variance of the logarithm of seconds, over `count` gaps; 0 where there is none."""

    count: int
    mean: float
    variance: float

    @property
    def typical_seconds(self) -> float:
        """The geometric mean."""
        return exp(self.mean)


def log_gaps(times_ms: Sequence[int]) -> list[float]:
    """The logarithms of seconds between successive times, the earliest first, within the last session."""
    if all(at % MINUTE_MS == 0 for at in times_ms):
        return []
    found: list[float] = []
    for earlier, later in pairwise(times_ms):
        seconds = (later - earlier) / 1e3
        if seconds > SESSION_BREAK_SECONDS:
            found.clear()
        elif seconds > 0:
            found.append(log(max(seconds, MIN_SECONDS)))
    return found


def summarize_gaps(gaps: Sequence[float]) -> GapStatistics:
    """Mean and variance of log gaps."""
    if not gaps:
        return GapStatistics(0, 0.0, 0.0)
    mean = sum(gaps) / len(gaps)
    return GapStatistics(len(gaps), mean, sum((gap - mean) ** 2 for gap in gaps) / len(gaps))


def likelihood_ratio(gap: float) -> float:
    """The logarithm of how many times likelier a log gap is a script's than a shopper's, bounded."""
    human = (gap - HUMAN_LOG_MEAN) / HUMAN_LOG_DEVIATION
    automated = (gap - AUTOMATED_LOG_MEAN) / AUTOMATED_LOG_DEVIATION
    ratio = (human**2 - automated**2) / 2 + log(HUMAN_LOG_DEVIATION / AUTOMATED_LOG_DEVIATION)
    return min(MAX_GAP_EVIDENCE, max(MIN_GAP_EVIDENCE, ratio))


def automation_statistic(gaps: Iterable[float]) -> float:
    """The statistic of the sequential likelihood-ratio test (Wald 1945) of a script against a shopper.

    0 and up, more is more like a script; the test begins anew whenever it accepts a shopper. Each gap adds at most
    `MAX_GAP_EVIDENCE`, so that as many gaps as the limit are the warm-up.
    """
    total = 0.0
    for gap in gaps:
        total += likelihood_ratio(gap)
        if total <= ACCEPTANCE_BOUND:
            total = 0.0
    return max(total, 0.0)


def regularity_statistic(gaps: Iterable[float]) -> float:
    """A one-sided CUSUM (Page 1954) of how much closer log gaps lie to their mean so far than a shopper's.

    0 and up, more is more regular. A gap is compared with the mean of those before it, then learned; the first
    `WARM_UP_GAPS` are learned alone, and each after them adds at most `REGULAR_DEVIATION`: those are the warm-up.
    """
    total = mean = 0.0
    for number, gap in enumerate(gaps):
        if number >= WARM_UP_GAPS:
            total = max(0.0, total + REGULAR_DEVIATION - abs(gap - mean))
        mean += (gap - mean) / (number + 1)
    return total
