"""The facts of all items that the online half filters and orders by, the most popular first."""

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

NOTHING = 1e-4  # of an item's length: what single precision leaves where the vectors say nothing of it


def write_catalogue_file(
    directory: Path,
    known: Interactions,
    popularity: NDArray[np.float32],
    items: pl.DataFrame,
    item_features: pl.LazyFrame,
    vectors: NDArray[np.int8] | None,
) -> None:
    """A row an item of the events or the catalogue, in the columns of `FACTS`, with `VECTORS` where there are some.

    `popularity` (items,) and `vectors` (items, `VECTOR_SIZE`) are of the rows of `known.items`; an item without
    events comes last, in order of id, and its vector is all 0.
    """
    ranked = pl.LazyFrame(
        {ITEM_ID: known.items.values, "score": popularity, "row": np.arange(len(known.items), dtype=np.int32)}
    )
    learned = item_features.select(
        ITEM_ID, pl.col(PRICE).alias("known_price"), pl.col(CYCLE_DAYS).alias(REPEAT_DAYS)
    )
    facts = (
        items.lazy()
        .select(ITEM_ID, TITLE, category_path().list.join(CATEGORY_SEPARATOR), BRAND, PRICE, AVAILABLE)
        .join(ranked, on=ITEM_ID, how="full", coalesce=True)
        .join(learned, on=ITEM_ID, how="left")
        .with_columns(pl.coalesce(PRICE, "known_price"), pl.col(AVAILABLE).fill_null(True))
        .sort("score", ITEM_ID, descending=[True, False], nulls_last=True)
        .select(*(pl.col(name).cast(dtype) for name, dtype in CATALOGUE_SCHEMA.items()), "row")
        .collect()
    )
    if vectors is not None:
        blank = np.zeros((1, VECTOR_SIZE), np.int8)
        rows = facts["row"].fill_null(len(vectors)).to_numpy()
        facts = facts.with_columns(pl.Series(VECTOR, np.concatenate([vectors, blank])[rows]))
    with atomic_write(directory / CATALOGUE_FILE) as aside:
        facts.drop("row").write_parquet(aside, compression="zstd", row_group_size=ITEMS_PER_PART)


def item_vectors(known: Interactions, seed: int) -> NDArray[np.int8]:
    """Which users want each item, in `VECTOR_SIZE` whole numbers and `VECTOR_NORM` long, (items, `VECTOR_SIZE`).

    The cosine of two vectors is about that of the two columns of `known.positives`, by its truncated SVD. An item
    that nobody wants, or of which so few numbers say nothing, has zeros.
    """
    values, right = truncated_svd(known.positives, VECTOR_SIZE, seed)
    scaled = np.zeros((len(known.items), VECTOR_SIZE), np.float32)
    scaled[:, : len(values)] = right * values
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    whole = np.sqrt(np.asarray(known.positives.power(2).sum(axis=0)).reshape(-1, 1))
    told = lengths > NOTHING * whole
    units = np.divide(scaled, lengths, out=np.zeros_like(scaled), where=told)
    return np.rint(VECTOR_NORM * units).astype(np.int8)
