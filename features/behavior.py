"""Behavior features of users, which separate customers from bots, click farms and shills: one row per user.

Rates, the regularity of gaps between events, times of day, conversion ratios, items, IP addresses and ratings.
Impressions are not actions of the user and are ignored. A feature is null where it is undefined, such as the
gaps of a single event. Results do not depend on the split of users into buckets: values of the whole shop are
passed as `item_counts` and `ip_counts`, added up over all buckets.
"""

from datetime import datetime
from typing import Final

import polars as pl

from features.behavior_actions import ACTION_FEATURES, action_features
from features.behavior_expressions import count_feature, number_feature, per_user
from features.behavior_items import ITEM_FEATURES, item_features
from features.behavior_partials import USERS, rating_value
from features.behavior_timing import TIMING_FEATURES, timing_features
from features.events import exclude_impressions, load_events
from features.feature import Feature
from recsys.schema import EVENT, IP, ITEM_ID, PRICE, TIMESTAMP, USER_ID, VALUE

# Over the IP addresses of a user, with the users of each in the whole shop.
NETWORK_FEATURES: Final = (
    count_feature("ips", "addresses", "Number of distinct IP addresses; null where no event has one", pl.len()),
    number_feature("users_per_ip", "users", "Mean number of users of these addresses", pl.col(USERS).mean()),
    count_feature("most_users_of_ip", "users", "Most users of any one of these addresses", pl.col(USERS).max()),
)

BEHAVIOR: Final = (
    Feature(USER_ID, pl.String(), "id", "User", pl.col(USER_ID)),
    *ACTION_FEATURES,
    *TIMING_FEATURES,
    *ITEM_FEATURES,
    *NETWORK_FEATURES,
)

_EVENT_COLUMNS: Final = (USER_ID, ITEM_ID, EVENT, TIMESTAMP, VALUE, PRICE, IP)


def behavior(events: pl.LazyFrame, as_of: datetime, items: pl.LazyFrame, ips: pl.LazyFrame) -> pl.LazyFrame:
    """Compute the columns of `BEHAVIOR`: one row per user of `events` before `as_of`, in order of user id.

    `items` are the `item_counts` of the whole shop, `ips` its `ip_counts`; addresses missing from these are
    ignored. Loads the events into memory.
    """
    actions = exclude_impressions(load_events(events.select(_EVENT_COLUMNS), as_of, _EVENT_COLUMNS)).with_columns(
        rating_value().alias(VALUE)
    )
    addresses = actions.select(USER_ID, IP).drop_nulls().unique().join(ips, on=IP)
    tables = [
        action_features(actions, as_of, items),
        *timing_features(actions),
        *item_features(actions, items),
        per_user(addresses, NETWORK_FEATURES),
    ]
    joined, *others = pl.collect_all(tables, engine="streaming")
    for other in others:
        joined = joined.join(other, on=USER_ID, how="left")
    names = [feature.name for feature in BEHAVIOR]
    return joined.lazy().sort(USER_ID).with_columns(pl.col(USER_ID).cast(pl.String)).select(names)
