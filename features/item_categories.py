"""Categories proposed for items that have none, and how they join the features of items."""

from typing import Final

import polars as pl

from features.feature import Feature, columns
from recsys.schema import ITEM_ID, PROPOSED_CATEGORY, PROPOSED_CATEGORY_CONFIDENCE

ITEM_CATEGORIES: Final = (
    Feature(ITEM_ID, pl.String(), "id", "An item without a category", pl.col(ITEM_ID)),
    Feature(
        PROPOSED_CATEGORY,
        pl.List(pl.String()),
        "path",
        "Proposed category, root first, as deep as the classifier is sure enough; no row for an item without one",
        pl.col(PROPOSED_CATEGORY),
    ),
    Feature(
        PROPOSED_CATEGORY_CONFIDENCE,
        pl.Float64(),
        "0..1",
        "Calibrated probability that the item belongs there",
        pl.col(PROPOSED_CATEGORY_CONFIDENCE),
    ),
)


def item_categories(proposals: pl.LazyFrame) -> pl.LazyFrame:
    """The columns of `ITEM_CATEGORIES`, in order of item."""
    return proposals.select(columns(ITEM_CATEGORIES)).sort(ITEM_ID)


def add_proposed_categories(item_features: pl.LazyFrame, proposals: pl.LazyFrame) -> pl.LazyFrame:
    """`item_features` with the proposed categories, null for an item without a proposal; rows and order stay.

    The two tables are of two steps of a run, the second of which needs a fitted model.
    """
    return item_features.join(proposals, on=ITEM_ID, how="left", maintain_order="left")
