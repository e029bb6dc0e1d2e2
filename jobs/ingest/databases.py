"""PostgreSQL, MySQL and SQLite: the rows of a query in batches, in types that the mapping computes with.

A query is read as `SELECT <columns> FROM (<query>) AS source_rows [WHERE <watermark>]`, so that it can only read.
A column of a type that Arrow lacks is cast by the database, most to text; a number of any precision becomes a
decimal.
"""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote, unquote, urlsplit

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import adbc_driver_sqlite.dbapi
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_sqlite import StatementOptions

from jobs.ingest import mysql_spool
from jobs.ingest.watermark import Watermark
from recsys.errors import SourceError

CONNECT_SECONDS = 10
DECIMAL = pl.Decimal(38, 10)
DRIVER_ERRORS = (adbc_driver_manager.Error, pa.ArrowException, OSError)


@dataclass(frozen=True)
class Column:
    """A column of a query: how it is selected, the type in which it arrives, and the one that it is given then."""

    name: str
    expression: str
    arrives: pa.DataType
    becomes: pl.DataType | None = None


class Database(Protocol):
    """An open connection; errors are `DRIVER_ERRORS` or a `SourceError`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...

    def columns(self, query: str) -> list[Column]:
        """The columns of a query."""
        ...

    def condition(self, column: Column, since: Watermark) -> str:
        """SQL that is true from a watermark on, and where there is none."""
        ...

    def rows(self, query: str, columns: list[Column]) -> Iterator[pa.RecordBatch]:
        """The rows of a query, which are never all in memory."""
        ...


def select(columns: list[Column], query: str, condition: str | None = None) -> str:
    """The rows of a query in the given columns, those for which the condition holds."""
    chosen = ", ".join(column.expression for column in columns) or "*"
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT {chosen} FROM ({query}\n) AS source_rows{where}"


class PostgreSQL:
    """By ADBC, which streams what `COPY` sends."""

    def __init__(self, uri: str, _scratch: Path) -> None:
        separator = "&" if urlsplit(uri).query else "?"
        limited = "" if "connect_timeout=" in uri else f"{separator}connect_timeout={CONNECT_SECONDS}"
        self._uri = uri + limited
        self._open = ExitStack()

    def __enter__(self) -> Self:
        connection = self._open.enter_context(adbc_driver_postgresql.dbapi.connect(self._uri))
        self._cursor = self._open.enter_context(connection.cursor())
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def columns(self, query: str) -> list[Column]:
        """The columns of a query."""
        return [self._column(field) for field in self._cursor.adbc_execute_schema(select([], query))]

    def _column(self, field: pa.Field) -> Column:
        name, metadata = _quoted(field.name, '"'), field.metadata or {}
        sql_type = metadata.get(b"POSTGRESQL:type", b"").decode()
        if sql_type in ("numeric", "money"):
            modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
            precision, scale = modifier >> 16, modifier & 0xFFFF
            becomes = pl.Decimal(precision, scale) if modifier >= 0 and scale <= precision <= 38 else DECIMAL
            return Column(field.name, f"{name}::numeric AS {name}", pa.string(), becomes)
        if isinstance(field.type, pa.JsonType):
            return Column(field.name, name, pa.string())
        if sql_type == "inet":
            return Column(field.name, f"host({name}) AS {name}", pa.string())
        if pa.types.is_list(field.type) and isinstance(field.type.value_type, pa.BaseExtensionType):
            return Column(field.name, f"{name}::text[] AS {name}", pa.list_(pa.string()))
        if isinstance(field.type, pa.BaseExtensionType) or pa.types.is_interval(field.type):
            return Column(field.name, f"{name}::text AS {name}", pa.string())
        return Column(field.name, name, field.type)

    def condition(self, column: Column, since: Watermark) -> str:
        """SQL that is true from a watermark on, and where there is none."""
        name = _quoted(column.name, '"')
        types = {"moment": "TIMESTAMPTZ ", "local": "TIMESTAMP ", "date": "DATE ", "number": ""}
        is_text = pa.types.is_string(column.arrives) and column.becomes is None
        compared = f'{name} COLLATE "C" >= ' if is_text else f"{name} >= {types[since.kind]}"
        return f"{compared}{_literal(since)} OR {name} IS NULL"

    def rows(self, query: str, columns: list[Column]) -> Iterator[pa.RecordBatch]:
        """The rows of a query, which are never all in memory."""
        self._cursor.execute(query)
        schema = _schema(columns)
        for batch in self._cursor.fetch_record_batch():
            plain = [array.storage if isinstance(array, pa.ExtensionArray) else array for array in batch.columns]
            yield pa.RecordBatch.from_arrays(plain, schema=schema)


class SQLite:
    """By ADBC, which takes a column's type from its first rows; so those are asked for beforehand, of all rows."""

    BATCH_ROWS = "50000"
    # What the values of a column are: the cast that makes them one, a value that says so to ADBC, and its type.
    TYPES = (
        ("text", "CAST({} AS TEXT)", "''", pa.string()),
        ("blob", "{}", "x''", pa.binary()),
        ("real", "CAST({} AS REAL)", "0.0", pa.float64()),
        ("integer", "{}", "0", pa.int64()),
    )

    def __init__(self, uri: str, _scratch: Path) -> None:
        self._file = Path(unquote(uri.partition(":///")[2].partition("?")[0]))
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if not self._file.is_file():
            raise SourceError(
                f"no file is at {self._file}; an absolute path is written as in sqlite:////data/shop.db"
            )
        address = f"file:{quote(str(self._file.resolve()))}?mode=ro"
        connection = self._open.enter_context(adbc_driver_sqlite.dbapi.connect(address))
        self._cursor = self._open.enter_context(connection.cursor())
        self._cursor.adbc_statement.set_options(**{StatementOptions.BATCH_ROWS.value: self.BATCH_ROWS})
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def columns(self, query: str) -> list[Column]:
        """The columns of a query."""
        self._cursor.execute(f"{select([], query)} LIMIT 0")
        names = self._cursor.fetch_record_batch().schema.names
        kinds = [kind for kind, *_ in self.TYPES]
        asked = ", ".join(
            f"MAX(TYPEOF({_quoted(name, chr(34))}) = '{kind}')" for name in dict.fromkeys(names) for kind in kinds
        )
        self._cursor.execute(f"SELECT {asked} FROM ({query}\n) AS source_rows")
        found = iter(self._cursor.fetchone() or ())
        present = {name: [bool(next(found)) for _ in kinds] for name in dict.fromkeys(names)}
        return [self._column(name, present[name]) for name in names]

    def _column(self, name: str, present: list[bool]) -> Column:
        quoted = _quoted(name, '"')
        for (_, cast, _, arrives), is_there in zip(self.TYPES, present, strict=True):
            if is_there:
                return Column(name, f"{cast.format(quoted)} AS {quoted}", arrives)
        return Column(name, quoted, pa.int64(), pl.Null())

    def condition(self, column: Column, since: Watermark) -> str:
        """SQL that is true from a watermark on, and where there is none."""
        name = _quoted(column.name, '"')
        return f"{name} >= {_literal(since)} OR {name} IS NULL"

    def rows(self, query: str, columns: list[Column]) -> Iterator[pa.RecordBatch]:
        """The rows of a query, which are never all in memory."""
        examples = {str(arrives): example for _, _, example, arrives in self.TYPES}
        first = ", ".join(
            f"{examples[str(column.arrives)]} AS {_quoted(column.name, chr(34))}" for column in columns
        )
        marked = query.replace("SELECT ", "SELECT 0, ", 1)
        self._cursor.execute(f"SELECT 1, {first} UNION ALL {marked}")
        schema = _schema(columns)
        for batch in self._cursor.fetch_record_batch():
            own = batch.filter(pc.equal(batch.column(0), 0))  # pyright: ignore[reportAttributeAccessIssue]
            yield pa.RecordBatch.from_arrays(own.columns[1:], schema=schema)


