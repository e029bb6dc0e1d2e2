"""Behavior features of items: how many and how popular a user's items are, and how the user's ratings compare."""

from typing import Final

import polars as pl

from features.behavior_expressions import (
    count_feature,
    entropy,
    exact_deviation,
    exact_mean,
    number_feature,
    per_user,
)
from features.behavior_partials import RATING_SUM, RATINGS, USERS
from features.events import COUNT
from recsys.schema import ITEM_ID, USER_ID, VALUE

_MEAN_OF_OTHERS: Final = "of_others"

# Over the distinct items of a user, with the user's events on each and its users in the whole shop.
_ITEMS: Final = (
    count_feature("items", "items", "Number of distinct items", pl.len()),
    number_feature("distinct_share", "share", "Distinct items divided by events", pl.len() / pl.col(COUNT).sum()),
    number_feature(
        "item_entropy",
        "nats",
        "Entropy of the events over the items; 0 for a single item",
        entropy(pl.col(COUNT)),
    ),
    number_feature(
        "log_popularity_mean",
        "log users",
        "Mean over the distinct items of the logarithm of an item's number of users",
        exact_mean(pl.col(USERS).log()),
    ),
    number_feature(
        "log_popularity_deviation",
        "log users",
        "Standard deviation over the distinct items of that logarithm; null for a single item",
        exact_deviation(pl.col(USERS).log()),
    ),
)

# Over the ratings of a user, with the mean that others gave the item.
_DISSENT: Final = (
    number_feature(
        "rating_dissent",
        "stars",
        "Mean absolute difference between a rating and the mean rating of the item by others; null without any",
        exact_mean((pl.col(VALUE) - pl.col(_MEAN_OF_OTHERS)).abs()),
    ),
)

ITEM_FEATURES: Final = (*_ITEMS, *_DISSENT)


def item_features(actions: pl.LazyFrame, items: pl.LazyFrame) -> list[pl.LazyFrame]:
    """Compute `ITEM_FEATURES`, as tables of one row per user; `items` are the `item_counts` of the whole shop."""
    own_items = _encode_items(items, actions)
    return [per_user(_with_users(actions, own_items), _ITEMS), per_user(_with_others(actions, own_items), _DISSENT)]


def _with_users(actions: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    pairs = actions.group_by(USER_ID, ITEM_ID).agg(pl.len().alias(COUNT))
    return pairs.join(items.select(ITEM_ID, USERS), on=ITEM_ID)


def _with_others(actions: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    ratings = actions.select(USER_ID, ITEM_ID, VALUE).drop_nulls()
    mean_of_others = pl.when(pl.col(RATINGS) > 1).then(
        (pl.col(RATING_SUM).cast(pl.Float64) - pl.col(VALUE)) / (pl.col(RATINGS).cast(pl.Float64) - 1)
    )
    return ratings.join(items, on=ITEM_ID).with_columns(mean_of_others.alias(_MEAN_OF_OTHERS))


def _encode_items(items: pl.LazyFrame, actions: pl.LazyFrame) -> pl.LazyFrame:
    """Keep the items that the events name, with ids in the `Enum` of the events."""
    ids = actions.collect_schema()[ITEM_ID]
    return items.with_columns(pl.col(ITEM_ID).cast(ids, strict=False)).drop_nulls(ITEM_ID)
