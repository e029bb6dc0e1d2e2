"""Partial item statistics of one bucket of users: sums, counts, minima and maxima that merge over buckets."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import WINDOW_DAYS, exact_sum, load_events
from features.item_sales import (
    LAST_PRICE,
    LAST_PRICE_AT,
    SALES,
    item_sales,
    last_prices,
    merge_last_prices,
    priced_events,
)
from features.pairs import (
    PURCHASE_DAYS,
    RECENT,
    USUAL,
    events_column,
    user_item_pairs,
)
from recsys.schema import (
    CART,
    CONFIDENCE,
    EVENTS,
    FIRST_AT,
    ITEM_ID,
    PRICE,
    PURCHASE,
    REFUND,
    RETURNED_PURCHASE,
    VIEW,
)

USERS: Final = "users"
POPULARITY: Final = "popularity"
VIEWERS: Final = "viewers"
CARTERS: Final = "carters"
BUYERS: Final = "buyers"
VIEWERS_WHO_CARTED: Final = "viewers_who_carted"
CARTERS_WHO_BOUGHT: Final = "carters_who_bought"
VIEWERS_WHO_BOUGHT: Final = "viewers_who_bought"
CUSTOMERS: Final = "customers"
CUSTOMERS_WHO_REFUNDED: Final = "customers_who_refunded"
GAPS: Final = "gaps"
PRICES: Final = "prices"
PRICE_SUM: Final = "price_sum"

_VIEWED: Final = pl.col(VIEW) > 0
_CARTED: Final = pl.col(CART) > 0
_BOUGHT: Final = pl.col(PURCHASE) > 0
_REFUNDED: Final = pl.col(REFUND) > 0
_BOUGHT_ONCE: Final = _BOUGHT | (pl.col(RETURNED_PURCHASE) > 0)


def users_column(days: int) -> str:
    """Return the name of the column that counts distinct users in the last `days`."""
    return f"{USERS}_{days}d"


# Over the rows of `user_item_pairs`; only events of positive weight count. Each user is in one bucket, so that
# counts of distinct users can be added up over buckets.
_SUMS: Final[Mapping[str, pl.Expr]] = {
    EVENTS: pl.col(EVENTS).sum(),
    USERS: (pl.col(EVENTS) > 0).sum(),
    **{events_column(days): pl.col(events_column(days)).sum() for days in WINDOW_DAYS},
    **{users_column(days): (pl.col(events_column(days)) > 0).sum() for days in WINDOW_DAYS},
    POPULARITY: pl.col(CONFIDENCE).sum(),
    RECENT: pl.col(RECENT).sum(),
    USUAL: pl.col(USUAL).sum(),
    VIEWERS: _VIEWED.sum(),
    CARTERS: _CARTED.sum(),
    BUYERS: _BOUGHT.sum(),
    VIEWERS_WHO_CARTED: (_VIEWED & _CARTED).sum(),
    CARTERS_WHO_BOUGHT: (_CARTED & _BOUGHT).sum(),
    VIEWERS_WHO_BOUGHT: (_VIEWED & _BOUGHT).sum(),
    CUSTOMERS: _BOUGHT_ONCE.sum(),
    CUSTOMERS_WHO_REFUNDED: (_BOUGHT_ONCE & _REFUNDED).sum(),
    GAPS: pl.when(_BOUGHT).then(pl.col(PURCHASE_DAYS) - 1).sum(),
}

_PRICE_SUMS: Final[Mapping[str, pl.Expr]] = {
    PRICES: pl.col(PRICE).count(),
    PRICE_SUM: exact_sum(pl.col(PRICE)),
}

SUMMED: Final = (*_SUMS, *_PRICE_SUMS, *SALES)
_COLUMNS: Final = (ITEM_ID, *SUMMED, FIRST_AT, LAST_PRICE_AT, LAST_PRICE)


def item_partials(
    events: pl.LazyFrame, as_of: datetime, half_life_days: float, weights: Mapping[str, float]
) -> pl.LazyFrame:
    """Compute one row per item from `events` of one bucket of users, for `sum_item_partials`."""
    loaded = load_events(events, as_of)
    return item_partials_from_pairs(user_item_pairs(loaded, as_of, half_life_days, weights), loaded, as_of)


def item_partials_from_pairs(pairs: pl.LazyFrame, events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Compute `item_partials` from the rows of `user_item_pairs` and the events that they were computed from."""
    sums = pairs.group_by(ITEM_ID).agg(*_named(_SUMS), pl.col(FIRST_AT).min())
    prices = priced_events(events).group_by(ITEM_ID).agg(_named(_PRICE_SUMS)).join(last_prices(events), on=ITEM_ID)
    return (
        sums.join(prices, on=ITEM_ID, how="left")
        .join(item_sales(events, as_of), on=ITEM_ID, how="left")
        .with_columns(pl.col(ITEM_ID).cast(pl.String), pl.col(PRICES, PRICE_SUM, *SALES).fill_null(0))
        .select(_COLUMNS)
    )


def sum_item_partials(partials: pl.LazyFrame) -> pl.LazyFrame:
    """Merge rows of `item_partials` of any number of buckets to one row per item, with the same columns.

    Buckets can be merged in any order and in several calls; the result is bit-identical.
    """
    sums = partials.group_by(ITEM_ID).agg(pl.col(*SUMMED).sum(), pl.col(FIRST_AT).min())
    prices = merge_last_prices(partials.select(ITEM_ID, LAST_PRICE_AT, LAST_PRICE).drop_nulls())
    return sums.join(prices, on=ITEM_ID, how="left").select(_COLUMNS)


def _named(expressions: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    return [expression.alias(name) for name, expression in expressions.items()]