class MySQL:
    """By connectorx, in a process of its own that puts the rows on disk: see `jobs/ingest/mysql_spool.py`."""

    REFUSED = " ERROR r2d2] "

    def __init__(self, uri: str, scratch: Path) -> None:
        self._uri = uri
        self._file = scratch / "mysql.arrow"

    def __enter__(self) -> Self:
        place = urlsplit(self._uri)
        try:
            socket.create_connection((place.hostname or "localhost", place.port or 3306), CONNECT_SECONDS).close()
        except OSError as error:
            raise SourceError(f"cannot be reached: {error}") from None
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.unlink(missing_ok=True)

    def columns(self, query: str) -> list[Column]:
        """The columns of a query."""
        self._spool(f"{select([], query)} LIMIT 0")
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            return [self._column(field) for field in stream.schema]

    def _column(self, field: pa.Field) -> Column:
        name = _quoted(field.name, "`")
        if pa.types.is_decimal(field.type):
            return Column(field.name, f"CAST({name} AS CHAR) AS {name}", pa.string(), DECIMAL)
        return Column(field.name, name, field.type)

    def condition(self, column: Column, since: Watermark) -> str:
        """SQL that is true from a watermark on, and where there is none."""
        name = _quoted(column.name, "`")
        types = "TIMESTAMP " if since.kind == "local" else ""
        return f"{name} >= {types}{_literal(since)} OR {name} IS NULL"

    def rows(self, query: str, columns: list[Column]) -> Iterator[pa.RecordBatch]:
        """The rows of a query, which are never all in memory."""
        self._spool(query)
        schema = _schema(columns)
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    def _spool(self, query: str) -> None:
        request = {"uri": re.sub("^mariadb:", "mysql:", self._uri), "query": query, "path": str(self._file)}
        command = [sys.executable, "-P", mysql_spool.__file__]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            json.dump(request, process.stdin)
            process.stdin.close()
            line = ""
            for line in process.stdout:  # ends with the process
                if self.REFUSED in line or line.startswith(mysql_spool.FAILED):
                    process.kill()
                    break
        if process.returncode != 0:
            said = line.partition(self.REFUSED)[2] or line.removeprefix(mysql_spool.FAILED)
            if "MYSQL_TYPE_NULL" in said:
                raise SourceError("a column is NULL without a type; give it one, as in CAST(NULL AS CHAR)")
            wrapped = re.search(r"(?:MySqlError|DriverError|IoError|CodecError) \{ (.*) \}", said)
            raise SourceError((wrapped[1] if wrapped else said).strip() or "the process that reads it was killed")


