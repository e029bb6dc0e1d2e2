"""Registry of all feature tables and their columns."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from features.behavior import BEHAVIOR
from features.bought_with import BOUGHT_WITH
from features.feature import Feature
from features.interactions import INTERACTIONS, SEQUENCES
from features.item_categories import ITEM_CATEGORIES
from features.item_features import ITEM_FEATURES
from features.repurchase.due_items import DUE_ITEMS
from features.user_forecasts import USER_FORECASTS
from features.user_profile import USER_PROFILE
from features.users.segments import USER_SEGMENTS

TABLES: Final[Mapping[str, tuple[Feature, ...]]] = {
    "user_profile": USER_PROFILE,
    "user_segments": USER_SEGMENTS,
    "item_features": ITEM_FEATURES,
    "bought_with": BOUGHT_WITH,
    "interactions": INTERACTIONS,
    "sequences": SEQUENCES,
    "due_items": DUE_ITEMS,
}

# Tables of other steps than the features step: `behavior` is computed before it, for bot detection, and
# `item_categories` and `user_forecasts` after it, from fitted models.
OTHER_TABLES: Final[Mapping[str, tuple[Feature, ...]]] = {
    "item_categories": ITEM_CATEGORIES,
    "behavior": BEHAVIOR,
    "user_forecasts": USER_FORECASTS,
}


def describe() -> pl.DataFrame:
    """List all features, one row each, in column order: table, name, dtype, meaning and unit, as text."""
    return pl.DataFrame(
        [
            (table, feature.name, str(feature.dtype), feature.meaning, feature.unit)
            for table, features in {**TABLES, **OTHER_TABLES}.items()
            for feature in features
        ],
        schema=dict.fromkeys(("table", "name", "dtype", "meaning", "unit"), pl.String),
        orient="row",
    )
