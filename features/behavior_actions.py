"""Behavior features of what kinds of events a user makes: shares, conversion ratios and ratings."""

from datetime import datetime
from typing import Final

import polars as pl

from features.behavior_expressions import (
    count_feature,
    exact_deviation,
    exact_mean,
    number_feature,
    per_user,
    share,
)
from features.behavior_partials import MAX_RATING, MIN_RATING
from features.events import days_since
from recsys.schema import CART, EVENT, EVENTS, PRICE, PURCHASE, REFUND, TIMESTAMP, VALUE, VIEW

NIGHT_HOURS: Final = 6  # of the day, from midnight on, in UTC

_AGE: Final = "age_days"


def _events(name: str) -> pl.Expr:
    return (pl.col(EVENT) == name).sum()


def _ratio(part: str, whole: str) -> pl.Expr:
    return (_events(part) + 1) / (_events(whole) + 1)


# Over all events of a user; the value of an event is its rating.
ACTION_FEATURES: Final = (
    count_feature(EVENTS, "events", "Number of events, impressions not counted", pl.len()),
    number_feature("days_since_first", "days", "Days since the first event", pl.col(_AGE).max()),
    number_feature(
        "night_share",
        "share",
        f"Share of the events between midnight and {NIGHT_HOURS} o'clock, UTC",
        share((pl.col(TIMESTAMP).dt.hour() < NIGHT_HOURS).sum(), pl.len()),
    ),
    number_feature("carts_per_view", "ratio", "(Carts + 1) / (views + 1)", _ratio(CART, VIEW)),
    number_feature("purchases_per_cart", "ratio", "(Purchases + 1) / (carts + 1)", _ratio(PURCHASE, CART)),
    number_feature("purchases_per_view", "ratio", "(Purchases + 1) / (views + 1)", _ratio(PURCHASE, VIEW)),
    number_feature(
        "refund_share",
        "share",
        "Refunds divided by purchases and refunds; null without any",
        share(_events(REFUND), _events(REFUND) + _events(PURCHASE)),
    ),
    number_feature(
        "unpriced_share",
        "share",
        "Share of the purchases that have no price; null without purchases",
        share(((pl.col(EVENT) == PURCHASE) & pl.col(PRICE).is_null()).sum(), _events(PURCHASE)),
    ),
    number_feature("rating_mean", "stars", "Mean of the ratings; null without ratings", exact_mean(pl.col(VALUE))),
    number_feature(
        "rating_deviation",
        "stars",
        "Standard deviation of the ratings; null for fewer than two",
        exact_deviation(pl.col(VALUE)),
    ),
    number_feature(
        "greatest_rating_share",
        "share",
        "Share of the ratings that equal the highest rating in the shop; null without ratings",
        share((pl.col(VALUE) == pl.col(MAX_RATING)).sum(), pl.col(VALUE).count()),
    ),
    number_feature(
        "least_rating_share",
        "share",
        "Share of the ratings that equal the lowest rating in the shop; null without ratings",
        share((pl.col(VALUE) == pl.col(MIN_RATING)).sum(), pl.col(VALUE).count()),
    ),
)


def action_features(actions: pl.LazyFrame, as_of: datetime, items: pl.LazyFrame) -> pl.LazyFrame:
    """Compute `ACTION_FEATURES`, one row per user; `items` are the `item_counts` of the whole shop."""
    shop = items.select(pl.col(MIN_RATING).min(), pl.col(MAX_RATING).max())
    aged = actions.with_columns(days_since(pl.col(TIMESTAMP), as_of).alias(_AGE))
    return per_user(aged.join(shop, how="cross"), ACTION_FEATURES)
