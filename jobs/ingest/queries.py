"""Queries over a connection URI, read in chunks."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from jobs.ingest.connections import Connection
from jobs.ingest.databases import (
    DRIVER_ERRORS,
    Column,
    Database,
    MySQL,
    PostgreSQL,
    SQLite,
    frame_of,
    select,
)
from jobs.ingest.files import Chunk, first_line
from jobs.ingest.watermark import Watermark, applies, check_watermark
from recsys.errors import SourceError
from recsys.settings import Table

DATABASES: dict[str, type[PostgreSQL] | type[MySQL] | type[SQLite]] = {
    "postgresql": PostgreSQL,
    "postgres": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
    "sqlite": SQLite,
}


def read_query(
    table: Table, connection: Connection, chunk_rows: int, since: Watermark | None, scratch: Path
) -> Iterator[Chunk]:
    """The rows of a table's query, those from a watermark on, in chunks; the first has no rows.

    Raises `SourceError` with the table, the connection and the reason they cannot be read.
    """
    try:
        with DATABASES[connection.scheme](connection.uri, scratch) as database:
            yield from _read(database, table, chunk_rows, since)
    except (*DRIVER_ERRORS, pl.exceptions.PolarsError, SourceError) as error:
        reason = connection.without_secrets(first_line(error))
        raise SourceError(f"table {table.name!r} on connection {connection.name!r}: {reason}") from None


def _read(database: Database, table: Table, chunk_rows: int, since: Watermark | None) -> Iterator[Chunk]:
    query = (table.query or "").strip().rstrip(";")
    columns = database.columns(query)
    _check_names(columns)
    empty = frame_of([], columns)
    check_watermark(empty.schema, table)
    yield Chunk(empty)
    by_name = {column.name: column for column in columns}
    condition = None
    if since is not None and applies(since, empty.schema, table):
        condition = database.condition(by_name[table.watermark or ""], since)
    pending: list[pa.RecordBatch] = []
    for batch in database.rows(select(columns, query, condition), columns):
        pending.append(batch)
        if sum(part.num_rows for part in pending) >= chunk_rows:
            yield from map(Chunk, frame_of(pending, columns).iter_slices(chunk_rows))
            pending.clear()
    yield from map(Chunk, frame_of(pending, columns).iter_slices(chunk_rows))


def _check_names(columns: list[Column]) -> None:
    names = [column.name for column in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SourceError(f"two columns are named {twice!r}; name one otherwise with AS")
