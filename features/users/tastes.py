"""User tastes: preferred categories, brands and prices, variety and repeat purchases."""

from typing import Final

import polars as pl

from features.events import exact_sum
from features.feature import Feature, columns
from features.item_categories import category_paths
from features.item_sales import PRICE_RANK
from features.pairs import ACTS, AFFINITY, LIKED, PURCHASE_DAYS
from recsys.schema import BRAND, CATEGORY, ITEM_ID, PURCHASE, USER_ID

MAX_TOP: Final = 5

# Joins the names of a category path to one key; names do not contain it.
_PATH_SEPARATOR: Final = "\x1f"

_LEVEL: Final = "level"
_NODE: Final = "node"
_PATH: Final = "path"
_NAME: Final = "name"
_SHARE: Final = "share"
_RANK: Final = "rank"
_CATEGORY_CODE: Final = "category_code"
_BRAND_CODE: Final = "brand_code"
_TOTAL: Final = "total"
_MINIMUM: Final = "minimum"

_PATH_CODE: Final = pl.col(CATEGORY).list.join(_PATH_SEPARATOR).rank("dense").alias(_CATEGORY_CODE)


def _variety(counts: pl.Expr) -> pl.Expr:
    """Return the entropy of the distribution of `counts`, normalized by its maximum, the logarithm of their sum."""
    total = counts.sum()
    spread = exact_sum(counts * counts.log()).cast(pl.Float64) / (total * total.log())
    return pl.when(total > 1).then((1 - spread).clip(0, 1))


_LIKED_COUNTS: Final = pl.col(LIKED).filter(pl.col(LIKED) > 0)
_PURCHASES_WITH_RANK: Final = pl.col(PURCHASE).filter(pl.col(_RANK).is_not_null()).sum()

_ITEMS: Final = (
    Feature(
        "item_variety",
        pl.Float64(),
        "0..1",
        "Entropy of the user's events of positive weight over items, divided by the logarithm of their number: 0 "
        "if all are of the same item, 1 if all are of different items; null with fewer than two such events",
        _variety(_LIKED_COUNTS),
    ),
    Feature(
        "repeat_share",
        pl.Float64(),
        "share",
        "Share of purchases of items that the user bought on an earlier day, in the shop's time zone, where "
        "purchases of an item on one day count once; null without purchases",
        pl.when(pl.col(PURCHASE_DAYS).sum() > 0).then(
            1 - (pl.col(PURCHASE_DAYS) > 0).sum() / pl.col(PURCHASE_DAYS).sum()
        ),
    ),
    Feature(
        "price_rank_mean",
        pl.Float64(),
        "0..1",
        "Mean price rank of the purchased items in their categories; null if no purchased item has a rank",
        pl.when(_PURCHASES_WITH_RANK > 0).then(
            exact_sum(pl.col(PURCHASE) * pl.col(_RANK)).cast(pl.Float64) / _PURCHASES_WITH_RANK
        ),
    ),
)

_CATEGORIES: Final = (
    Feature(
        "category_variety",
        pl.Float64(),
        "0..1",
        "Like item_variety, over complete category paths; an item counts for each of its paths, and events of "
        "items without a category are ignored",
        _variety(_LIKED_COUNTS),
    ),
)

_CATEGORY_TOPS: Final = (
    Feature(
        "category_affinity",
        pl.List(pl.Struct({_PATH: pl.List(pl.String()), _SHARE: pl.Float64()})),
        "share",
        f"The {MAX_TOP} categories with the highest affinity at each level of the path, root first, each with its "
        "share of the user's decayed weight at that level, best first; an item counts for each of its paths; null "
        "if no category has a positive weight",
        pl.struct(_PATH, _SHARE).implode(),
    ),
)

_BRANDS: Final = (
    Feature(
        "brand_affinity",
        pl.List(pl.Struct({_NAME: pl.String(), _SHARE: pl.Float64()})),
        "share",
        f"The {MAX_TOP} brands with the highest affinity, each with its share of the user's decayed weight over "
        "all brands, best first; null if no brand has a positive weight",
        pl.struct(pl.col(BRAND).alias(_NAME), _SHARE).implode(),
    ),
)

USER_TASTES: Final = _ITEMS + _CATEGORIES + _CATEGORY_TOPS + _BRANDS


