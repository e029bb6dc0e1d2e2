"""Time to the next order in intervals: a hazard for each, and the survival curve that they compose.

The hazard of an interval is the probability that the next order falls into it, given that none came before it.
Orders after `as_of` are not known: an interval that ends after it says nothing, and the intervals before it still
count. So users who have not ordered yet are neither left out nor counted as lost.

Source: Singer, Willett, "It's About Time: Using Discrete-Time Survival Analysis to Study Duration and the Timing of
Events" (Journal of Educational Statistics 18, 1993).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

EDGES: Final = np.array(
    [0, 1, 2, 3, 4, 5, 6, 7, 10, 14, 21, 28, 42, 63, 91, 126, 182, 273, 364, 546, 728], np.float64
)
"""Bounds of the intervals, days after a cut."""
MAX_HAZARD: Final = 1 - 1e-9
"""No order is certain: a curve never reaches 0, and its logarithm is finite."""

Values = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PersonPeriods:
    """Intervals in which a user's next order could have come, one row each."""

    users: Rows
    """(N,) row of the user."""
    intervals: Rows
    """(N,) interval, from 0; it starts at the edge of the same number."""
    ordered: NDArray[np.bool_]
    """(N,) whether the next order came in the interval."""


def person_periods(days_to_order: Values, known_days: float, edges: Values = EDGES) -> PersonPeriods:
    """List the intervals of each user up to that of the next order, as far as they are known.

    `days_to_order` is (users,), infinite without an order in the `known_days` days after the cut.
    """
    starts, ends = edges[:-1], edges[1:]
    is_known = ends <= known_days
    at_risk = (days_to_order[:, None] >= starts) & is_known
    users, intervals = np.nonzero(at_risk)
    return PersonPeriods(users, intervals, days_to_order[users] < ends[intervals])


def known_intervals(known_days: float, edges: Values = EDGES) -> int:
    """Return the number of intervals that end within `known_days` days."""
    return int((edges[1:] <= known_days).sum())


def survival(hazards: Values) -> Values:
    """Return the probability of no order by each edge, (users, intervals + 1), from hazards (users, intervals)."""
    kept = np.cumprod(1 - np.minimum(hazards, MAX_HAZARD), axis=1, dtype=np.float64)
    return np.concatenate([np.ones((len(hazards), 1)), kept], axis=1)


def survival_at(curve: Values, days: float, edges: Values = EDGES) -> Values:
    """Return the probability of no order within `days`, (users,); NaN after the last edge of the curve.

    The hazard is constant within an interval.
    """
    edges = edges[: curve.shape[1]]
    if days > edges[-1]:
        return np.full(len(curve), np.nan)
    interval = min(int(np.searchsorted(edges, days, "right")) - 1, len(edges) - 2)
    part = (days - edges[interval]) / (edges[interval + 1] - edges[interval])
    kept: Values = curve[:, interval + 1] / curve[:, interval]
    return curve[:, interval] * np.power(kept, part)


def quantile(curve: Values, probability: float, edges: Values = EDGES) -> Values:
    """Return the days within which an order comes with `probability`, (users,); NaN after the last edge.

    The hazard is constant within an interval.
    """
    edges = edges[: curve.shape[1]]
    left = 1 - probability
    reached = curve <= left
    end = np.where(reached.any(axis=1), reached.argmax(axis=1), 0)  # never 0 where reached: the curve starts at 1
    start, rows = np.maximum(end - 1, 0), np.arange(len(curve))
    with np.errstate(divide="ignore", invalid="ignore"):  # where the curve ends above `left`
        part = np.log(left / curve[rows, start]) / np.log(curve[rows, end] / curve[rows, start])
        days = edges[start] + part * (edges[end] - edges[start])
    return np.where(end > 0, days, np.nan)
