"""Database drivers: read the rows of a query in batches from PostgreSQL, MySQL or MariaDB, and SQLite.

A user's query is never edited. It is wrapped as a subquery, `SELECT <columns> FROM (<query>) AS source_rows
[WHERE <watermark>]`, so it can only read. The database casts a column whose type Arrow lacks, usually to text;
numbers of any precision become decimals.
"""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
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
NOT_NUMBERS = ("nan", "inf", "-inf")  # as ADBC writes them; they become null
DRIVER_ERRORS = (adbc_driver_manager.Error, pa.ArrowException, OSError)


@dataclass(frozen=True)
class Column:
    """A column of a query: its SQL expression, the Arrow type it is read in, and the Polars type it is cast to."""

    name: str
    expression: str
    arrow_type: pa.DataType
    cast_to: pl.DataType | None = None


class Database(Protocol):
    """An open connection; its methods raise `DRIVER_ERRORS` or a `SourceError`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...

    def describe(self, query: str) -> list[Column]:
        """Return the columns of a query."""
        ...

    def watermark_condition(self, column: Column, start: Watermark) -> str:
        """Return an SQL condition that holds for rows from a watermark on, and for rows without one."""
        ...

    def read_batches(self, query: str, columns: list[Column], condition: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query for which the condition holds; they are never all in memory."""
        ...


def open_database(uri: str, scratch: Path) -> Database:
    """Return the driver for a URI, to be entered as a context; `scratch` is a directory for temporary files."""
    return DRIVERS[uri.partition("://")[0]](uri, scratch)


def select(expressions: Sequence[str], query: str, condition: str | None = None) -> str:
    """Return SQL that selects expressions from a query, or all of its columns if there are no expressions.

    The query stands on lines of its own, so that a comment at its end does not hide what follows.
    """
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT {', '.join(expressions) or '*'} FROM ({query}\n) AS source_rows{where}"


