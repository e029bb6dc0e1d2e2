"""The lists step: what is published for every user and item, and for everybody."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from features.bought_with import OTHER_ITEM_ID, RANK
from jobs.progress import Progress
from recsys.data.interactions import Interactions
from recsys.files import atomic_write
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.models._item_item.similarity import SupportFilter
from recsys.models.base import ItemModel, Model
from recsys.ranking.top_k import Exclusion, top_k
from recsys.schema import AVAILABLE, CATEGORY, ITEM_ID, USER_ID
from recsys.settings import Lists
from recsys.store.keys import POPULAR, TRENDING, popular_name
from recsys.store.publish.blocks import (
    BOUGHT_WITH_FILE,
    HISTORY_FILE,
    ITEMS,
    NAME,
    POPULAR_FILE,
    SIMILAR_ITEMS_FILE,
    USER_ITEMS_FILE,
)

BLOCK = 4_096
GROUP_BLOCKS = 4
"""Blocks in a row group: each has a dictionary of the ids, and larger groups are read for less."""


def unavailable_items(known: IdMap, items: pl.DataFrame) -> NDArray[np.bool_]:
    """True for every item row that the catalogue says must not be shown, (items,)."""
    mask = np.zeros(len(known), bool)
    rows = known.rows(items.filter(~pl.col(AVAILABLE))[ITEM_ID])
    mask[rows[rows != UNKNOWN]] = True
    return mask


def write_user_lists(
    directory: Path, model: Model, known: Interactions, exclude: Exclusion, n: int, progress: Progress
) -> None:
    """The best n items of every user."""
    blocks = ((rows, model.recommend(rows, n, exclude)[0]) for rows in _blocks(len(known.users)))
    _write_lists(directory / USER_ITEMS_FILE, USER_ID, known.users, known.items, blocks, progress)


def write_similar_lists(
    directory: Path,
    model: ItemModel,
    known: Interactions,
    exclude: Exclusion,
    n: int,
    min_users: int,
    progress: Progress,
) -> None:
    """The n items most like each item, without those that share fewer users with it than `min_users`."""
    shared = SupportFilter(known.positives, min_users)
    blocks = ((rows, shared.apply(rows, model.similar(rows, n, exclude)[0])) for rows in _blocks(len(known.items)))
    _write_lists(directory / SIMILAR_ITEMS_FILE, ITEM_ID, known.items, known.items, blocks, progress)


def write_bought_with_lists(directory: Path, bought_with: pl.LazyFrame, items: pl.DataFrame, n: int) -> None:
    """The n items most often bought with each, from the feature table, without those that must not be shown."""
    unavailable = items.lazy().filter(~pl.col(AVAILABLE)).select(pl.col(ITEM_ID).alias(OTHER_ITEM_ID))
    lists = (
        bought_with.join(unavailable, on=OTHER_ITEM_ID, how="anti")
        .sort(ITEM_ID, RANK)
        .group_by(ITEM_ID, maintain_order=True)
        .agg(pl.col(OTHER_ITEM_ID).head(n).alias(ITEMS))
    )
    with atomic_write(directory / BOUGHT_WITH_FILE) as aside:
        lists.collect().write_parquet(aside, row_group_size=BLOCK * GROUP_BLOCKS)


def write_history(directory: Path, known: Interactions, exclude: Exclusion, n: int, progress: Progress) -> None:
    """The n latest items of each user that `exclude` leaves out of the user's list; no row where it leaves none."""
    users = 0 if exclude.user_items is None else len(known.users)
    blocks = ((rows, _latest(known, rows, n)) for rows in _blocks(users))
    _write_lists(directory / HISTORY_FILE, USER_ID, known.users, known.items, blocks, progress)


def _latest(known: Interactions, rows: Rows, n: int) -> Rows:
    """The item rows of each user's last events, an item once, (rows, up to n), -1 where there is none.

    A user's items here are those of `known.user_items`: both have the events whose weight is not 0.
    """
    start, end = np.searchsorted(known.user_rows, [rows[0], rows[-1] + 1])
    event = slice(int(start), int(end))
    events = {"user": known.user_rows[event], "item": known.item_rows[event], "age": known.age_days[event]}
    latest = (
        pl.DataFrame(events)
        .group_by("user", "item")
        .agg(pl.col("age").min())
        .sort("user", "age", "item")
        .with_columns(pl.int_range(pl.len()).over("user").alias("place"))
        .filter(pl.col("place") < n)
    )
    user, item, place = (latest[name].to_numpy() for name in ("user", "item", "place"))
    listed = np.full((len(rows), int(place.max(initial=0)) + 1), UNKNOWN, np.int32)
    listed[user - rows[0], place] = item
    return listed


