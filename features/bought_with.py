"""Items bought together: for each item, the items that most users have bought with it in one order.

A user counts once per pair, however many orders, and pairs with too few users are dropped. Otherwise, a few
accounts could push an item into the lists of popular items ("ride item's coattails"): Li, Li, Huang et al.,
"Large-scale Fake Click Detection for E-commerce Recommendation Systems" (ICDE 2021).
"""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import ORDER_KEY, load_events, purchases
from features.feature import Feature, columns
from recsys.schema import EVENT_ID, ITEM_ID, USER_ID

MAX_ORDER_ITEMS: Final = 30
MIN_USERS: Final = 3

OTHER_ITEM_ID: Final = "other_item_id"
RANK: Final = "rank"
USERS: Final = "users"

_COSINE: Final = "cosine"

BOUGHT_WITH: Final = (
    Feature(ITEM_ID, pl.String(), "id", "Item", pl.col(ITEM_ID)),
    Feature(RANK, pl.UInt32(), "1..n", "Rank among the items bought with the item, by cosine", pl.col(RANK)),
    Feature(OTHER_ITEM_ID, pl.String(), "id", "Item bought with it", pl.col(OTHER_ITEM_ID)),
    Feature(
        USERS,
        pl.UInt32(),
        "users",
        f"Number of users who bought both in one order, by default at least {MIN_USERS}; of an order with more "
        f"than {MAX_ORDER_ITEMS} items, only the {MAX_ORDER_ITEMS} with the smallest event ids count",
        pl.col(USERS),
    ),
    Feature(
        _COSINE,
        pl.Float64(),
        "0..1",
        "Number of users who bought both in one order, divided by the geometric mean of the buyers of each",
        pl.col(_COSINE),
    ),
)


def bought_with(events: pl.LazyFrame, as_of: datetime, n: int, min_users: int = MIN_USERS) -> pl.LazyFrame:
    """Find up to `n` items with the highest cosine for each item, in the columns of `BOUGHT_WITH`.

    At least `min_users` users bought both in one order. Sorted by item and rank; ties in cosine go to the pair with
    more users, then to the smaller item id.
    """
    return rank_order_pairs(order_pairs(load_events(events, as_of)), n, min_users)


def order_pairs(events: pl.LazyFrame) -> pl.LazyFrame:
    """Count the users of each pair of items in one order; events come from `load_events`.

    One row per pair with item_id <= other_item_id, both categorical. The pair of an item with itself counts the
    item's users. An order gives at most `MAX_ORDER_ITEMS` squared pairs, so that the work is linear in the number
    of orders. Rows of several buckets of users can be summed.
    """
    return (
        purchases(events)
        .group_by(*ORDER_KEY, ITEM_ID)
        .agg(pl.col(EVENT_ID).min())
        .with_columns(pl.col(ITEM_ID).cast(pl.Categorical))
        .group_by(ORDER_KEY)
        .agg(pl.col(ITEM_ID).sort_by(EVENT_ID).head(MAX_ORDER_ITEMS))
        .select(USER_ID, ITEM_ID, pl.col(ITEM_ID).alias(OTHER_ITEM_ID))
        .explode(ITEM_ID)
        .explode(OTHER_ITEM_ID)
        .filter(pl.col(ITEM_ID) <= pl.col(OTHER_ITEM_ID))
        .unique()
        .group_by(ITEM_ID, OTHER_ITEM_ID)
        .agg(pl.len().alias(USERS))
    )


def sum_order_pairs(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Sum concatenated rows of `order_pairs` of any number of buckets to one row per pair."""
    return pairs.group_by(ITEM_ID, OTHER_ITEM_ID).agg(pl.col(USERS).sum())


def rank_order_pairs(pairs: pl.LazyFrame, n: int, min_users: int = MIN_USERS) -> pl.LazyFrame:
    """Compute `bought_with` from the pairs of all buckets, summed to one row per pair."""
    # The pair of an item with itself has the most users of all its pairs: the item's users.
    item_users = pl.col(USERS).max().over(ITEM_ID).cast(pl.Float64)
    other_users = pl.col(USERS).max().over(OTHER_ITEM_ID)
    return (
        pairs.filter(pl.col(USERS) >= min_users)
        .select(
            pl.concat_list(ITEM_ID, OTHER_ITEM_ID),
            pl.concat_list(OTHER_ITEM_ID, ITEM_ID).alias(OTHER_ITEM_ID),
            USERS,
        )
        .explode(ITEM_ID, OTHER_ITEM_ID)
        .with_columns((pl.col(USERS) / (item_users * other_users).sqrt()).alias(_COSINE))
        .filter(pl.col(ITEM_ID) != pl.col(OTHER_ITEM_ID))
        .with_columns(pl.col(ITEM_ID, OTHER_ITEM_ID).cast(pl.String))
        .sort(ITEM_ID, _COSINE, USERS, OTHER_ITEM_ID, descending=[False, True, True, False])
        .with_columns(pl.int_range(1, pl.len() + 1).over(ITEM_ID).alias(RANK))
        .filter(pl.col(RANK) <= n)
        .select(columns(BOUGHT_WITH))
    )
