"""User profiles: activity, orders, tastes and attributes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import exclude_impressions, load_events
from features.feature import Feature, columns
from features.pairs import user_item_pairs
from features.users.activity import USER_ACTIVITY, user_activity
from features.users.orders import ORDER_COUNTS, USER_ORDERS, user_orders
from features.users.shop_purchases import ShopPurchases, merge_purchase_sums, purchase_sums
from features.users.tastes import USER_TASTES, user_tastes
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
    time_zone: str = "UTC",
) -> pl.LazyFrame:
    """Compute one row per user with an event other than an impression, in the columns of `USER_PROFILE`.

    Sorted by user. `events` are those of all users. Price ranks are based on the prices of `items`, not of the
    events. Hours and days are of `time_zone`.
    """
    loaded = load_events(events, as_of)
    sums = merge_purchase_sums(purchase_sums(loaded, as_of)).collect(engine="streaming")
    pairs = user_item_pairs(loaded, as_of, half_life_days, weights, time_zone)
    orders = user_orders(loaded, as_of, ShopPurchases.from_sums(sums))
    return user_profile_from_pairs(pairs, loaded, orders, items, users, as_of, time_zone)


def user_profile_from_pairs(
    pairs: pl.LazyFrame,
    events: pl.LazyFrame,
    orders: pl.LazyFrame,
    items: pl.LazyFrame,
    users: pl.LazyFrame,
    as_of: datetime,
    time_zone: str = "UTC",
) -> pl.LazyFrame:
    """Compute `user_profile` from events, and the rows of `user_item_pairs` and `user_orders` computed from them.

    Each user's row depends only on the user's own events and orders, so that the function can run on one bucket of
    users at a time.
    """
    return (
        user_activity(exclude_impressions(events), as_of, time_zone)
        .join(orders, on=USER_ID, how="left")
        .join(user_tastes(pairs, items), on=USER_ID, how="left")
        .with_columns(pl.col(USER_ID).cast(pl.String))
        .join(users.select(columns(_USER + _ATTRIBUTES)), on=USER_ID, how="left")
        .with_columns(pl.col(feature.name for feature in ORDER_COUNTS).fill_null(0))
        .select(feature.name for feature in USER_PROFILE)
        .sort(USER_ID)
    )
