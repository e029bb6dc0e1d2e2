"""Files of lists: one row for each owner, written block by block."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from jobs.progress import Task
from recsys.files import atomic_write
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.store.publish.list_files import ITEMS

BLOCK = 4_096
GROUP_BLOCKS = 4
"""Blocks in a row group; each group has its own dictionary of ids, so larger groups are cheaper to read."""


def list_blocks(size: int) -> Iterator[Rows]:
    """Yield the rows of `size` owners in blocks."""
    for start in range(0, size, BLOCK):
        yield np.arange(start, min(start + BLOCK, size), dtype=np.int32)


def write_list_file(
    path: Path,
    key: str,
    owners: IdMap,
    items: IdMap,
    blocks: Iterator[tuple[Rows, Rows]],
    task: Task,
) -> None:
    """Write a list for each owner, block by block, so that only a few blocks are in memory."""
    schema = pa.schema([(key, pa.large_string()), (ITEMS, pa.large_list(pa.large_string()))])
    item_ids, owner_ids = _text(items), _text(owners)
    with (
        atomic_write(path) as partial_file,
        pyarrow.parquet.ParquetWriter(partial_file, schema, compression="zstd") as writer,
    ):
        pending: list[pa.Table] = []
        for rows, listed in blocks:
            columns = [owner_ids.take(pa.array(rows)), _lists(item_ids, listed)]
            pending.append(pa.table(columns, schema=schema))
            if len(pending) == GROUP_BLOCKS:
                writer.write_table(pa.concat_tables(pending).combine_chunks())
                pending.clear()
            task.advance(len(rows))
        if pending:
            writer.write_table(pa.concat_tables(pending).combine_chunks())


def _text(ids: IdMap) -> pa.LargeStringArray:
    return ids.values.to_arrow().cast(pa.large_string())


def _lists(item_ids: pa.LargeStringArray, listed: Rows) -> pa.LargeListArray:
    """Turn item rows, (owners, n) padded with -1, into lists of ids."""
    is_item = listed != UNKNOWN
    ends = np.append(0, np.cumsum(is_item.sum(axis=1)))
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), item_ids.take(pa.array(listed[is_item])))
