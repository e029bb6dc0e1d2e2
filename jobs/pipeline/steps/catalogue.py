"""The catalogue for serving: the facts by which requests filter and order items, most popular items first."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.item_features import CYCLE_DAYS
from recsys.data.interactions import Interactions
from recsys.data.truncated_svd import truncated_svd
from recsys.files import atomic_write
from recsys.models.categories.levels import category_path
from recsys.schema import (
    AVAILABLE,
    BRAND,
    CATEGORY_SEPARATOR,
    ITEM_ID,
    PRICE,
    REPEAT_DAYS,
    TITLE,
    VECTOR,
    VECTOR_NORM,
    VECTOR_SIZE,
)
from recsys.store.catalogue import CATALOGUE_FILE, CATALOGUE_SCHEMA, ITEMS_PER_PART

MIN_LENGTH_SHARE = 1e-4
"""Share of an item's length below which its vector consists of rounding errors only, and is set to zero."""


def write_catalogue_file(
    directory: Path,
    interactions: Interactions,
    popularity: NDArray[np.float32],
    items: pl.DataFrame,
    item_features: pl.LazyFrame,
    vectors: NDArray[np.int8] | None,
) -> None:
    """Write a row for each item of the events or the catalogue, with a `VECTOR` if vectors are given.

    `popularity` (items,) and `vectors` (items, `VECTOR_SIZE`) belong to the rows of `interactions.items`; items
    without events come last, in order of id, and their vectors are all 0.
    """
    ranked = pl.LazyFrame(
        {
            ITEM_ID: interactions.items.values,
            "score": popularity,
            "row": np.arange(len(interactions.items), dtype=np.int32),
        }
    )
    from_events = item_features.select(
        ITEM_ID, pl.col(PRICE).alias("event_price"), pl.col(CYCLE_DAYS).alias(REPEAT_DAYS)
    )
    facts = (
        items.lazy()
        .select(ITEM_ID, TITLE, category_path().list.join(CATEGORY_SEPARATOR), BRAND, PRICE, AVAILABLE)
        .join(ranked, on=ITEM_ID, how="full", coalesce=True)
        .join(from_events, on=ITEM_ID, how="left")
        .with_columns(pl.coalesce(PRICE, "event_price"), pl.col(AVAILABLE).fill_null(True))
        .sort("score", ITEM_ID, descending=[True, False], nulls_last=True)
        .select(*(pl.col(name).cast(dtype) for name, dtype in CATALOGUE_SCHEMA.items()), "row")
        .collect()
    )
    if vectors is not None:
        blank = np.zeros((1, VECTOR_SIZE), np.int8)
        rows = facts["row"].fill_null(len(vectors)).to_numpy()
        facts = facts.with_columns(pl.Series(VECTOR, np.concatenate([vectors, blank])[rows]))
    with atomic_write(directory / CATALOGUE_FILE) as partial_file:
        facts.drop("row").write_parquet(partial_file, compression="zstd", row_group_size=ITEMS_PER_PART)


def item_vectors(interactions: Interactions, seed: int) -> NDArray[np.int8]:
    """Compress each item's column of users to `VECTOR_SIZE` whole numbers, (items, `VECTOR_SIZE`).

    The cosine of two vectors is about that of the two columns of `interactions.positives`, by its truncated SVD.
    Each vector is `VECTOR_NORM` long; an item without interactions, or outside the SVD's dimensions, has zeros.
    """
    values, right = truncated_svd(interactions.positives, VECTOR_SIZE, seed)
    scaled = np.zeros((len(interactions.items), VECTOR_SIZE), np.float32)
    scaled[:, : len(values)] = right * values
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    whole = np.sqrt(np.asarray(interactions.positives.power(2).sum(axis=0)).reshape(-1, 1))
    is_described = lengths > MIN_LENGTH_SHARE * whole
    units = np.divide(scaled, lengths, out=np.zeros_like(scaled), where=is_described)
    return np.rint(VECTOR_NORM * units).astype(np.int8)
