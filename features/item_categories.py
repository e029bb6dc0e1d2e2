"""Category paths of items, and proposed categories of items without one."""

from typing import Final

import polars as pl

from features.feature import Feature, columns
from recsys.schema import CATEGORIES, CATEGORY, ITEM_ID, PROPOSED_CATEGORY, PROPOSED_CATEGORY_CONFIDENCE

ITEM_CATEGORIES: Final = (
    Feature(ITEM_ID, pl.String(), "id", "Item without a category", pl.col(ITEM_ID)),
    Feature(
        PROPOSED_CATEGORY,
        pl.List(pl.String()),
        "path",
        "Proposed category path, root first, down to the deepest level whose confidence reaches the threshold; "
        "items without a proposal have no row",
        pl.col(PROPOSED_CATEGORY),
    ),
    Feature(
        PROPOSED_CATEGORY_CONFIDENCE,
        pl.Float64(),
        "0..1",
        "Calibrated probability that the proposed category is correct",
        pl.col(PROPOSED_CATEGORY_CONFIDENCE),
    ),
)


def category_paths(items: pl.LazyFrame) -> pl.LazyFrame:
    """Return a row for each category path of each item: `item_id` and `category`.

    An item whose `categories` are null has its `category` alone; one without a path has no row.
    """
    has_several = (pl.col(CATEGORIES).list.len() > 0).fill_null(value=False)
    listed = items.filter(has_several).select(ITEM_ID, pl.col(CATEGORIES).alias(CATEGORY)).explode(CATEGORY)
    single = items.filter(~has_several).select(ITEM_ID, CATEGORY)
    return pl.concat([listed, single]).filter(pl.col(CATEGORY).list.len() > 0)


def item_categories(proposals: pl.LazyFrame) -> pl.LazyFrame:
    """Select the columns of `ITEM_CATEGORIES`, sorted by item."""
    return proposals.select(columns(ITEM_CATEGORIES)).sort(ITEM_ID)


def add_proposed_categories(item_features: pl.LazyFrame, proposals: pl.LazyFrame) -> pl.LazyFrame:
    """Join the proposed categories to `item_features`, null for items without a proposal; rows and order stay.

    The tables are separate because the proposals need a fitted model and are computed in a later step of a run.
    """
    return item_features.join(proposals, on=ITEM_ID, how="left", maintain_order="left")
