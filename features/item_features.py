"""Item features: popularity, trend, conversion, price, age, repurchase and refunds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import WINDOW_DAYS, days_since
from features.feature import Feature, columns
from features.item_partials import (
    BUYERS,
    BUYERS_WHO_REPEATED,
    CARTERS,
    CARTERS_WHO_BOUGHT,
    CUSTOMERS,
    CUSTOMERS_WHO_REFUNDED,
    GAP_DAYS,
    GAPS,
    POPULARITY,
    PRICE_SUM,
    PRICES,
    SUMMED,
    USERS,
    VIEWERS,
    VIEWERS_WHO_BOUGHT,
    VIEWERS_WHO_CARTED,
    item_partials,
    sum_item_partials,
    users_column,
)
from features.item_prices import LAST_PRICE, PRICE_RANK
from features.pairs import events_column
from features.trends import TREND
from recsys.schema import CATEGORY, CREATED_AT, DEFAULT_WEIGHTS, EVENTS, FIRST_AT, ITEM_ID, PRICE

# Strength of the priors: the number of users or gaps that the shop's rate or the category's cycle counts for.
PRIOR_USERS: Final = 20.0
PRIOR_GAPS: Final = 10.0

CYCLE_DAYS: Final = "cycle_days"

_AGE: Final = "age_days"


def _rate(successes: str, trials: str) -> pl.Expr:
    """Return the posterior mean of a rate; the beta prior is the shop's rate with the strength `PRIOR_USERS`."""
    shop = pl.col(successes).sum() / pl.col(trials).sum()
    smoothed = (pl.col(successes) + PRIOR_USERS * shop) / (pl.col(trials) + PRIOR_USERS)
    return pl.when(pl.col(trials).sum() > 0).then(smoothed)


def _cycle() -> pl.Expr:
    """Return the item's mean gap, shrunk to the category's, which is shrunk to the shop's; null without gaps."""
    shop = pl.col(GAP_DAYS).sum() / pl.col(GAPS).sum()
    category_cycle = _shrunk(pl.col(GAP_DAYS).sum().over(CATEGORY), pl.col(GAPS).sum().over(CATEGORY), shop)
    category = pl.when(pl.col(CATEGORY).is_null()).then(shop).otherwise(category_cycle)
    return pl.when(pl.col(GAPS).sum() > 0).then(_shrunk(pl.col(GAP_DAYS), pl.col(GAPS), category))


def _shrunk(total: pl.Expr, count: pl.Expr, prior: pl.Expr) -> pl.Expr:
    return (total + PRIOR_GAPS * prior) / (count + PRIOR_GAPS)


_COUNTED: Final = "Number of events with positive weight"
_SMOOTHED: Final = f"smoothed by a beta prior: the shop's rate with the weight of {PRIOR_USERS:.0f} users"

_POPULARITY: Final = (
    Feature(EVENTS, pl.UInt32(), "events", _COUNTED, pl.col(EVENTS)),
    Feature(USERS, pl.UInt32(), "users", "Number of users with an event of positive weight", pl.col(USERS)),
    *(
        Feature(
            events_column(days),
            pl.UInt32(),
            "events",
            f"{_COUNTED} in the last {days} x 24 hours",
            pl.col(events_column(days)),
        )
        for days in WINDOW_DAYS
    ),
    *(
        Feature(
            users_column(days),
            pl.UInt32(),
            "users",
            f"Number of users with an event of positive weight in the last {days} x 24 hours",
            pl.col(users_column(days)),
        )
        for days in WINDOW_DAYS
    ),
    Feature(
        POPULARITY,
        pl.Float64(),
        "weight",
        "Sum of weight * 0.5 ** (age / half-life) over all events, without returned purchases; dislikes have a "
        "negative weight",
        pl.col(POPULARITY),
    ),
)

_CONVERSION: Final = (
    Feature(
        "view_to_cart",
        pl.Float64(),
        "share",
        f"Share of the users who viewed the item who also added it to the cart, {_SMOOTHED}; null if the shop has "
        "no views",
        _rate(VIEWERS_WHO_CARTED, VIEWERS),
    ),
    Feature(
        "cart_to_purchase",
        pl.Float64(),
        "share",
        f"Share of the users who added the item to the cart who also bought it, {_SMOOTHED}; null if the shop has "
        "no carts",
        _rate(CARTERS_WHO_BOUGHT, CARTERS),
    ),
    Feature(
        "view_to_purchase",
        pl.Float64(),
        "share",
        f"Share of the users who viewed the item who also bought it, {_SMOOTHED}; null if the shop has no views",
        _rate(VIEWERS_WHO_BOUGHT, VIEWERS),
    ),
)

