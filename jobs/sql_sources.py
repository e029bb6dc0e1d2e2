"""Queries over a connection URI, read in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
import pyarrow as pa

from jobs.databases import (
    DRIVER_ERRORS,
    Column,
    Database,
    MySQL,
    PostgreSQL,
    SQLite,
    frame_of,
    select,
)
from jobs.sources import Chunk, first_line
from jobs.watermark import Watermark, applies, check_watermark
from recsys.errors import SettingsError, SourceError
from recsys.settings import NOT_SHOWN, Sources, Table, shown_address

DATABASES: dict[str, type[PostgreSQL] | type[MySQL] | type[SQLite]] = {
    "postgresql": PostgreSQL,
    "postgres": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
    "sqlite": SQLite,
}


@dataclass(frozen=True)
class Connection:
    """A database, under the name that messages give it."""

    name: str
    uri: str

    @property
    def scheme(self) -> str:
        """Which kind of database it is."""
        return self.uri.partition("://")[0]

    def without_secrets(self, text: str) -> str:
        """What a driver says, without what it may repeat of the URI."""
        password = urlsplit(self.uri).password or ""
        for secret in (self.uri, password, unquote(password)):
            text = text.replace(secret, NOT_SHOWN) if secret else text
        return text


def connection_of(table: Table, sources: Sources) -> Connection:
    """Where a table's query runs; raises `SettingsError` when it is not said, or in no form that is understood."""
    named = table.connection or ""
    setting = f"sources.connections.{named}" if "://" not in named else f"sources.tables.{table.name}.connection"
    uri = named if "://" in named else sources.connections.get(named)
    if uri is None:
        known = ", ".join(sources.connections) or "none"
        raise SettingsError(
            f"sources.tables.{table.name}.connection = {named!r}: expected a name of sources.connections "
            f"(there: {known}) or a URI"
        )
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in DATABASES:
        raise SettingsError(f"{setting}: expected a URI that begins with one of {', '.join(DATABASES)}://")
    place = rest.partition("?")[0]
    user_and_host = place.partition("/")[0]
    try:
        _ = urlsplit(uri).port
        readable = place.count("@") == user_and_host.count("@") <= 1
    except ValueError:
        readable = False
    if scheme != "sqlite" and not readable:
        raise SettingsError(f"{setting}: not a URI; in a password @ is written %40, / is %2F and : is %3A")
    if scheme == "sqlite" and not rest.startswith("/"):
        raise SettingsError(f"{setting}: expected a path after sqlite:///, an absolute one after sqlite:////")
    return Connection(shown_address(named), uri)


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