def _quoted(name: str, mark: str) -> str:
    return mark + name.replace(mark, mark * 2) + mark


def _literal(since: Watermark) -> str:
    """A watermark in SQL: made of digits alone, whatever the source has in it."""
    if isinstance(since.value, Decimal):
        return str(int(since.value))
    return f"'{since.value.isoformat(*(() if since.kind == 'date' else (' ', 'microseconds')))}'"


def _schema(columns: list[Column]) -> pa.Schema:
    return pa.schema([(column.name, column.arrives) for column in columns])


def frame_of(batches: list[pa.RecordBatch], columns: list[Column]) -> pl.DataFrame:
    """Batches of a query as a frame; raises `SourceError` for a number of more than 28 digits before the point."""
    frame: Any = pl.from_arrow(pa.Table.from_batches(batches, _schema(columns)))
    for column in columns:
        if column.becomes == pl.Null():
            frame = frame.with_columns(pl.lit(None).alias(column.name))
        elif column.becomes is not None:
            text = frame[column.name]
            number = text.cast(column.becomes, strict=False)
            lost = text.filter(number.is_null() & text.is_in(NOT_NUMBERS).not_())
            if lost.len():
                raise SourceError(
                    f"column {column.name!r} has {lost[0]}: cast it to text or to a float in the query"
                )
            frame = frame.with_columns(number)
    return frame


NOT_NUMBERS = ("nan", "inf", "-inf")  # as ADBC writes them; they become null