_PRICES: Final = (
    Feature(
        PRICE,
        pl.Float64(),
        "currency",
        "Price in the catalogue at that time, or the latest price in the events if the catalogue has none; null "
        "without either",
        pl.col(PRICE),
    ),
    Feature(
        LAST_PRICE,
        pl.Float64(),
        "currency",
        "Price of the latest event with a price, the highest of several at the same time; null without a price",
        pl.col(LAST_PRICE),
    ),
    Feature(
        "price_mean",
        pl.Float64(),
        "currency",
        "Mean price over the events with a price (a mean, because it merges over buckets); null without a price",
        pl.when(pl.col(PRICES) > 0).then(pl.col(PRICE_SUM).cast(pl.Float64) / pl.col(PRICES)),
    ),
    Feature(
        "price_rank",
        pl.Float64(),
        "0..1",
        "Share of the priced items of the category that are cheaper, with equal prices counted half; null without "
        "a price or a category",
        PRICE_RANK,
    ),
)

_LIFE: Final = (
    Feature(
        _AGE,
        pl.Float64(),
        "days",
        "Time since the item was created, or since its first event if that is unknown; null without either",
        pl.col(_AGE),
    ),
    Feature(BUYERS, pl.UInt32(), "users", "Number of users who bought the item and kept a unit", pl.col(BUYERS)),
    Feature(
        "repurchase_rate",
        pl.Float64(),
        "share",
        f"Share of buyers who bought the item again on another UTC day, {_SMOOTHED}; null if the shop has no "
        "purchases",
        _rate(BUYERS_WHO_REPEATED, BUYERS),
    ),
    Feature(
        GAPS,
        pl.UInt32(),
        "gaps",
        "Number of gaps between successive UTC days on which one user bought the item; cycle_days is computed from "
        "them",
        pl.col(GAPS),
    ),
    Feature(
        CYCLE_DAYS,
        pl.Float64(),
        "days",
        "Mean time between successive purchase days of one user (a mean, because it merges over buckets), shrunk "
        f"to the mean of the category with the weight of {PRIOR_GAPS:.0f} gaps, which is shrunk to the mean of the "
        "shop in the same way; null if the shop has no gaps",
        _cycle(),
    ),
    Feature(
        "refund_rate",
        pl.Float64(),
        "share",
        f"Share of the users who bought the item who also returned it, {_SMOOTHED}; null if the shop has no "
        "purchases",
        _rate(CUSTOMERS_WHO_REFUNDED, CUSTOMERS),
    ),
)

ITEM_FEATURES: Final = (
    Feature(ITEM_ID, pl.String(), "id", "Item", pl.col(ITEM_ID)),
    *_POPULARITY,
    *TREND,
    *_CONVERSION,
    *_PRICES,
    *_LIFE,
)


def item_features(
    events: pl.LazyFrame,
    items: pl.LazyFrame,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
) -> pl.LazyFrame:
    """Compute one row per item of the catalogue or the events of all users, in the columns of `ITEM_FEATURES`.

    Sorted by item.
    """
    return merge_item_partials(item_partials(events, as_of, half_life_days, weights), items, as_of)


def merge_item_partials(partials: pl.LazyFrame, items: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Compute `item_features` from the concatenated rows of `item_partials` of all buckets."""
    catalogue = items.select(
        ITEM_ID, CREATED_AT, pl.when(pl.col(CATEGORY).list.len() > 0).then(pl.col(CATEGORY)), PRICE
    )
    created_at = pl.when(days_since(pl.col(CREATED_AT), as_of) > 0).then(pl.col(CREATED_AT))
    return (
        catalogue.join(sum_item_partials(partials), on=ITEM_ID, how="full", coalesce=True)
        .with_columns(
            pl.col(SUMMED).fill_null(0),
            pl.coalesce(PRICE, LAST_PRICE),
            days_since(pl.coalesce(created_at, FIRST_AT), as_of).alias(_AGE),
        )
        .select(columns(ITEM_FEATURES))
        .sort(ITEM_ID)
    )
