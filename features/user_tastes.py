"""What a user likes: categories, brands, prices, and whether the same again or ever something new."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import days_since, decay, exact_sum, purchase_day, weight
from features.feature import Feature, columns
from features.item_prices import PRICE_RANK
from recsys.schema import BRAND, CATEGORY, EVENT, ITEM_ID, PURCHASE, TIMESTAMP, USER_ID, WEIGHT

TOP: Final = 5

# Joins the names of a category's path into one key; a separator that no name contains.
_PATH_SEPARATOR: Final = "\x1f"

_AFFINITY: Final = "affinity"
_LEVEL: Final = "level"
_NODE: Final = "node"
_PATH: Final = "path"
_NAME: Final = "name"
_SHARE: Final = "share"
_RANK: Final = "rank"
_LIKED: Final = "liked"
_BOUGHT: Final = "bought"
_BOUGHT_DAYS: Final = "bought_days"


def _variety(counts: pl.Expr) -> pl.Expr:
    """Entropy of the shares that `counts` make, over its greatest value, the logarithm of their sum."""
    total = counts.sum()
    spread = exact_sum(counts * counts.log()).cast(pl.Float64) / (total * total.log())
    return pl.when(total > 1).then((1 - spread).clip(0, 1))


_LIKED_COUNTS: Final = pl.col(_LIKED).filter(pl.col(_LIKED) > 0)
_PURCHASES_WITH_RANK: Final = pl.col(_BOUGHT).filter(pl.col(_RANK).is_not_null()).sum()

_ITEMS: Final = (
    Feature(
        "item_variety",
        pl.Float64(),
        "0..1",
        "Entropy of the user's events of positive weight over items, divided by the logarithm of their number: "
        "0 is always the same item, 1 never the same twice; null with fewer than two such events",
        _variety(_LIKED_COUNTS),
    ),
    Feature(
        "repeat_share",
        pl.Float64(),
        "share",
        "Share of purchases that are of an item bought on an earlier UTC day, purchases of an item on one day "
        "counted once; null without a purchase",
        pl.when(pl.col(_BOUGHT_DAYS).sum() > 0).then(
            1 - (pl.col(_BOUGHT_DAYS) > 0).sum() / pl.col(_BOUGHT_DAYS).sum()
        ),
    ),
    Feature(
        "price_rank_mean",
        pl.Float64(),
        "0..1",
        "Mean over purchases of the item's price rank in its category; null where none has a rank",
        pl.when(_PURCHASES_WITH_RANK > 0).then(
            exact_sum(pl.col(_BOUGHT) * pl.col(_RANK)).cast(pl.Float64) / _PURCHASES_WITH_RANK
        ),
    ),
)

_CATEGORIES: Final = (
    Feature(
        "category_variety",
        pl.Float64(),
        "0..1",
        "As item_variety, over whole category paths; events with items that have none are left out",
        _variety(_LIKED_COUNTS),
    ),
)

_CATEGORY_TOPS: Final = (
    Feature(
        "category_affinity",
        pl.List(pl.Struct({_PATH: pl.List(pl.String()), _SHARE: pl.Float64()})),
        "share",
        f"The {TOP} categories liked most at each level of the path, root first, each with its share of the "
        "user's decayed weight at that level, best first; null where no category has a positive one",
        pl.struct(_PATH, _SHARE).sort_by(_LEVEL, _SHARE, _NODE, descending=[False, True, False]).implode(),
    ),
)

_BRANDS: Final = (
    Feature(
        "brand_affinity",
        pl.List(pl.Struct({_NAME: pl.String(), _SHARE: pl.Float64()})),
        "share",
        f"The {TOP} brands liked most, each with its share of the user's decayed weight over all brands, best "
        "first; null where no brand has a positive one",
        pl.struct(pl.col(BRAND).alias(_NAME), _SHARE).sort_by(_SHARE, BRAND, descending=[True, False]).implode(),
    ),
)

USER_TASTES: Final = _ITEMS + _CATEGORIES + _CATEGORY_TOPS + _BRANDS


def user_tastes(
    events: pl.LazyFrame,
    items: pl.LazyFrame,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float],
) -> pl.LazyFrame:
    """One row a user of `events`, which lie before `as_of`, with the columns of `USER_TASTES`."""
    pairs = _pairs(events, as_of, half_life_days, weights).join(_facts(items), on=ITEM_ID, how="left")
    categories = _liked(pairs, CATEGORY)
    brands = _top(_liked(pairs, BRAND), [USER_ID], BRAND)
    return (
        pairs.group_by(USER_ID)
        .agg(columns(_ITEMS))
        .join(categories.group_by(USER_ID).agg(columns(_CATEGORIES)), on=USER_ID, how="left")
        .join(_category_tops(categories, items), on=USER_ID, how="left")
        .join(brands.group_by(USER_ID).agg(columns(_BRANDS)), on=USER_ID, how="left")
    )


def _pairs(
    events: pl.LazyFrame, as_of: datetime, half_life_days: float, weights: Mapping[str, float]
) -> pl.LazyFrame:
    age = days_since(pl.col(TIMESTAMP), as_of)
    return (
        events.with_columns(weight(weights).alias(WEIGHT))
        .group_by(USER_ID, ITEM_ID)
        .agg(
            exact_sum(pl.col(WEIGHT) * decay(age, half_life_days)).alias(_AFFINITY),
            (pl.col(WEIGHT) > 0).sum().alias(_LIKED),
            (pl.col(EVENT) == PURCHASE).sum().alias(_BOUGHT),
            purchase_day().drop_nulls().n_unique().alias(_BOUGHT_DAYS),
        )
    )


def _facts(items: pl.LazyFrame) -> pl.LazyFrame:
    return items.select(ITEM_ID, _path_key(pl.col(CATEGORY)).alias(CATEGORY), BRAND, PRICE_RANK.alias(_RANK))


def _path_key(path: pl.Expr) -> pl.Expr:
    return pl.when(path.list.len() > 0).then(path.list.join(_PATH_SEPARATOR))


def _liked(pairs: pl.LazyFrame, key: str) -> pl.LazyFrame:
    known = pairs.filter(pl.col(key).is_not_null())
    return known.group_by(USER_ID, key).agg(pl.col(_AFFINITY, _LIKED).sum())


def _category_tops(categories: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    path = pl.col(CATEGORY)
    nodes = (
        items.select(CATEGORY)
        .unique()
        .with_columns(pl.int_ranges(1, path.list.len() + 1).alias(_LEVEL))
        .explode(_LEVEL)
        .select(_path_key(path).alias(CATEGORY), _LEVEL, _path_key(path.list.head(_LEVEL)).alias(_NODE))
    )
    affinities = categories.join(nodes, on=CATEGORY).group_by(USER_ID, _LEVEL, _NODE).agg(pl.col(_AFFINITY).sum())
    tops = _top(affinities, [USER_ID, _LEVEL], _NODE)
    paths = tops.with_columns(pl.col(_NODE).str.split(_PATH_SEPARATOR).alias(_PATH))
    return paths.group_by(USER_ID).agg(columns(_CATEGORY_TOPS))


def _top(affinities: pl.LazyFrame, group: list[str], name: str) -> pl.LazyFrame:
    """The `TOP` rows of each group with the greatest positive affinity, ties by name, and its share of all."""
    positive = affinities.filter(pl.col(_AFFINITY) > 0)
    total = pl.col(_AFFINITY).sum().over(group).cast(pl.Float64)
    shares = positive.with_columns((pl.col(_AFFINITY).cast(pl.Float64) / total).alias(_SHARE))
    best = pl.col(name, _SHARE).sort_by(_SHARE, name, descending=[True, False]).head(TOP)
    return shares.group_by(group).agg(best).explode(name, _SHARE)
