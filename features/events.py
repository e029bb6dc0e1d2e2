"""What all features start from: the events before the cut, their age, decay and weight, orders, exact sums."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import polars.selectors as cs

from recsys.schema import (
    EVENT,
    EVENT_ID,
    ITEM_ID,
    PRICE,
    PURCHASE,
    QUANTITY,
    SESSION_ID,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
)

WINDOW_DAYS: Final = (1, 7, 30, 90)
MAX_AMOUNT: Final = 1e12

_DAYS_PER_MICROSECOND: Final = 1 / 86_400_000_000

_READ: Final = (EVENT_ID, USER_ID, ITEM_ID, EVENT, TIMESTAMP, PRICE, QUANTITY, SESSION_ID)

# Purchases of one user are one order where they share the session or, without sessions, the moment.
ORDER_TIME: Final = "order_time"
ORDER_KEY: Final = (USER_ID, SESSION_ID, ORDER_TIME)


def events_before(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """The events strictly before `as_of`, to the microsecond."""
    return events.filter(pl.col(TIMESTAMP) < pl.lit(as_of, dtype=TIMESTAMP_DTYPE))


def load_events(events: pl.LazyFrame, as_of: datetime, read: Sequence[str] = _READ) -> pl.LazyFrame:
    """The events before `as_of`, collected in the columns to `read`, as far as they have them.

    User and item ids become an `Enum` in order of id, which is grouped and sorted as the number that it holds.
    """
    wanted = cs.by_name(*read, require_all=False)
    known = events_before(events, as_of).select(wanted).collect(engine="streaming").lazy()
    ids = pl.collect_all([known.select(pl.col(name).unique().sort()) for name in (USER_ID, ITEM_ID)])
    coded = [pl.col(found.columns[0]).cast(pl.Enum(found.to_series())) for found in ids]
    return known.with_columns(coded).collect(engine="streaming").lazy()


def packed(high: pl.Expr, low: pl.Expr, bits: int) -> pl.Expr:
    """One number to sort by `high`, then `low`, both physical, `low` in so many `bits` and not negative.

    Polars sorts by one number several times as fast as by two columns.
    """
    return high.to_physical().cast(pl.Int128) * (1 << bits) + low.to_physical()


def days_since(time: pl.Expr, as_of: datetime) -> pl.Expr:
    """Days from `time` to `as_of`."""
    return days(pl.lit(as_of, dtype=TIMESTAMP_DTYPE) - time)


def days(duration: pl.Expr) -> pl.Expr:
    """A duration in days, to the microsecond."""
    # Polars divides one row and many by a number with different rounding; a product is the same to the bit.
    return duration.dt.total_microseconds() * _DAYS_PER_MICROSECOND


def decay(age_days: pl.Expr, half_life_days: float) -> pl.Expr:
    """What is left of 1 after `age_days`: a half every `half_life_days`."""
    return pl.lit(0.5) ** (age_days * (1 / half_life_days))


def in_last(window_days: int, as_of: datetime) -> pl.Expr:
    """Whether the event is at most `window_days` times 24 hours old."""
    return pl.col(TIMESTAMP) >= pl.lit(as_of - timedelta(days=window_days), dtype=TIMESTAMP_DTYPE)


def weight(weights: Mapping[str, float]) -> pl.Expr:
    """What the event is worth; 0 for an event that is not named."""
    return pl.col(EVENT).replace_strict(dict(weights), default=0.0, return_dtype=pl.Float64)


def exact_sum(amount: pl.Expr) -> pl.Expr:
    """The sum in fixed point with 20 decimals: the same to the last bit in any order and any split of the rows.

    Nulls are left out, and so are amounts above `MAX_AMOUNT`, which no sum of a million rows can then overflow.
    """
    known = pl.when(amount.abs() <= MAX_AMOUNT).then(amount)
    return known.cast(pl.Decimal(38, 20)).sum()


def purchase_day() -> pl.Expr:
    """The UTC day of a purchase, null for any other event."""
    return pl.when(pl.col(EVENT) == PURCHASE).then(pl.col(TIMESTAMP).dt.date())


def purchases(events: pl.LazyFrame) -> pl.LazyFrame:
    """The purchases with the columns of `ORDER_KEY`, which say what order each belongs to."""
    order_time = pl.when(pl.col(SESSION_ID).is_null()).then(pl.col(TIMESTAMP)).alias(ORDER_TIME)
    return events.filter(pl.col(EVENT) == PURCHASE).with_columns(order_time)
