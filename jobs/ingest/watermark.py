"""How far a table has been read: the greatest value of its watermark column, kept beside the rows in the lake."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import polars as pl

from jobs.lake import Lake
from recsys.errors import SourceError
from recsys.files import read_json, write_json
from recsys.schema import TIMESTAMP_DTYPE
from recsys.settings import Table

MAX_AHEAD = timedelta(hours=14)  # of UTC, that a local time may be
PER_SECOND = {"epoch_s": 1, "epoch_ms": 1_000}
DAY_LENGTH = len("2024-01-31")
Kind = Literal["moment", "local", "date", "number"]


@dataclass(frozen=True)
class Watermark:
    """A moment in UTC, a local time, a date (of text: its first ten characters), or a number."""

    kind: Kind
    value: datetime | date | Decimal

    def lowered(self, lateness: float) -> "Watermark":
        """Where an ingest starts that allows for rows so late: dates and numbers are rounded down."""
        if isinstance(self.value, Decimal):
            return Watermark(self.kind, Decimal(math.floor(self.value - Decimal(str(lateness)))))
        days = math.ceil(lateness) if self.kind == "date" else lateness
        return Watermark(self.kind, self.value - timedelta(days=days))


def kind_of(dtype: pl.DataType, table: Table) -> Kind:
    """What a watermark in a column of this type is; raises `SourceError` for a type that does not grow."""
    if isinstance(dtype, pl.Datetime):
        return "local" if dtype.time_zone is None else "moment"
    if dtype == pl.String:
        return "number" if table.time_format in PER_SECOND else "date"
    if dtype == pl.Date:
        return "date"
    if dtype.is_numeric():
        return "number"
    raise SourceError(f"{_called(table)} is of type {dtype}; expected a time or a number")


def check_watermark(schema: pl.Schema, table: Table) -> None:
    """Raise `SourceError` when the column is not there, or is nothing that grows."""
    if table.watermark is None:
        return
    if table.watermark not in schema:
        raise SourceError(f"{_called(table)} is not there; the columns are {', '.join(schema)}")
    if schema[table.watermark] != pl.Null:
        kind_of(schema[table.watermark], table)


def greatest(rows: pl.DataFrame, table: Table, latest: datetime) -> Watermark | None:
    """The greatest watermark of some rows; what lies after `latest` is of a wrong clock and does not count.

    Raises `SourceError` when the column has values and none can be read.
    """
    assert table.watermark is not None
    column = rows[table.watermark]
    if column.null_count() == column.len():
        return None
    kind = kind_of(column.dtype, table)
    values = rows.select(_value(table.watermark, kind, column.dtype)).to_series()
    if values.null_count() == values.len():
        raise SourceError(f"{_called(table)}: {column.drop_nulls()[0]!r} is no time such as 2024-01-31")
    limit = _limit(kind, table, latest)
    found = (values if limit is None else values.filter(values <= limit)).max()
    if found is None:
        return None
    return Watermark(kind, found if isinstance(found, date) else Decimal(str(found)))


def later(first: Watermark | None, second: Watermark | None) -> Watermark | None:
    """The greater of two; the second where the column has changed its kind in between."""
    if first is None or second is None:
        return first or second
    if first.kind != second.kind:
        return second
    return max(first, second, key=lambda watermark: watermark.value)


def rows_from(rows: pl.DataFrame, table: Table, since: Watermark | None) -> pl.DataFrame:
    """The rows from a watermark on and those that have none; all where the column is of another kind now."""
    name = table.watermark
    if since is None or name is None or not applies(since, rows.schema, table):
        return rows
    value = _value(name, since.kind, rows.schema[name])
    bound = int(since.value) if isinstance(since.value, Decimal) else since.value
    return rows.filter(value.is_null() | (value >= bound))


def applies(since: Watermark, schema: pl.Schema, table: Table) -> bool:
    """Whether a watermark is of the kind that its column is now."""
    dtype = schema[table.watermark or ""]
    return dtype != pl.Null and kind_of(dtype, table) == since.kind


def _value(name: str, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    """The column as something to compare; null where it cannot be read."""
    column = pl.col(name)
    if kind == "moment":
        return column.cast(TIMESTAMP_DTYPE)
    if kind == "local":
        return column.cast(pl.Datetime("us"))
    if dtype == pl.String and kind == "date":
        return column.str.strip_chars().str.slice(0, DAY_LENGTH).str.to_date("%Y-%m-%d", strict=False)
    if dtype == pl.String:
        return column.str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(column.is_finite()).then(column) if dtype.is_float() else column


def _limit(kind: Kind, table: Table, latest: datetime) -> datetime | date | int | None:
    """The last value that is no mistake; a number has one only when it is a time."""
    if kind == "moment":
        return latest
    local = latest.astimezone(UTC).replace(tzinfo=None) + MAX_AHEAD
    if kind == "local":
        return local
    if kind == "date":
        return local.date()
    if table.time_format in PER_SECOND:
        return math.ceil(latest.timestamp() * PER_SECOND[table.time_format])
    return None


def _called(table: Table) -> str:
    return f"watermark {table.watermark!r} of table {table.name!r}"


def load_watermark(lake: Lake, table: Table, mark: str) -> Watermark | None:
    """Where the table's last ingest ended; none where `mark`, which stands for what it reads, was another."""
    file = _file(lake, table)
    if not file.exists():
        return None
    stored = read_json(file)
    if stored["mark"] != mark:
        return None
    read = {"moment": datetime.fromisoformat, "local": datetime.fromisoformat, "date": date.fromisoformat}
    return Watermark(stored["kind"], read.get(stored["kind"], Decimal)(stored["value"]))


def keep_watermark(lake: Lake, table: Table, mark: str, watermark: Watermark) -> None:
    """Write down how far the table has been read, once all of its rows are in the lake."""
    value = watermark.value if isinstance(watermark.value, Decimal) else watermark.value.isoformat()
    write_json(_file(lake, table), {"mark": mark, "kind": watermark.kind, "value": str(value)})


def _file(lake: Lake, table: Table) -> Path:
    return lake.directory / "watermarks" / f"{table.name}.json"
