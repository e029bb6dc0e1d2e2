"""Product types: how specific a category has to be so that a list can be limited to a few items of it.

An item's type is the deepest useful level of its category path. A level is useful if several items have it, so that
it stands for more than one item, and at most a tenth of all, so that it does not stand for the whole shop.
"""

from collections.abc import Collection
from typing import Final

import polars as pl

from recsys.schema import CATEGORY, CATEGORY_SEPARATOR, PRODUCT_TYPE

MIN_TYPE_ITEMS: Final = 2
"""Items of a product type at least."""
MAX_TYPE_SHARE: Final = 0.1
"""Share of all items with a category that a product type has at most."""
MAX_LEVELS: Final = 8
"""Levels of a category path that can be a product type."""
LIMITED_PLACES: Final = 10
"""Number of consecutive places of a list in which the items of one type, or of one title, are limited."""
PATH: Final = "path"


def find_product_types(items: pl.DataFrame) -> pl.Series:
    """Return the product type of each item as a joined category path, null without one.

    `items` has the column `category`: paths, root first, or null. An item without a useful level has no type.
    """
    paths = items.select(pl.col(CATEGORY).list.drop_nulls().list.join(CATEGORY_SEPARATOR).alias(PATH)).with_columns(
        pl.when(pl.col(PATH) != "").then(PATH)
    )
    distinct = paths.drop_nulls().group_by(PATH).len("items")
    levels = distinct.with_columns(level=_levels()).explode("level")
    sizes = levels.group_by("level").agg(pl.col("items").sum().alias("size"))
    maximum = MAX_TYPE_SHARE * int(distinct["items"].sum())
    useful = sizes.filter(pl.col("size").is_between(MIN_TYPE_ITEMS, maximum))
    deepest = (
        levels.join(useful, on="level", how="semi")
        .sort(pl.col("level").str.len_chars())
        .group_by(PATH)
        .agg(pl.col("level").last().alias(PRODUCT_TYPE))
    )
    return paths.join(deepest, on=PATH, how="left", maintain_order="left")[PRODUCT_TYPE]


def _levels() -> pl.Expr:
    """Return a joined path and all paths above it."""
    names = pl.col(PATH).str.split(CATEGORY_SEPARATOR)
    return pl.concat_list(
        [
            pl.when(names.list.len() >= depth).then(names.list.head(depth).list.join(CATEGORY_SEPARATOR))
            for depth in range(1, MAX_LEVELS + 1)
        ]
    ).list.drop_nulls()


def deepest_type(path: str | None, types: Collection[str]) -> str | None:
    """Return the longest beginning of a joined category path that is one of the product types, None without one.

    >>> deepest_type("Food>Dairy>Milk>Oat", {"Food>Dairy", "Food>Dairy>Milk"})
    'Food>Dairy>Milk'
    """
    while path:
        if path in types:
            return path
        path = path.rpartition(CATEGORY_SEPARATOR)[0]
    return None


def normalized_title(title: pl.Expr) -> pl.Expr:
    """Return titles in lower case without punctuation and extra spaces, null where nothing is left.

    Items whose normalized titles are equal look like one item twice.
    """
    words = title.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    return pl.when(words != "").then(words)
