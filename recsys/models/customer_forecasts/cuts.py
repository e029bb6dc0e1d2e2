"""Earlier moments from which forecasts are learned, and orders as they were known then.

Time is counted in days before `as_of`, the moment that a table of orders ends at: an order of age 10 was ten days
before it. A cut is an age too. All cuts are whole weeks, so that a day after one falls on the weekday of that day
after another.
"""

from math import ceil
from typing import Final

import numpy as np
import polars as pl

AGE: Final = "age_days"
WEEK: Final = 7
MIN_HISTORY: Final = 28
"""Days of orders that must lie before a cut."""


def whole_weeks(days: float) -> int:
    """Return the smallest number of days that is at least `days` and a multiple of 7."""
    return WEEK * ceil(days / WEEK)


def training_cuts(history_days: float, horizon_days: float, max_cuts: int) -> tuple[int, ...]:
    """Choose cuts after which `horizon_days` days are known, the latest first; none for a history too short.

    They are spread evenly over the later half of the history, so that each has as much before it as after it.

    >>> training_cuts(100, 28, 3)
    (28, 35, 49)
    """
    first = whole_weeks(horizon_days)
    last = max(first, WEEK * int(history_days / 2 / WEEK))
    last = min(last, WEEK * int((history_days - MIN_HISTORY) // WEEK))
    if last < first:
        return ()
    weeks = np.linspace(first / WEEK, last / WEEK, min(max_cuts, (last - first) // WEEK + 1))
    return tuple(WEEK * int(week) for week in np.unique(np.floor(weeks)))


def before(rows: pl.DataFrame, cut: float) -> pl.DataFrame:
    """Return the rows before a cut, with their ages at the cut."""
    return rows.filter(pl.col(AGE) > cut).with_columns(pl.col(AGE) - cut)


def after(rows: pl.DataFrame, cut: float, days: float | None = None) -> pl.DataFrame:
    """Return the rows from a cut on, or of the first `days` days after it; `AGE` becomes the days since the cut."""
    since = (cut - pl.col(AGE)).alias(AGE)
    later = rows.filter(pl.col(AGE) <= cut).with_columns(since)
    return later if days is None else later.filter(pl.col(AGE) < days)
