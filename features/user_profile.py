"""What is known of each user: activity, orders, tastes and attributes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import load_events
from features.feature import Feature, columns
from features.pairs import user_item_pairs
from features.user_activity import USER_ACTIVITY, user_activity
from features.user_orders import USER_ORDERS, user_orders
from features.user_tastes import USER_TASTES, user_tastes
from recsys.schema import ATTRIBUTES, DEFAULT_WEIGHTS, EVENT, IMPRESSION, USER_ID

_USER: Final = (Feature(USER_ID, pl.String(), "id", "The user", pl.col(USER_ID)),)

_ATTRIBUTES: Final = (
    Feature(
        ATTRIBUTES,
        pl.String(),
        "JSON",
        "What the shop knows of the user; null where it knows nothing",
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
    """One row a user with an event other than an impression, with the columns of `USER_PROFILE`, in order of user.

    Reads all events of the users it is given and none of others, so it may run on one bucket of users after the
    other. Price ranks come from the price that `items` gives, not from the events.
    """
    known = load_events(events, as_of)
    return user_profile_from_pairs(
        user_item_pairs(known, as_of, half_life_days, weights), known, items, users, as_of
    )


def user_profile_from_pairs(
    pairs: pl.LazyFrame, events: pl.LazyFrame, items: pl.LazyFrame, users: pl.LazyFrame, as_of: datetime
) -> pl.LazyFrame:
    """`user_profile` from the rows of `user_item_pairs` and the events they were made of."""
    acts = events.filter(pl.col(EVENT) != IMPRESSION)
    return (
        user_activity(acts, as_of)
        .join(user_orders(acts, as_of), on=USER_ID, how="left")
        .join(user_tastes(pairs, items), on=USER_ID, how="left")
        .with_columns(pl.col(USER_ID).cast(pl.String))
        .join(users.select(columns(_USER + _ATTRIBUTES)), on=USER_ID, how="left")
        .with_columns(pl.col("orders").fill_null(0))
        .select(feature.name for feature in USER_PROFILE)
        .sort(USER_ID)
    )
