"""Parquet files."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from jobs.ingest.formats.chunks import Chunk
from recsys.settings import Table


def read_parquet(file: Path, _table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Yield the rows of a Parquet file in its own columns and types."""
    scan = pl.scan_parquet(file, glob=False)
    yield Chunk(pl.DataFrame(schema=scan.collect_schema()))
    for rows in scan.collect_batches(chunk_size=chunk_rows, maintain_order=True):
        yield Chunk(rows)
