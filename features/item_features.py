"""What is known of each item: popularity, trend, conversion, price, age, repurchase and refunds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import WINDOW_DAYS, days_since
from features.feature import Feature, columns
from features.item_partials import (
    ADDED,
    BUYERS,
    BUYERS_WHO_REFUNDED,
    BUYERS_WHO_REPEATED,
    CARTERS,
    CARTERS_WHO_BOUGHT,
    GAP_DAYS,
    GAPS,
    LAST_PRICE,
    POPULARITY,
    PRICE_SUM,
    PRICES,
    USERS,
    VIEWERS,
    VIEWERS_WHO_BOUGHT,
    VIEWERS_WHO_CARTED,
    item_partials,
    sum_item_partials,
    users_in,
)
from features.item_prices import PRICE_RANK
from features.pairs import events_in
from features.trends import TREND
from recsys.schema import CATEGORY, CREATED_AT, DEFAULT_WEIGHTS, EVENTS, FIRST_AT, ITEM_ID, PRICE

# How many users' or gaps' evidence the shop's rate, or the category's cycle, stands for beside the item's own.
PRIOR_USERS: Final = 20.0
PRIOR_GAPS: Final = 10.0

CYCLE_DAYS: Final = "cycle_days"

_AGE: Final = "age_days"


def _rate(successes: str, trials: str) -> pl.Expr:
    """The mean of a beta posterior whose prior is the shop's rate, worth `PRIOR_USERS`; null without any trial."""
    shop = pl.col(successes).sum() / pl.col(trials).sum()
    smoothed = (pl.col(successes) + PRIOR_USERS * shop) / (pl.col(trials) + PRIOR_USERS)
    return pl.when(pl.col(trials).sum() > 0).then(smoothed)


def _cycle() -> pl.Expr:
    """Mean gap of the item, shrunk to its category's, which is shrunk to the shop's; null without any gap."""
    shop = pl.col(GAP_DAYS).sum() / pl.col(GAPS).sum()
    of_category = _shrunk(pl.col(GAP_DAYS).sum().over(CATEGORY), pl.col(GAPS).sum().over(CATEGORY), shop)
    category = pl.when(pl.col(CATEGORY).is_null()).then(shop).otherwise(of_category)
    return pl.when(pl.col(GAPS).sum() > 0).then(_shrunk(pl.col(GAP_DAYS), pl.col(GAPS), category))


def _shrunk(total: pl.Expr, count: pl.Expr, prior: pl.Expr) -> pl.Expr:
    return (total + PRIOR_GAPS * prior) / (count + PRIOR_GAPS)


_COUNTED: Final = "Events of positive weight"
_SMOOTHED: Final = f"smoothed with a beta prior of the shop's rate worth {PRIOR_USERS:.0f} users"

_POPULARITY: Final = (
    Feature(EVENTS, pl.UInt32(), "events", f"{_COUNTED}; 0 without one", pl.col(EVENTS)),
    Feature(USERS, pl.UInt32(), "users", "Distinct users with an event of positive weight", pl.col(USERS)),
    *(
        Feature(
            events_in(days),
            pl.UInt32(),
            "events",
            f"{_COUNTED} in the last {days} x 24 hours; 0 without one",
            pl.col(events_in(days)),
        )
        for days in WINDOW_DAYS
    ),
    *(
        Feature(
            users_in(days),
            pl.UInt32(),
            "users",
            f"Distinct users with an event of positive weight in the last {days} x 24 hours; 0 without one",
            pl.col(users_in(days)),
        )
        for days in WINDOW_DAYS
    ),
    Feature(
        POPULARITY,
        pl.Float64(),
        "weight",
        "Sum of weight * 0.5 ** (age / half-life) over all events; refunds take from it; 0 without an event",
        pl.col(POPULARITY),
    ),
)

