"""Behavior features of when a user acts: rates, gaps between events, hours of the day, days."""

from typing import Final

import polars as pl

from features.behavior_expressions import (
    count_feature,
    entropy,
    exact_deviation,
    exact_mean,
    number_feature,
    per_user,
    sum_by,
)
from features.events import COUNT, count_by, pack_columns
from recsys.schema import ITEM_ID, TIMESTAMP, USER_ID

_SECOND: Final = 1_000_000  # microseconds
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_TIME_BITS: Final = 63  # of microseconds since 1970

_AT: Final = "at"
_GAP: Final = "gap"
_LOG_GAP: Final = "log"
_IN_MINUTE: Final = "in_minute"
_IN_HOUR: Final = "in_hour"
_DAY: Final = "day"
_CLOCK_HOUR: Final = "hour"

# Over the events of all users in order, with the gap before each event and the events in the time up to it.
_PACE: Final = (
    count_feature("most_in_minute", "events", "Most events within any 60 seconds", pl.col(_IN_MINUTE).max()),
    count_feature("most_in_hour", "events", "Most events within any 60 minutes", pl.col(_IN_HOUR).max()),
    number_feature(
        "log_gap_mean",
        "log s",
        "Mean logarithm of the seconds between successive events, gaps of 0 left out; null without gaps",
        exact_mean(pl.col(_LOG_GAP)),
    ),
    number_feature(
        "log_gap_deviation",
        "log s",
        "Standard deviation of the logarithms of these gaps, 0 for equal gaps; null for fewer than two",
        exact_deviation(pl.col(_LOG_GAP)),
    ),
)

# Over the lengths of a user's gaps, rounded to the second, and how often each occurs.
_GAPS: Final = (
    number_feature(
        "same_gap_share",
        "share",
        "Share of the gaps that have the most frequent length in whole seconds; null without gaps",
        pl.col(COUNT).max() / pl.col(COUNT).sum(),
    ),
)

# Over the hours of the calendar in which a user has events, the hours of the day, and the days.
_HOURS: Final = (
    number_feature(
        "events_per_active_hour",
        "events",
        "Mean number of events in the calendar hours that have any",
        pl.col(COUNT).sum() / pl.len(),
    ),
)
_DAY_HOURS: Final = (
    number_feature(
        "hour_entropy",
        "nats",
        "Entropy of the events over the hours of the day, UTC; 0 for a single hour",
        entropy(pl.col(COUNT)),
    ),
)
_DAYS: Final = (
    count_feature("active_days", "days", "Number of UTC days with an event", pl.len()),
    number_feature(
        "events_per_active_day", "events", "Mean number of events on the days that have any", pl.col(COUNT).mean()
    ),
    number_feature(
        "busiest_day_share",
        "share",
        "Share of the events that fall on the day with the most events",
        pl.col(COUNT).max() / pl.col(COUNT).sum(),
    ),
)

# Over the minutes of the clock, with the distinct items of each.
_MINUTES: Final = (
    count_feature(
        "most_items_in_minute",
        "items",
        "Most distinct items within one minute of the clock",
        pl.col(COUNT).max(),
    ),
)

TIMING_FEATURES: Final = (*_PACE, *_GAPS, *_HOURS, *_DAY_HOURS, *_DAYS, *_MINUTES)


def timing_features(actions: pl.LazyFrame) -> list[pl.LazyFrame]:
    """Compute `TIMING_FEATURES`, as tables of one row per user; a user without gaps has no row of `_GAPS`."""
    ordered = _in_order(actions)
    gaps = count_by(ordered.drop_nulls(_GAP), ((pl.col(_GAP) + _SECOND // 2) // _SECOND).alias(_GAP))
    hours = count_by(actions, pl.col(TIMESTAMP).dt.truncate("1h").alias(_CLOCK_HOUR))
    minute = pl.col(TIMESTAMP).dt.truncate("1m").alias(_AT)
    return [
        per_user(ordered, _PACE),
        per_user(gaps, _GAPS),
        per_user(hours, _HOURS),
        per_user(sum_by(hours, pl.col(_CLOCK_HOUR).dt.hour().alias(_DAY)), _DAY_HOURS),
        per_user(sum_by(hours, pl.col(_CLOCK_HOUR).dt.truncate("1d").alias(_DAY)), _DAYS),
        per_user(count_by(actions.select(USER_ID, minute, ITEM_ID).unique(), pl.col(_AT)), _MINUTES),
    ]


def _in_order(actions: pl.LazyFrame) -> pl.LazyFrame:
    """Sort events by user and time, and add the gap before each and the events in the minute and hour up to it.

    The events are laid on one line of time, on which gaps are cut to an hour and users lie an hour apart, so that
    the number of events within a span is a binary search.
    """
    ordered = actions.select(USER_ID, TIMESTAMP).sort(pack_columns(pl.col(USER_ID), pl.col(TIMESTAMP), _TIME_BITS))
    same_user = pl.col(USER_ID).to_physical() == pl.col(USER_ID).to_physical().shift()
    gap = pl.when(same_user).then(pl.col(TIMESTAMP).diff().dt.total_microseconds())
    line = pl.min_horizontal(gap.fill_null(_HOUR), _HOUR).cum_sum()
    placed = ordered.with_columns(gap.alias(_GAP), line.alias(_AT)).collect().lazy()

    def events_within(span: int) -> pl.Expr:
        return pl.int_range(1, pl.len() + 1) - pl.col(_AT).search_sorted(pl.col(_AT) - span, side="right")

    positive_gap = pl.when(pl.col(_GAP) > 0).then(pl.col(_GAP))
    return placed.select(
        USER_ID,
        events_within(_MINUTE).alias(_IN_MINUTE),
        events_within(_HOUR).alias(_IN_HOUR),
        positive_gap.alias(_GAP),
        # Polars divides one row and many by a number with different rounding; a product is the same to the bit.
        (positive_gap * (1 / _SECOND)).log().alias(_LOG_GAP),
    )
