"""Find days without events, and days with much fewer events than other days of the same weekday."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import polars as pl

LOW_SHARE = 0.1  # of the median of the weekday, below which a day is low


@dataclass(frozen=True)
class DaySpan:
    """Successive days."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """Return the number of days, both ends included."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True)
class LowDay:
    """A day with few events, and the median of the days of the same weekday."""

    day: date
    events: int
    median: float


def empty_spans(events_per_day: Sequence[tuple[date, int]]) -> tuple[DaySpan, ...]:
    """Return the spans of days without events between the first day and the last; `events_per_day` is in order."""
    days = [day for day, _ in events_per_day]
    one = timedelta(days=1)
    return tuple(DaySpan(before + one, after - one) for before, after in pairwise(days) if after - before > one)


def low_days(events_per_day: Sequence[tuple[date, int]]) -> tuple[LowDay, ...]:
    """Return the days with events, but under `LOW_SHARE` of the median of the same weekday, in order.

    The median is over all days from the first to the last, also over those without events.
    """
    if not events_per_day:
        return ()
    given = pl.DataFrame(events_per_day, schema={"day": pl.Date, "events": pl.Int64}, orient="row")
    days = pl.date_range(events_per_day[0][0], events_per_day[-1][0], eager=True).alias("day")
    filled = days.to_frame().join(given, on="day", how="left", maintain_order="left").fill_null(0)
    median = pl.col("events").median().over(pl.col("day").dt.weekday()).alias("median")
    low = filled.with_columns(median).filter(pl.col("events") > 0, pl.col("events") < LOW_SHARE * pl.col("median"))
    return tuple(LowDay(*row) for row in low.rows())