_CONVERSION: Final = (
    Feature(
        "view_to_cart",
        pl.Float64(),
        "share",
        f"Share of the users who viewed the item that also carted it, {_SMOOTHED}; null where nobody views",
        _rate(VIEWERS_WHO_CARTED, VIEWERS),
    ),
    Feature(
        "cart_to_purchase",
        pl.Float64(),
        "share",
        f"Share of the users who carted the item that also bought it, {_SMOOTHED}; null where nobody carts",
        _rate(CARTERS_WHO_BOUGHT, CARTERS),
    ),
    Feature(
        "view_to_purchase",
        pl.Float64(),
        "share",
        f"Share of the users who viewed the item that also bought it, {_SMOOTHED}; null where nobody views",
        _rate(VIEWERS_WHO_BOUGHT, VIEWERS),
    ),
)

_PRICES: Final = (
    Feature(
        PRICE,
        pl.Float64(),
        "currency",
        "Price in the catalogue, the last price in the events where it has none; null where neither has",
        pl.col(PRICE),
    ),
    Feature(
        LAST_PRICE,
        pl.Float64(),
        "currency",
        "Price of the latest event with one, the highest of several at once; null without one",
        pl.col(LAST_PRICE),
    ),
    Feature(
        "price_mean",
        pl.Float64(),
        "currency",
        "Mean price over the events with one (a mean adds up over buckets, a median does not); null without one",
        pl.when(pl.col(PRICES) > 0).then(pl.col(PRICE_SUM).cast(pl.Float64) / pl.col(PRICES)),
    ),
    Feature(
        "price_rank",
        pl.Float64(),
        "0..1",
        "Share of the category's priced items that are cheaper, an equal price counted half; null without a price "
        "or a category",
        PRICE_RANK,
    ),
)

_LIFE: Final = (
    Feature(
        _AGE,
        pl.Float64(),
        "days",
        "Time since the item was created or, where that is not known, since its first event; null without either",
        pl.col(_AGE),
    ),
    Feature(BUYERS, pl.UInt32(), "users", "Distinct users who bought it; 0 without one", pl.col(BUYERS)),
    Feature(
        "repurchase_rate",
        pl.Float64(),
        "share",
        f"Share of buyers who bought it on another UTC day again, {_SMOOTHED}; null where nobody buys",
        _rate(BUYERS_WHO_REPEATED, BUYERS),
    ),
    Feature(
        GAPS,
        pl.UInt32(),
        "gaps",
        "Pairs of successive UTC days on which one user bought it: what its cycle is known from; 0 without one",
        pl.col(GAPS),
    ),
    Feature(
        CYCLE_DAYS,
        pl.Float64(),
        "days",
        "Mean time between one user's successive purchase days of it (a mean adds up over buckets, a median does "
        f"not), shrunk to its category's with {PRIOR_GAPS:.0f} gaps, as the category's is to the shop's; null "
        "where the shop has no gap",
        _cycle(),
    ),
    Feature(
        "refund_rate",
        pl.Float64(),
        "share",
        f"Share of buyers who also gave it back, {_SMOOTHED}; null where nobody buys",
        _rate(BUYERS_WHO_REFUNDED, BUYERS),
    ),
)

ITEM_FEATURES: Final = (
    Feature(ITEM_ID, pl.String(), "id", "The item", pl.col(ITEM_ID)),
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
    """One row an item of the catalogue or the events of all users, with the columns of `ITEM_FEATURES`.

    In order of item.
    """
    return merge_item_partials(item_partials(events, as_of, half_life_days, weights), items, as_of)


def merge_item_partials(partials: pl.LazyFrame, items: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """`item_features` from the rows of `item_partials` of all buckets, one below the other."""
    catalogue = items.select(
        ITEM_ID, CREATED_AT, pl.when(pl.col(CATEGORY).list.len() > 0).then(pl.col(CATEGORY)), PRICE
    )
    created_at = pl.when(days_since(pl.col(CREATED_AT), as_of) > 0).then(pl.col(CREATED_AT))
    return (
        catalogue.join(sum_item_partials(partials), on=ITEM_ID, how="full", coalesce=True)
        .with_columns(
            pl.col(ADDED).fill_null(0),
            pl.coalesce(PRICE, LAST_PRICE),
            days_since(pl.coalesce(created_at, FIRST_AT), as_of).alias(_AGE),
        )
        .select(columns(ITEM_FEATURES))
        .sort(ITEM_ID)
    )