def write_popular_lists(
    directory: Path,
    popularity: NDArray[np.float32],
    trend: NDArray[np.float32],
    known: Interactions,
    items: pl.DataFrame,
    unavailable: NDArray[np.bool_],
    lists: Lists,
) -> None:
    """The popular lists, of all items and of every level of the categories, and the trending list.

    `popularity` and `trend` hold a score an item; only items whose trend is above 0 are trending.
    """
    shown = np.where(unavailable, -np.inf, popularity).astype(np.float32)
    named = {
        POPULAR: _best(shown, known.items, lists.popular_items),
        TRENDING: trending_list(trend, known.items, unavailable, lists.popular_items),
    }
    everyone = pl.DataFrame(
        {NAME: list(named), ITEMS: list(named.values())}, schema={NAME: pl.String, ITEMS: pl.List(pl.String)}
    )
    scores = pl.DataFrame({ITEM_ID: known.items.values, "score": shown}).filter(pl.col("score").is_finite())
    categories = _category_lists(scores, items, lists.popular_items)
    with atomic_write(directory / POPULAR_FILE) as aside:
        pl.concat([everyone, categories]).write_parquet(aside)


def trending_list(trend: NDArray[np.float32], items: IdMap, unavailable: NDArray[np.bool_], n: int) -> list[str]:
    """The n items that rise most; only those whose trend is above 0 do."""
    rising = np.where(unavailable | (trend <= 0), -np.inf, trend).astype(np.float32)
    return _best(rising, items, n)


def _best(scores: NDArray[np.float32], items: IdMap, n: int) -> list[str]:
    rows, _ = top_k(scores[None, :], min(n, len(scores)))
    return items.ids(rows[0][rows[0] != UNKNOWN]).to_list()


def _category_lists(scores: pl.DataFrame, items: pl.DataFrame, n: int) -> pl.DataFrame:
    """The best n items under every prefix of a category path."""
    depth = pl.int_ranges(1, pl.col(CATEGORY).list.len() + 1)
    prefix = pl.col(CATEGORY).list.head(pl.col("depth")).list.join(">")
    return (
        items.lazy()
        .select(ITEM_ID, CATEGORY)
        .drop_nulls()
        .join(scores.lazy(), on=ITEM_ID)
        .with_columns(depth=depth)
        .explode("depth")
        .with_columns(prefix.alias(NAME))
        .sort("score", ITEM_ID, descending=[True, False])
        .group_by(NAME, maintain_order=True)
        .agg(pl.col(ITEM_ID).head(n).alias(ITEMS))
        .with_columns(pl.format(f"{popular_name('')}{{}}", pl.col(NAME)).alias(NAME))
        .sort(NAME)
        .collect()
    )


def _blocks(size: int) -> Iterator[Rows]:
    for start in range(0, size, BLOCK):
        yield np.arange(start, min(start + BLOCK, size), dtype=np.int32)


def _write_lists(
    path: Path,
    key: str,
    owners: IdMap,
    items: IdMap,
    blocks: Iterator[tuple[Rows, Rows]],
    progress: Progress,
) -> None:
    """Write a list for each owner, block by block, so that only one block is in memory."""
    schema = pa.schema([(key, pa.large_string()), (ITEMS, pa.large_list(pa.large_string()))])
    item_ids, owner_ids = _text(items), _text(owners)
    with atomic_write(path) as aside, pyarrow.parquet.ParquetWriter(aside, schema, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        for rows, listed in blocks:
            columns = [owner_ids.take(pa.array(rows)), _lists(item_ids, listed)]
            waiting.append(pa.table(columns, schema=schema))
            if len(waiting) == GROUP_BLOCKS:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()
            progress.advance(len(rows))
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def _text(ids: IdMap) -> pa.LargeStringArray:
    return ids.values.to_arrow().cast(pa.large_string())


def _lists(item_ids: pa.LargeStringArray, listed: Rows) -> pa.LargeListArray:
    """Item rows (owners, n), -1 where there is none, as lists of ids."""
    known = listed != UNKNOWN
    ends = np.append(0, np.cumsum(known.sum(axis=1)))
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), item_ids.take(pa.array(listed[known])))
