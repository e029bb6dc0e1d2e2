"""What a bucket of users says of each item, in sums, counts, minima and maxima that add up over buckets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import WINDOW_DAYS, before, days_since, decay, exact_sum, in_last, purchase_day, weight
from recsys.schema import (
    CART,
    EVENT,
    EVENTS,
    FIRST_AT,
    ITEM_ID,
    PRICE,
    PURCHASE,
    REFUND,
    TIMESTAMP,
    USER_ID,
    VIEW,
    WEIGHT,
)

# The trend sets events decayed with a quarter of the half-life against events decayed with all of it.
TREND_HALF_LIFE_SHARE: Final = 0.25

USERS: Final = "users"
POPULARITY: Final = "popularity"
RECENT: Final = "recent"
LONG: Final = "long"
VIEWERS: Final = "viewers"
CARTERS: Final = "carters"
BUYERS: Final = "buyers"
VIEWERS_WHO_CARTED: Final = "viewers_who_carted"
CARTERS_WHO_BOUGHT: Final = "carters_who_bought"
VIEWERS_WHO_BOUGHT: Final = "viewers_who_bought"
BUYERS_WHO_REPEATED: Final = "buyers_who_repeated"
BUYERS_WHO_REFUNDED: Final = "buyers_who_refunded"
GAPS: Final = "gaps"
GAP_DAYS: Final = "gap_days"
PRICES: Final = "prices"
PRICE_SUM: Final = "price_sum"
LAST_PRICE: Final = "last_price"
LAST_PRICE_AT: Final = "last_price_at"

_AGE: Final = "age_days"
_VIEWED: Final = pl.col(VIEW)
_CARTED: Final = pl.col(CART)
_BOUGHT: Final = pl.col(PURCHASE)
_REFUNDED: Final = pl.col(REFUND)
_PURCHASE_DAYS: Final = "purchase_days"
_FIRST_DAY: Final = "first_day"
_LAST_DAY: Final = "last_day"


def events_in(days: int) -> str:
    """The column that counts events in the last `days`."""
    return f"{EVENTS}_{days}d"


def users_in(days: int) -> str:
    """The column that counts distinct users in the last `days`."""
    return f"{USERS}_{days}d"


# Over the pairs of a user and an item that `_pairs` makes; no user is in two buckets, so users add up too.
_SUMS: Final[Mapping[str, pl.Expr]] = {
    EVENTS: pl.col(EVENTS).sum(),
    USERS: (pl.col(EVENTS) > 0).sum(),
    **{events_in(days): pl.col(events_in(days)).sum() for days in WINDOW_DAYS},
    **{users_in(days): (pl.col(events_in(days)) > 0).sum() for days in WINDOW_DAYS},
    POPULARITY: pl.col(POPULARITY).sum(),
    RECENT: pl.col(RECENT).sum(),
    LONG: pl.col(LONG).sum(),
    VIEWERS: _VIEWED.sum(),
    CARTERS: _CARTED.sum(),
    BUYERS: _BOUGHT.sum(),
    VIEWERS_WHO_CARTED: (_VIEWED & _CARTED).sum(),
    CARTERS_WHO_BOUGHT: (_CARTED & _BOUGHT).sum(),
    VIEWERS_WHO_BOUGHT: (_VIEWED & _BOUGHT).sum(),
    BUYERS_WHO_REPEATED: (pl.col(_PURCHASE_DAYS) > 1).sum(),
    BUYERS_WHO_REFUNDED: (_BOUGHT & _REFUNDED).sum(),
    GAPS: (pl.col(_PURCHASE_DAYS) - 1).filter(_BOUGHT).sum(),
    GAP_DAYS: (pl.col(_LAST_DAY) - pl.col(_FIRST_DAY)).dt.total_days().sum(),
}

_PRICE_SUMS: Final[Mapping[str, pl.Expr]] = {
    PRICES: pl.col(PRICE).count(),
    PRICE_SUM: exact_sum(pl.col(PRICE)),
}

ADDED: Final = (*_SUMS, *_PRICE_SUMS)


def item_partials(
    events: pl.LazyFrame, as_of: datetime, half_life_days: float, weights: Mapping[str, float]
) -> pl.LazyFrame:
    """One row an item of `events`, the events of one bucket of users, for `add_item_partials`."""
    known = before(events, as_of)
    pairs = _pairs(known, as_of, half_life_days, weights)
    sums = pairs.group_by(ITEM_ID).agg(*_named(_SUMS), pl.col(FIRST_AT).min())
    priced = known.filter(pl.col(PRICE).is_not_null())
    prices = priced.group_by(ITEM_ID).agg(
        *_named(_PRICE_SUMS),
        _last(pl.col(PRICE), pl.col(TIMESTAMP)),
        pl.col(TIMESTAMP).max().alias(LAST_PRICE_AT),
    )
    return sums.join(prices, on=ITEM_ID, how="left").with_columns(pl.col(PRICES, PRICE_SUM).fill_null(0))


def add_item_partials(partials: pl.LazyFrame) -> pl.LazyFrame:
    """One row an item, of the same columns, from the rows of `item_partials` of any number of buckets.

    It may be applied to some buckets first and the rest later, in any order: the result is the same to the bit.
    """
    return partials.group_by(ITEM_ID).agg(
        pl.col(*_SUMS).sum(),
        pl.col(FIRST_AT).min(),
        pl.col(*_PRICE_SUMS).sum(),
        _last(pl.col(LAST_PRICE), pl.col(LAST_PRICE_AT)),
        pl.col(LAST_PRICE_AT).max(),
    )


def _named(expressions: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    return [expression.alias(name) for name, expression in expressions.items()]


def _last(price: pl.Expr, time: pl.Expr) -> pl.Expr:
    """The price at the latest time, the highest where there are several."""
    return price.filter(time == time.max()).max().alias(LAST_PRICE)


def _pairs(
    events: pl.LazyFrame, as_of: datetime, half_life_days: float, weights: Mapping[str, float]
) -> pl.LazyFrame:
    """One row a user and item; what counts as an event of the item is one of positive weight."""
    age = pl.col(_AGE)
    counts = pl.col(WEIGHT) > 0
    long = decay(age, half_life_days)
    recent = decay(age, half_life_days * TREND_HALF_LIFE_SHARE)
    return (
        events.with_columns(weight(weights).alias(WEIGHT), days_since(pl.col(TIMESTAMP), as_of).alias(_AGE))
        .group_by(USER_ID, ITEM_ID)
        .agg(
            counts.sum().alias(EVENTS),
            *((counts & in_last(days, as_of)).sum().alias(events_in(days)) for days in WINDOW_DAYS),
            exact_sum(pl.col(WEIGHT) * long).alias(POPULARITY),
            exact_sum(counts * recent).alias(RECENT),
            exact_sum(counts * long).alias(LONG),
            *((pl.col(EVENT) == name).any().alias(name) for name in (VIEW, CART, PURCHASE, REFUND)),
            purchase_day().drop_nulls().n_unique().alias(_PURCHASE_DAYS),
            purchase_day().min().alias(_FIRST_DAY),
            purchase_day().max().alias(_LAST_DAY),
            pl.col(TIMESTAMP).min().alias(FIRST_AT),
        )
    )
