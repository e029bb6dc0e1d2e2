"""What all features share: selections of events, age, decay, weight, orders, counts and exact sums."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import polars.selectors as cs

from recsys.schema import (
    EVENT,
    EVENT_ID,
    IMPRESSION,
    ITEM_ID,
    PRICE,
    PURCHASE,
    QUANTITY,
    SESSION_ID,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
    VALUE,
    WEIGHT,
)

WINDOW_DAYS: Final = (1, 7, 30, 90)
MAX_AMOUNT: Final = 1e12
COUNT: Final = "count"
UNIT_FACTOR: Final = "unit_factor"  # of an event's weight, by its quantity

_DAYS_PER_MICROSECOND: Final = 1 / 86_400_000_000

_EVENT_COLUMNS: Final = (EVENT_ID, USER_ID, ITEM_ID, EVENT, TIMESTAMP, VALUE, PRICE, QUANTITY, SESSION_ID)

# Purchases of one user in one session are one order; without sessions, purchases with the same timestamp.
ORDER_TIME: Final = "order_time"
ORDER_KEY: Final = (USER_ID, SESSION_ID, ORDER_TIME)


def events_before(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Select the events strictly before `as_of`, to the microsecond."""
    return events.filter(pl.col(TIMESTAMP) < pl.lit(as_of, dtype=TIMESTAMP_DTYPE))


def exclude_impressions(events: pl.LazyFrame) -> pl.LazyFrame:
    """Return the events that are actions of users: all but impressions."""
    return events.filter(pl.col(EVENT) != IMPRESSION)


def is_empty_purchase() -> pl.Expr:
    """Return whether an event is a purchase of quantity 0, such as the line of a coupon: nothing was bought."""
    return (pl.col(EVENT) == PURCHASE) & (pl.col(QUANTITY) == 0).fill_null(value=False)


def without_empty_purchases(events: pl.LazyFrame) -> pl.LazyFrame:
    """Return the events without purchases of quantity 0."""
    return events.filter(~is_empty_purchase()) if QUANTITY in events.collect_schema().names() else events


def load_events(events: pl.LazyFrame, as_of: datetime, names: Sequence[str] = _EVENT_COLUMNS) -> pl.LazyFrame:
    """Collect the events before `as_of`, with those of the columns `names` that they have.

    Purchases of quantity 0 are left out. User and item ids become an `Enum` in order of id, which Polars groups and
    sorts by its integer codes.
    """
    selected = cs.by_name(*names, require_all=False)
    loaded = (
        without_empty_purchases(events_before(events, as_of)).select(selected).collect(engine="streaming").lazy()
    )
    ids = pl.collect_all([loaded.select(pl.col(name).unique().sort()) for name in (USER_ID, ITEM_ID)])
    encoded = [pl.col(table.columns[0]).cast(pl.Enum(table.to_series())) for table in ids]
    return loaded.with_columns(encoded).collect(engine="streaming").lazy()


def pack_columns(high: pl.Expr, low: pl.Expr, bits: int) -> pl.Expr:
    """Pack two columns into one integer that sorts by `high`, then `low`; `low` is not negative and fits in `bits`.

    Polars sorts by one integer several times as fast as by two columns.
    """
    return high.to_physical().cast(pl.Int128) * (1 << bits) + low.to_physical()


def days_since(time: pl.Expr, as_of: datetime) -> pl.Expr:
    """Return the days from `time` to `as_of`."""
    return days(pl.lit(as_of, dtype=TIMESTAMP_DTYPE) - time)


def days(duration: pl.Expr) -> pl.Expr:
    """Convert a duration to days, to the microsecond."""
    # Polars rounds division by a scalar differently for one row and for many; multiplication is bit-identical.
    return duration.dt.total_microseconds() * _DAYS_PER_MICROSECOND


def decay(age_days: pl.Expr, half_life_days: float) -> pl.Expr:
    """Return the exponential decay factor of an age: 1 at age 0, halved every `half_life_days`."""
    return pl.lit(0.5) ** (age_days * (1 / half_life_days))


def in_last(window_days: int, as_of: datetime) -> pl.Expr:
    """Return whether the event is at most `window_days` times 24 hours old."""
    return pl.col(TIMESTAMP) >= pl.lit(as_of - timedelta(days=window_days), dtype=TIMESTAMP_DTYPE)


def weight(weights: Mapping[str, float]) -> pl.Expr:
    """Return the weight of the event; 0 for an event type without a weight."""
    return pl.col(EVENT).replace_strict(dict(weights), default=0.0, return_dtype=pl.Float64)


def with_weights(events: pl.LazyFrame, weights: Mapping[str, float]) -> pl.LazyFrame:
    """Return events with a column `WEIGHT`: that of `weigh_events` if they have it, else the weight of the name."""
    if WEIGHT in events.collect_schema().names():
        return events
    return events.with_columns(weight(weights).alias(WEIGHT))


def exact_sum(amount: pl.Expr) -> pl.Expr:
    """Sum in fixed point with 20 decimals, bit-identical for any order and any split of the rows.

    Nulls and amounts above `MAX_AMOUNT` are ignored, so that a sum of a million rows cannot overflow.
    """
    return fixed_point(amount).sum()


def fixed_point(amount: pl.Expr) -> pl.Expr:
    """Convert an amount for `exact_sum`; null above `MAX_AMOUNT`."""
    return pl.when(amount.abs() <= MAX_AMOUNT).then(amount).cast(pl.Decimal(38, 20))


def count_by(events: pl.LazyFrame, key: pl.Expr) -> pl.LazyFrame:
    """Count the events of each user and key, in the column `COUNT`."""
    return events.group_by(USER_ID, key).agg(pl.len().alias(COUNT))


def local_time(time_zone: str) -> pl.Expr:
    """Return the time of the event in the shop's time zone."""
    time = pl.col(TIMESTAMP)
    return time if time_zone == "UTC" else time.dt.convert_time_zone(time_zone)


def purchase_day(time_zone: str = "UTC") -> pl.Expr:
    """Return the day of a purchase in the shop's time zone, null for any other event."""
    return pl.when(pl.col(EVENT) == PURCHASE).then(local_time(time_zone).dt.date())


def purchases(events: pl.LazyFrame) -> pl.LazyFrame:
    """Select the purchases, with the columns of `ORDER_KEY`, which identify the order of each."""
    order_time = pl.when(pl.col(SESSION_ID).is_null()).then(pl.col(TIMESTAMP)).alias(ORDER_TIME)
    return events.filter(pl.col(EVENT) == PURCHASE).with_columns(order_time)


def units() -> pl.Expr:
    """Return the units of a purchase: its quantity, 1 where it is missing."""
    return pl.col(QUANTITY).fill_null(1.0)