class PostgreSQL:
    """A PostgreSQL connection by ADBC, which streams the output of `COPY`."""

    def __init__(self, uri: str, _scratch: Path) -> None:
        separator = "&" if urlsplit(uri).query else "?"
        timeout = "" if "connect_timeout=" in uri else f"{separator}connect_timeout={CONNECT_SECONDS}"
        self._uri = uri + timeout
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        connection = self._resources.enter_context(adbc_driver_postgresql.dbapi.connect(self._uri))
        self._cursor = self._resources.enter_context(connection.cursor())
        return self

    def __exit__(self, *_error: object) -> None:
        self._resources.close()

    def describe(self, query: str) -> list[Column]:
        """Return the columns of a query."""
        return [self._column(field) for field in self._cursor.adbc_execute_schema(select([], query))]

    def _column(self, field: pa.Field) -> Column:
        name, metadata = _quoted(field.name, '"'), field.metadata or {}
        sql_type = metadata.get(b"POSTGRESQL:type", b"").decode()
        if sql_type in ("numeric", "money"):
            modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
            precision, scale = modifier >> 16, modifier & 0xFFFF
            is_bounded = modifier >= 0 and scale <= precision <= 38
            decimal = pl.Decimal(precision, scale) if is_bounded else DECIMAL
            return Column(field.name, f"{name}::numeric AS {name}", pa.string(), decimal)
        if isinstance(field.type, pa.JsonType):
            return Column(field.name, name, pa.string())
        if sql_type == "inet":
            return Column(field.name, f"host({name}) AS {name}", pa.string())
        if pa.types.is_list(field.type) and isinstance(field.type.value_type, pa.BaseExtensionType):
            return Column(field.name, f"{name}::text[] AS {name}", pa.list_(pa.string()))
        if isinstance(field.type, pa.BaseExtensionType) or pa.types.is_interval(field.type):
            return Column(field.name, f"{name}::text AS {name}", pa.string())
        return Column(field.name, name, field.type)

    def watermark_condition(self, column: Column, start: Watermark) -> str:
        """Return an SQL condition that holds for rows from a watermark on, and for rows without one."""
        name = _quoted(column.name, '"')
        types = {"moment": "TIMESTAMPTZ ", "local": "TIMESTAMP ", "date": "DATE ", "number": ""}
        is_text = pa.types.is_string(column.arrow_type) and column.cast_to is None
        comparison = f'{name} COLLATE "C" >= ' if is_text else f"{name} >= {types[start.kind]}"
        return f"{comparison}{_literal(start)} OR {name} IS NULL"

    def read_batches(self, query: str, columns: list[Column], condition: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query for which the condition holds; they are never all in memory."""
        self._cursor.execute(_select_columns(columns, query, condition))
        schema = _schema(columns)
        for batch in self._cursor.fetch_record_batch():
            plain = [array.storage if isinstance(array, pa.ExtensionArray) else array for array in batch.columns]
            yield pa.RecordBatch.from_arrays(plain, schema=schema)


class SQLite:
    """An SQLite file by ADBC.

    ADBC takes a column's type from its first rows, so the types of all rows are queried first.
    """

    BATCH_ROWS = "50000"
    # Type of a column's values: cast to it, a value of that type for ADBC to infer it from, Arrow type.
    TYPES = (
        ("text", "CAST({} AS TEXT)", "''", pa.string()),
        ("blob", "{}", "x''", pa.binary()),
        ("real", "CAST({} AS REAL)", "0.0", pa.float64()),
        ("integer", "{}", "0", pa.int64()),
    )

    def __init__(self, uri: str, _scratch: Path) -> None:
        self._file = Path(unquote(uri.partition(":///")[2].partition("?")[0]))
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        if not self._file.is_file():
            raise SourceError(
                f"no file is at {self._file}; an absolute path is written as in sqlite:////data/shop.db"
            )
        address = f"file:{quote(str(self._file.resolve()))}?mode=ro"
        connection = self._resources.enter_context(adbc_driver_sqlite.dbapi.connect(address))
        self._cursor = self._resources.enter_context(connection.cursor())
        self._cursor.adbc_statement.set_options(**{StatementOptions.BATCH_ROWS.value: self.BATCH_ROWS})
        return self

    def __exit__(self, *_error: object) -> None:
        self._resources.close()

    def describe(self, query: str) -> list[Column]:
        """Return the columns of a query."""
        self._cursor.execute(f"{select([], query)} LIMIT 0")
        names = self._cursor.fetch_record_batch().schema.names
        sql_types = [sql_type for sql_type, *_ in self.TYPES]
        checks = [
            f"MAX(TYPEOF({_quoted(name, chr(34))}) = '{sql_type}')"
            for name in dict.fromkeys(names)
            for sql_type in sql_types
        ]
        self._cursor.execute(select(checks, query))
        results = iter(self._cursor.fetchone() or ())
        occurring = {name: [bool(next(results)) for _ in sql_types] for name in dict.fromkeys(names)}
        return [self._column(name, occurring[name]) for name in names]

    def _column(self, name: str, occurring: list[bool]) -> Column:
        quoted = _quoted(name, '"')
        for (_, cast, _, arrow_type), occurs in zip(self.TYPES, occurring, strict=True):
            if occurs:
                return Column(name, f"{cast.format(quoted)} AS {quoted}", arrow_type)
        return Column(name, quoted, pa.int64(), pl.Null())

    def watermark_condition(self, column: Column, start: Watermark) -> str:
        """Return an SQL condition that holds for rows from a watermark on, and for rows without one."""
        name = _quoted(column.name, '"')
        return f"{name} >= {_literal(start)} OR {name} IS NULL"

    def read_batches(self, query: str, columns: list[Column], condition: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query for which the condition holds; they are never all in memory."""
        # The first row exists to show ADBC the type of each column; its first value, 1, marks it for removal.
        examples = {str(arrow_type): example for _, _, example, arrow_type in self.TYPES}
        typed = ", ".join(
            f"{examples[str(column.arrow_type)]} AS {_quoted(column.name, chr(34))}" for column in columns
        )
        rows = select(["0", *(column.expression for column in columns)], query, condition)
        self._cursor.execute(f"SELECT 1, {typed} UNION ALL {rows}")
        schema = _schema(columns)
        for batch in self._cursor.fetch_record_batch():
            kept = batch.filter(pc.equal(batch.column(0), 0))  # pyright: ignore[reportAttributeAccessIssue]
            yield pa.RecordBatch.from_arrays(kept.columns[1:], schema=schema)


class MySQL:
    """A MySQL or MariaDB connection by connectorx.

    It runs in a child process that writes the rows of each query to disk: see `jobs/ingest/mysql_spool.py`.
    """

    REFUSED = " ERROR r2d2] "

    def __init__(self, uri: str, scratch: Path) -> None:
        self._uri = uri
        self._file = scratch / "mysql.arrow"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        address = urlsplit(self._uri)
        try:
            socket.create_connection(
                (address.hostname or "localhost", address.port or 3306), CONNECT_SECONDS
            ).close()
        except OSError as error:
            raise SourceError(f"cannot be reached: {error}") from None
        command = [sys.executable, "-P", mysql_spool.__file__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.unlink(missing_ok=True)
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def describe(self, query: str) -> list[Column]:
        """Return the columns of a query."""
        self._spool(f"{select([], query)} LIMIT 0")
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            return [self._column(field) for field in stream.schema]

    def _column(self, field: pa.Field) -> Column:
        name = _quoted(field.name, "`")
        if pa.types.is_decimal(field.type):
            return Column(field.name, f"CAST({name} AS CHAR) AS {name}", pa.string(), DECIMAL)
        return Column(field.name, name, field.type)

    def watermark_condition(self, column: Column, start: Watermark) -> str:
        """Return an SQL condition that holds for rows from a watermark on, and for rows without one."""
        name = _quoted(column.name, "`")
        sql_type = "TIMESTAMP " if start.kind == "local" else ""
        return f"{name} >= {sql_type}{_literal(start)} OR {name} IS NULL"

    def read_batches(self, query: str, columns: list[Column], condition: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query for which the condition holds; they are never all in memory."""
        self._spool(_select_columns(columns, query, condition))
        schema = _schema(columns)
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    def _spool(self, query: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"uri": re.sub("^mariadb:", "mysql:", self._uri), "query": query, "path": str(self._file)}
        with suppress(BrokenPipeError):  # the process was killed; its output ends too
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
        line = ""
        for line in self._process.stdout:  # ends with the process
            if line.startswith(mysql_spool.DONE):
                return
            if self.REFUSED in line or line.startswith(mysql_spool.FAILED):
                break
        message = line.partition(self.REFUSED)[2] or line.removeprefix(mysql_spool.FAILED)
        if "MYSQL_TYPE_NULL" in message:
            raise SourceError("a column is NULL without a type; give it one, as in CAST(NULL AS CHAR)")
        driver_error = re.search(r"(?:MySqlError|DriverError|IoError|CodecError) \{ (.*) \}", message)
        raise SourceError(
            (driver_error[1] if driver_error else message).strip() or "the process that reads it was killed"
        )


DRIVERS: dict[str, type[PostgreSQL] | type[MySQL] | type[SQLite]] = {
    "postgresql": PostgreSQL,
    "postgres": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
    "sqlite": SQLite,
}


def frame_from_batches(batches: list[pa.RecordBatch], columns: list[Column]) -> pl.DataFrame:
    """Return batches of a query as a frame in the columns' final types.

    Raises `SourceError` for a number with more than 28 digits before the point.
    """
    frame: Any = pl.from_arrow(pa.Table.from_batches(batches, _schema(columns)))
    for column in columns:
        if column.cast_to == pl.Null():
            frame = frame.with_columns(pl.lit(None).alias(column.name))
        elif column.cast_to is not None:
            text = frame[column.name]
            number = text.cast(column.cast_to, strict=False)
            lost = text.filter(number.is_null() & text.is_in(NOT_NUMBERS).not_())
            if lost.len():
                raise SourceError(
                    f"column {column.name!r} has {lost[0]}: cast it to text or to a float in the query"
                )
            frame = frame.with_columns(number)
    return frame


def _select_columns(columns: list[Column], query: str, condition: str | None) -> str:
    return select([column.expression for column in columns], query, condition)


def _quoted(name: str, mark: str) -> str:
    return mark + name.replace(mark, mark * 2) + mark


def _literal(watermark: Watermark) -> str:
    """Return a watermark as an SQL literal, which is formatted from a number or a date and never from text."""
    if isinstance(watermark.value, Decimal):
        return str(int(watermark.value))
    return f"'{watermark.value.isoformat(*(() if watermark.kind == 'date' else (' ', 'microseconds')))}'"


def _schema(columns: list[Column]) -> pa.Schema:
    return pa.schema([(column.name, column.arrow_type) for column in columns])
