"""User profiles: activity, orders, tastes and attributes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import exclude_impressions, load_events
from features.feature import Feature, columns
from features.pairs import user_item_pairs
from features.user_activity import USER_ACTIVITY, user_activity
from features.user_orders import USER_ORDERS, user_orders
from features.user_tastes import USER_TASTES, user_tastes
from recsys.schema import ATTRIBUTES, DEFAULT_WEIGHTS, USER_ID

_USER: Final = (Feature(USER_ID, pl.String(), "id", "User", pl.col(USER_ID)),)

_ATTRIBUTES: Final = (
    Feature(
        ATTRIBUTES,
        pl.String(),
        "JSON",
        "Attributes of the user from the users table; null without any",
        pl.col(ATTRIBUTES),
    ),
)

USER_PROFILE: Final = _USER + USER_ACTIVITY + USER_ORDERS + USER_TASTES + _ATTRIBUTES


def user_profile(
    events: pl.LazyFrame,
    items: pl.LazyFrame,
    users: pl.LazyFrame,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
) -> pl.LazyFrame:
    """Compute one row per user with an event other than an impression, in the columns of `USER_PROFILE`.

    Sorted by user. Each user's row depends only on the user's own events, so that the function can run on one
    bucket of users at a time. Price ranks are based on the prices of `items`, not of the events.
    """
    loaded = load_events(events, as_of)
    return user_profile_from_pairs(
        user_item_pairs(loaded, as_of, half_life_days, weights), loaded, items, users, as_of
    )


def user_profile_from_pairs(
    pairs: pl.LazyFrame, events: pl.LazyFrame, items: pl.LazyFrame, users: pl.LazyFrame, as_of: datetime
) -> pl.LazyFrame:
    """Compute `user_profile` from the rows of `user_item_pairs` and the events that they were computed from."""
    actions = exclude_impressions(events)
    return (
        user_activity(actions, as_of)
        .join(user_orders(actions, as_of), on=USER_ID, how="left")
        .join(user_tastes(pairs, items), on=USER_ID, how="left")
        .with_columns(pl.col(USER_ID).cast(pl.String))
        .join(users.select(columns(_USER + _ATTRIBUTES)), on=USER_ID, how="left")
        .with_columns(pl.col("orders").fill_null(0))
        .select(feature.name for feature in USER_PROFILE)
        .sort(USER_ID)
    )
