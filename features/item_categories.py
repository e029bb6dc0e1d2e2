"""Proposed categories of items without a category, and their join to the item features."""

from typing import Final

import polars as pl

from features.feature import Feature, columns
from recsys.schema import ITEM_ID, PROPOSED_CATEGORY, PROPOSED_CATEGORY_CONFIDENCE

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


def item_categories(proposals: pl.LazyFrame) -> pl.LazyFrame:
    """Select the columns of `ITEM_CATEGORIES`, sorted by item."""
    return proposals.select(columns(ITEM_CATEGORIES)).sort(ITEM_ID)


def add_proposed_categories(item_features: pl.LazyFrame, proposals: pl.LazyFrame) -> pl.LazyFrame:
    """Join the proposed categories to `item_features`, null for items without a proposal; rows and order stay.

    The tables are separate because the proposals need a fitted model and are computed in a later step of a run.
    """
    return item_features.join(proposals, on=ITEM_ID, how="left", maintain_order="left")
