"""Item features: popularity, trend, conversion, sales, price, age, repurchase and refunds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import WINDOW_DAYS, days_since, load_events
from features.feature import Feature, columns
from features.item_partials import (
    BUYERS,
    CARTERS,
    CARTERS_WHO_BOUGHT,
    CUSTOMERS,
    CUSTOMERS_WHO_REFUNDED,
    GAPS,
    POPULARITY,
    PRICE_SUM,
    PRICES,
    SUMMED,
    USERS,
    VIEWERS,
    VIEWERS_WHO_BOUGHT,
    VIEWERS_WHO_CARTED,
    item_partials_from_pairs,
    sum_item_partials,
    users_column,
)
from features.item_sales import ITEM_SALES, LAST_PRICE, PRICE_RANK
from features.pairs import events_column, user_item_pairs
from features.repurchase.purchase_gaps import (
    CYCLE_DAYS,
    PRIOR_GAPS,
    REPURCHASE_DAYS,
    REPURCHASE_RATE,
    RETURN_RATE,
    YEAR_DAYS,
    gap_counts,
    repurchase_curves,
)
from features.trends import TREND
from recsys.schema import CATEGORY, CREATED_AT, DEFAULT_WEIGHTS, EVENTS, FIRST_AT, ITEM_ID, PRICE

PRIOR_USERS: Final = 20.0
"""Strength of the prior of a rate: the number of users that the shop's rate counts for."""

_AGE: Final = "age_days"


def _rate(successes: str, trials: str) -> pl.Expr:
    """Return the posterior mean of a rate; the beta prior is the shop's rate with the strength `PRIOR_USERS`."""
    shop = pl.col(successes).sum() / pl.col(trials).sum()
    smoothed = (pl.col(successes) + PRIOR_USERS * shop) / (pl.col(trials) + PRIOR_USERS)
    return pl.when(pl.col(trials).sum() > 0).then(smoothed)


_COUNTED: Final = "Number of events with positive weight"
_SMOOTHED: Final = f"smoothed by a beta prior: the shop's rate with the weight of {PRIOR_USERS:.0f} users"
_ESTIMATED: Final = (
    "from the survival curve of the gaps between purchase days, in which the time since the last purchase is "
    "censored (Kaplan and Meier), shrunk to that of the category and that to the shop's with the weight of "
    f"{PRIOR_GAPS:.0f} gaps"
)

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
        REPURCHASE_RATE,
        pl.Float64(),
        "share",
        f"Probability that a buyer buys the item again within {REPURCHASE_DAYS} days, or the length of the history "
        f"if it is shorter, {_ESTIMATED}; null if no purchase of the shop is older than a day",
        pl.col(REPURCHASE_RATE),
    ),
    Feature(
        RETURN_RATE,
        pl.Float64(),
        "share",
        f"The same within {YEAR_DAYS} days",
        pl.col(RETURN_RATE),
    ),
    Feature(
        GAPS,
        pl.UInt32(),
        "gaps",
        "Number of gaps between successive days, in the shop's time zone, on which one user bought the item",
        pl.col(GAPS),
    ),
    Feature(
        CYCLE_DAYS,
        pl.Float64(),
        "days",
        f"Median time to the next purchase of the buyers who buy the item again within {YEAR_DAYS} days, "
        f"{_ESTIMATED}; null if the shop has no gaps",
        pl.col(CYCLE_DAYS),
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
    *ITEM_SALES,
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
    loaded = load_events(events, as_of)
    pairs = user_item_pairs(loaded, as_of, half_life_days, weights)
    partials = item_partials_from_pairs(pairs, loaded, as_of)
    return merge_item_partials(partials, gap_counts(pairs, loaded, as_of), items, as_of)


def merge_item_partials(
    partials: pl.LazyFrame, gaps: pl.LazyFrame, items: pl.LazyFrame, as_of: datetime
) -> pl.LazyFrame:
    """Compute `item_features` from the rows of `sum_item_partials` and `sum_gap_counts` of all buckets."""
    catalogue = items.select(
        ITEM_ID, CREATED_AT, pl.when(pl.col(CATEGORY).list.len() > 0).then(pl.col(CATEGORY)), PRICE
    )
    created_at = pl.when(days_since(pl.col(CREATED_AT), as_of) > 0).then(pl.col(CREATED_AT))
    every = (
        catalogue.join(sum_item_partials(partials), on=ITEM_ID, how="full", coalesce=True)
        .with_columns(
            pl.col(SUMMED).fill_null(0),
            pl.coalesce(PRICE, LAST_PRICE),
            days_since(pl.coalesce(created_at, FIRST_AT), as_of).alias(_AGE),
        )
        .sort(ITEM_ID)
        .collect(engine="streaming")
    )
    curves = repurchase_curves(gaps.collect(engine="streaming"), every.select(ITEM_ID, CATEGORY))
    return every.hstack(curves.drop(ITEM_ID)).lazy().select(columns(ITEM_FEATURES))
