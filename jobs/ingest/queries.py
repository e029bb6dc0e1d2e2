"""Queries of tables: find the connection of each one, and read its rows in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import polars as pl

from jobs.ingest.formats.chunks import Chunk, first_line
from jobs.ingest.watermark import Watermark, check_watermark, is_applicable
from recsys.errors import SettingsError, SourceError
from recsys.settings import Sources, Table
from recsys.settings.types import REDACTED, redact_address

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.ingest.databases import Column, Database

SCHEMES = ("postgresql", "postgres", "mysql", "mariadb", "sqlite")


@dataclass(frozen=True)
class Connection:
    """A database, and the name for it in messages."""

    name: str
    uri: str

    @property
    def scheme(self) -> str:
        """Return the scheme of the URI, which names the kind of database."""
        return self.uri.partition("://")[0]

    def hide_secrets(self, text: str) -> str:
        """Return a driver's message without the URI and the password that it may repeat."""
        password = urlsplit(self.uri).password or ""
        for secret in (self.uri, password, unquote(password)):
            text = text.replace(secret, REDACTED) if secret else text
        return text


def resolve_connection(table: Table, sources: Sources) -> Connection:
    """Return the connection on which a table's query runs.

    Raises `SettingsError` when no connection is set, or its URI is not understood.
    """
    name = table.connection or ""
    setting = f"sources.connections.{name}" if "://" not in name else f"sources.tables.{table.name}.connection"
    uri = name if "://" in name else sources.connections.get(name)
    if uri is None:
        names = ", ".join(sources.connections) or "none"
        raise SettingsError(
            f"sources.tables.{table.name}.connection = {name!r}: expected a name of sources.connections "
            f"(there: {names}) or a URI"
        )
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise SettingsError(f"{setting}: expected a URI that begins with one of {known}")
    if scheme != "sqlite" and not _is_server_address(uri, rest.partition("?")[0]):
        raise SettingsError(f"{setting}: not a URI; in a password @ is written %40, / is %2F and : is %3A")
    if scheme == "sqlite" and not rest.startswith("/"):
        raise SettingsError(f"{setting}: expected a path after sqlite:///, an absolute one after sqlite:////")
    return Connection(redact_address(name), uri)


def read_query(
    table: Table, connection: Connection, chunk_rows: int, start: Watermark | None, scratch: Path
) -> Iterator[Chunk]:
    """Yield the rows of a table's query from a watermark on, in chunks; the first chunk has no rows.

    Raises `SourceError` with the table, the connection and the reason when they cannot be read.
    """
    from jobs.ingest import databases  # the drivers take a second to load

    try:
        with databases.open_database(connection.uri, scratch) as database:
            yield from _read(database, table, chunk_rows, start)
    except (*databases.DRIVER_ERRORS, pl.exceptions.PolarsError, SourceError) as error:
        reason = connection.hide_secrets(first_line(error))
        raise SourceError(f"table {table.name!r} on connection {connection.name!r}: {reason}") from None


def _is_server_address(uri: str, address: str) -> bool:
    """Return whether a URI has a readable port, and no separator in its password that should have been quoted."""
    try:
        _ = urlsplit(uri).port
    except ValueError:
        return False
    return address.count("@") == address.partition("/")[0].count("@") <= 1


def _read(database: "Database", table: Table, chunk_rows: int, start: Watermark | None) -> Iterator[Chunk]:
    from jobs.ingest.databases import frame_from_batches

    query = (table.query or "").strip().rstrip(";")
    columns = database.describe(query)
    _check_names(columns)
    empty = frame_from_batches([], columns)
    check_watermark(empty.schema, table)
    yield Chunk(empty)
    condition = None
    if start is not None and is_applicable(start, empty.schema, table):
        by_name = {column.name: column for column in columns}
        condition = database.watermark_condition(by_name[table.watermark or ""], start)
    pending: list[pa.RecordBatch] = []
    for batch in database.read_batches(query, columns, condition):
        pending.append(batch)
        if sum(part.num_rows for part in pending) >= chunk_rows:
            yield from map(Chunk, frame_from_batches(pending, columns).iter_slices(chunk_rows))
            pending.clear()
    yield from map(Chunk, frame_from_batches(pending, columns).iter_slices(chunk_rows))


def _check_names(columns: "list[Column]") -> None:
    names = [column.name for column in columns]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise SourceError(f"two columns are named {duplicate!r}; rename one with AS")
