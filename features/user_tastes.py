"""What a user likes: categories, brands, prices, and whether the same again or ever something new."""

from typing import Final

import polars as pl

from features.events import exact_sum
from features.feature import Feature, columns
from features.item_prices import PRICE_RANK
from features.pairs import ACTS, AFFINITY, LIKED, PURCHASE_DAYS
from recsys.schema import BRAND, CATEGORY, ITEM_ID, PURCHASE, USER_ID

TOP: Final = 5

# Joins the names of a category's path into one key; a separator that no name contains.
_PATH_SEPARATOR: Final = "\x1f"

_LEVEL: Final = "level"
_NODE: Final = "node"
_PATH: Final = "path"
_NAME: Final = "name"
_SHARE: Final = "share"
_RANK: Final = "rank"
_SHELF: Final = "shelf"
_MAKER: Final = "maker"
_TOTAL: Final = "total"
_LEAST: Final = "least"

_PATH_KEY: Final = pl.when(pl.col(CATEGORY).list.len() > 0).then(pl.col(CATEGORY).list.join(_PATH_SEPARATOR))


def _variety(counts: pl.Expr) -> pl.Expr:
    """Entropy of the shares that `counts` make, over its greatest value, the logarithm of their sum."""
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
        pl.when(pl.col(PURCHASE_DAYS).sum() > 0).then(
            1 - (pl.col(PURCHASE_DAYS) > 0).sum() / pl.col(PURCHASE_DAYS).sum()
        ),
    ),
    Feature(
        "price_rank_mean",
        pl.Float64(),
        "0..1",
        "Mean over purchases of the item's price rank in its category; null where none has a rank",
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
        pl.struct(_PATH, _SHARE).implode(),
    ),
)

_BRANDS: Final = (
    Feature(
        "brand_affinity",
        pl.List(pl.Struct({_NAME: pl.String(), _SHARE: pl.Float64()})),
        "share",
        f"The {TOP} brands liked most, each with its share of the user's decayed weight over all brands, best "
        "first; null where no brand has a positive one",
        pl.struct(pl.col(BRAND).alias(_NAME), _SHARE).implode(),
    ),
)

USER_TASTES: Final = _ITEMS + _CATEGORIES + _CATEGORY_TOPS + _BRANDS


def user_tastes(pairs: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """One row a user who did anything, from the rows of `user_item_pairs`, with the columns of `USER_TASTES`."""
    done = pairs.filter(pl.col(ACTS) > 0).with_columns(pl.col(ITEM_ID).cast(pl.String))
    known = done.join(_facts(items), on=ITEM_ID, how="left")
    categories = _liked(known, _SHELF)
    return (
        known.group_by(USER_ID)
        .agg(columns(_ITEMS))
        .join(categories.group_by(USER_ID).agg(columns(_CATEGORIES)), on=USER_ID, how="left")
        .join(_category_tops(categories, items), on=USER_ID, how="left")
        .join(_brand_tops(known, items), on=USER_ID, how="left")
    )


def _facts(items: pl.LazyFrame) -> pl.LazyFrame:
    """Categories and brands as numbers in the order of their names, which are grouped and sorted faster."""
    return items.select(
        ITEM_ID,
        _PATH_KEY.rank("dense").alias(_SHELF),
        pl.col(BRAND).rank("dense").alias(_MAKER),
        PRICE_RANK.alias(_RANK),
    )


def _liked(pairs: pl.LazyFrame, key: str) -> pl.LazyFrame:
    known = pairs.filter(pl.col(key).is_not_null())
    return known.group_by(USER_ID, key).agg(pl.col(AFFINITY, LIKED).sum())


def _category_tops(categories: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    path = pl.col(CATEGORY)
    nodes = (
        items.select(CATEGORY, _PATH_KEY.rank("dense").alias(_SHELF))
        .drop_nulls(_SHELF)
        .unique(_SHELF)
        .with_columns(pl.int_ranges(1, path.list.len() + 1).alias(_LEVEL))
        .explode(_LEVEL)
        .with_columns(path.list.head(_LEVEL).alias(_PATH))
        .with_columns(pl.col(_PATH).list.join(_PATH_SEPARATOR).rank("dense").alias(_NODE))
    )
    affinities = (
        categories.join(nodes.select(_SHELF, _LEVEL, _NODE), on=_SHELF)
        .group_by(USER_ID, _LEVEL, _NODE)
        .agg(pl.col(AFFINITY).sum())
    )
    tops = _top(affinities, [USER_ID, _LEVEL], _NODE)
    paths = tops.join(nodes.select(_NODE, _PATH).unique(_NODE), on=_NODE, maintain_order="left")
    return paths.group_by(USER_ID, maintain_order=True).agg(columns(_CATEGORY_TOPS))


def _brand_tops(pairs: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    names = items.select(pl.col(BRAND).rank("dense").alias(_MAKER), BRAND).drop_nulls().unique(_MAKER)
    tops = _top(_liked(pairs, _MAKER), [USER_ID], _MAKER).join(names, on=_MAKER, maintain_order="left")
    return tops.group_by(USER_ID, maintain_order=True).agg(columns(_BRANDS))


def _top(affinities: pl.LazyFrame, group: list[str], number: str) -> pl.LazyFrame:
    """The `TOP` rows of each group with the greatest positive affinity, ties by number, and its share of all.

    In order of group, best first.
    """
    positive = affinities.filter(pl.col(AFFINITY) > 0)
    total = positive.group_by(group).agg(
        pl.col(AFFINITY).sum().cast(pl.Float64).alias(_TOTAL), pl.col(AFFINITY).top_k(TOP).min().alias(_LEAST)
    )
    share = pl.col(AFFINITY).cast(pl.Float64) / pl.col(_TOTAL)
    begins = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in group)
    row = pl.int_range(pl.len())
    place = row - pl.when(begins).then(row).forward_fill()
    return (
        positive.join(total, on=group)
        .filter(pl.col(AFFINITY) >= pl.col(_LEAST))  # before the sort, which is what takes time
        .select(*group, number, share.alias(_SHARE))
        .sort(*group, _SHARE, number, descending=[False] * len(group) + [True, False])
        .filter(place < TOP)
    )