def user_tastes(pairs: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """Compute one row per user with an event other than an impression, from the rows of `user_item_pairs`."""
    active = pairs.filter(pl.col(ACTS) > 0).with_columns(pl.col(ITEM_ID).cast(pl.String))
    described = active.join(_encode_items(items), on=ITEM_ID, how="left")
    paths = category_paths(items).select(ITEM_ID, CATEGORY, _PATH_CODE)
    categories = _sum_by(active.join(paths.select(ITEM_ID, _CATEGORY_CODE), on=ITEM_ID), _CATEGORY_CODE)
    return (
        described.group_by(USER_ID)
        .agg(columns(_ITEMS))
        .join(categories.group_by(USER_ID).agg(columns(_CATEGORIES)), on=USER_ID, how="left")
        .join(_top_categories(categories, paths), on=USER_ID, how="left")
        .join(_top_brands(described, items), on=USER_ID, how="left")
    )


def _encode_items(items: pl.LazyFrame) -> pl.LazyFrame:
    """Encode brands as integers in the order of their names, which are grouped and sorted faster."""
    return items.select(
        ITEM_ID,
        pl.col(BRAND).rank("dense").alias(_BRAND_CODE),
        PRICE_RANK.alias(_RANK),
    )


def _sum_by(pairs: pl.LazyFrame, key: str) -> pl.LazyFrame:
    keyed = pairs.filter(pl.col(key).is_not_null())
    return keyed.group_by(USER_ID, key).agg(pl.col(AFFINITY, LIKED).sum())


def _top_categories(categories: pl.LazyFrame, paths: pl.LazyFrame) -> pl.LazyFrame:
    path = pl.col(CATEGORY)
    nodes = (
        paths.unique(_CATEGORY_CODE)
        .with_columns(pl.int_ranges(1, path.list.len() + 1).alias(_LEVEL))
        .explode(_LEVEL)
        .with_columns(path.list.head(_LEVEL).alias(_PATH))
        .with_columns(pl.col(_PATH).list.join(_PATH_SEPARATOR).rank("dense").alias(_NODE))
    )
    affinities = (
        categories.join(nodes.select(_CATEGORY_CODE, _LEVEL, _NODE), on=_CATEGORY_CODE)
        .group_by(USER_ID, _LEVEL, _NODE)
        .agg(pl.col(AFFINITY).sum())
    )
    tops = _top(affinities, [USER_ID, _LEVEL], _NODE)
    paths = tops.join(nodes.select(_NODE, _PATH).unique(_NODE), on=_NODE, maintain_order="left")
    return paths.group_by(USER_ID, maintain_order=True).agg(columns(_CATEGORY_TOPS))


def _top_brands(pairs: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    names = items.select(pl.col(BRAND).rank("dense").alias(_BRAND_CODE), BRAND).drop_nulls().unique(_BRAND_CODE)
    tops = _top(_sum_by(pairs, _BRAND_CODE), [USER_ID], _BRAND_CODE).join(
        names, on=_BRAND_CODE, maintain_order="left"
    )
    return tops.group_by(USER_ID, maintain_order=True).agg(columns(_BRANDS))


def _top(affinities: pl.LazyFrame, group: list[str], number: str) -> pl.LazyFrame:
    """Select the `MAX_TOP` rows of each group with the highest positive affinity, with their share of the group.

    Ties go to the smaller `number`. Sorted by group, best first.
    """
    positive = affinities.filter(pl.col(AFFINITY) > 0)
    total = positive.group_by(group).agg(
        pl.col(AFFINITY).sum().cast(pl.Float64).alias(_TOTAL), pl.col(AFFINITY).top_k(MAX_TOP).min().alias(_MINIMUM)
    )
    share = pl.col(AFFINITY).cast(pl.Float64) / pl.col(_TOTAL)
    begins = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in group)
    row = pl.int_range(pl.len())
    rank = row - pl.when(begins).then(row).forward_fill()
    return (
        positive.join(total, on=group)
        .filter(pl.col(AFFINITY) >= pl.col(_MINIMUM))  # before the sort, which takes most of the time
        .select(*group, number, share.alias(_SHARE))
        .sort(*group, _SHARE, number, descending=[False] * len(group) + [True, False])
        .filter(rank < MAX_TOP)
    )
