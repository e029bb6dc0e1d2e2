"""The catalogue for serving: the facts by which requests filter and order items, most popular items first."""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.repurchase.purchase_gaps import CYCLE_DAYS
from jobs.lake.attributes import attribute_members
from jobs.lake.item_groups import GROUP_ITEM_ID
from jobs.pipeline.variants import PLACE
from recsys.data.interactions import Interactions
from recsys.files import atomic_write
from recsys.models.categories.levels import category_path
from recsys.product_types import find_product_types
from recsys.schema import (
    ATTRIBUTES,
    AVAILABLE,
    BRAND,
    CATEGORIES,
    CATEGORY_SEPARATOR,
    GROUP_ID,
    ITEM_ID,
    PRICE,
    PRODUCT_TYPE,
    REPEAT_DAYS,
    STOCK,
    TITLE,
    VALID_FROM,
    VALID_UNTIL,
    VECTOR,
    VECTOR_SIZE,
)
from recsys.store.catalogue import CATALOGUE_FILE, CATALOGUE_SCHEMA, ITEMS_PER_PART

OFFER: Final = (AVAILABLE, STOCK, VALID_FROM, VALID_UNTIL)
"""What decides whether an item is offered, as the shop gave it; null where it said nothing."""


def write_catalogue_file(
    directory: Path,
    interactions: Interactions,
    popularity: NDArray[np.float32],
    items: pl.DataFrame,
    item_features: pl.LazyFrame,
    online_changes: pl.DataFrame,
    vectors: NDArray[np.int8] | None,
    places: pl.DataFrame | None = None,
) -> None:
    """Write a row for each item of the events or the catalogue, with `VECTOR_SCHEMA` if vectors are given.

    `popularity` (items,) and `vectors` (items, `VECTOR_SIZE`) belong to the rows of `interactions.items`; items
    without events come last, in order of id, and their vectors are all 0. `online_changes` are those that `items`
    includes, as `Lake.online_changes` returns them. Variants have the popularity of their group, and come in the
    order of `places`, as `Variants.places` returns it.
    """
    no_places = {ITEM_ID: pl.String, GROUP_ITEM_ID: pl.String, PLACE: pl.Int64}
    groups = pl.LazyFrame(schema=no_places) if places is None else places.lazy()
    ranked = pl.LazyFrame(
        {
            GROUP_ITEM_ID: interactions.items.values,
            "score": popularity,
            "row": np.arange(len(interactions.items), dtype=np.int32),
        }
    )
    from_events = item_features.select(
        pl.col(ITEM_ID).alias(GROUP_ITEM_ID),
        pl.col(PRICE).alias("event_price"),
        pl.col(CYCLE_DAYS).alias(REPEAT_DAYS),
    )
    several = pl.when(pl.col(CATEGORIES).list.len() > 1).then(pl.col(CATEGORIES))
    paths = several.list.eval(pl.element().list.join(CATEGORY_SEPARATOR))
    category = category_path().list.join(CATEGORY_SEPARATOR)
    facts = (
        items.with_columns(attribute_members(items[ATTRIBUTES]), find_product_types(items))
        .lazy()
        .select(ITEM_ID, GROUP_ID, TITLE, category, paths, BRAND, PRICE, *OFFER, ATTRIBUTES, PRODUCT_TYPE)
        .join(groups, on=ITEM_ID, how="left")
        .with_columns(pl.coalesce(GROUP_ITEM_ID, ITEM_ID))
        .join(ranked, on=GROUP_ITEM_ID, how="full", coalesce=True)
        .with_columns(pl.coalesce(ITEM_ID, GROUP_ITEM_ID))
        .join(from_events, on=GROUP_ITEM_ID, how="left")
        .join(online_changes.lazy(), on=ITEM_ID, how="left")
        .with_columns(pl.coalesce(PRICE, "event_price"))
        .sort("score", GROUP_ITEM_ID, PLACE, ITEM_ID, descending=[True, False, False, False], nulls_last=True)
        .select(*(pl.col(name).cast(dtype) for name, dtype in CATALOGUE_SCHEMA.items()), "row")
        .collect()
    )
    if vectors is not None:
        blank = np.zeros((1, VECTOR_SIZE), np.int8)
        rows = facts["row"].fill_null(len(vectors)).to_numpy()
        facts = facts.with_columns(pl.Series(VECTOR, np.concatenate([vectors, blank])[rows]))
    with atomic_write(directory / CATALOGUE_FILE) as partial_file:
        facts.drop("row").write_parquet(partial_file, compression="zstd", row_group_size=ITEMS_PER_PART)
