"""Every table and every column that features make."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from features.bought_with import BOUGHT_WITH
from features.feature import Feature
from features.interactions import INTERACTIONS, SEQUENCES
from features.item_categories import ITEM_CATEGORIES
from features.item_features import ITEM_FEATURES
from features.user_profile import USER_PROFILE

TABLES: Final[Mapping[str, tuple[Feature, ...]]] = {
    "user_profile": USER_PROFILE,
    "item_features": ITEM_FEATURES,
    "bought_with": BOUGHT_WITH,
    "interactions": INTERACTIONS,
    "sequences": SEQUENCES,
}

# Made from a fitted model, after the others.
LATER_TABLES: Final[Mapping[str, tuple[Feature, ...]]] = {"item_categories": ITEM_CATEGORIES}


def describe() -> pl.DataFrame:
    """One row a feature: table, name, dtype, meaning, unit, all text, in the order of the tables' columns."""
    return pl.DataFrame(
        [
            (table, feature.name, str(feature.dtype), feature.meaning, feature.unit)
            for table, features in {**TABLES, **LATER_TABLES}.items()
            for feature in features
        ],
        schema=dict.fromkeys(("table", "name", "dtype", "meaning", "unit"), pl.String),
        orient="row",
    )
