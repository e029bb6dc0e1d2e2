"""Watermarks: the greatest value of a table's watermark column so far, from which its next ingest starts.

They are stored in the lake, `watermarks/<table>.json`, once all rows up to them are in the lake.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import polars as pl

from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.files import load_json, read_json, write_json
from recsys.schema import TIMESTAMP_DTYPE
from recsys.settings import Table

MAX_UTC_OFFSET = timedelta(hours=14)  # the maximum that a local time is ahead of UTC
UNITS_PER_SECOND = {"epoch_s": 1, "epoch_ms": 1_000}
DAY_LENGTH = len("2024-01-31")
READ_FROM_START = "remove it, and the next ingest reads the table from its start"
Kind = Literal["moment", "local", "date", "number"]


@dataclass(frozen=True)
class Watermark:
    """A time in UTC (`moment`), a local time, a date (of text: its first ten characters), or a number."""

    kind: Kind
    value: datetime | date | Decimal

    def lowered(self, lateness: float) -> "Watermark":
        """Return the watermark minus the lateness, in days or in units of numbers; round dates and numbers down."""
        if isinstance(self.value, Decimal):
            return Watermark(self.kind, Decimal(math.floor(self.value - Decimal(str(lateness)))))
        days = math.ceil(lateness) if self.kind == "date" else lateness
        return Watermark(self.kind, self.value - timedelta(days=days))


def watermark_kind(dtype: pl.DataType, table: Table) -> Kind:
    """Return the kind of watermark in a column of this type; raises `SourceError` for a type that has no order."""
    if isinstance(dtype, pl.Datetime):
        return "local" if dtype.time_zone is None else "moment"
    if dtype == pl.String:
        return "number" if table.time_format in UNITS_PER_SECOND else "date"
    if dtype == pl.Date:
        return "date"
    if dtype.is_numeric():
        return "number"
    raise SourceError(f"{_display_name(table)} is of type {dtype}; expected a time or a number")


def check_watermark(schema: pl.Schema, table: Table) -> None:
    """Raise `SourceError` when the watermark column is missing, or is neither a time nor a number."""
    if table.watermark is None:
        return
    if table.watermark not in schema:
        raise SourceError(f"{_display_name(table)} is missing; the columns are {', '.join(schema)}")
    if schema[table.watermark] != pl.Null:
        watermark_kind(schema[table.watermark], table)


def greatest_watermark(rows: pl.DataFrame, table: Table, latest: datetime) -> Watermark | None:
    """Return the greatest watermark of some rows; values after `latest` come from a wrong clock and are ignored.

    Raises `SourceError` when the column has values and none can be read.
    """
    assert table.watermark is not None
    column = rows[table.watermark]
    if column.null_count() == column.len():
        return None
    kind = watermark_kind(column.dtype, table)
    values = rows.select(_comparable(table.watermark, kind, column.dtype)).to_series()
    if values.null_count() == values.len():
        raise SourceError(f"{_display_name(table)}: {column.drop_nulls()[0]!r} is not a time such as 2024-01-31")
    limit = _limit(kind, table, latest)
    greatest = (values if limit is None else values.filter(values <= limit)).max()
    if greatest is None:
        return None
    return Watermark(kind, greatest if isinstance(greatest, date) else Decimal(str(greatest)))


def later_watermark(first: Watermark | None, second: Watermark | None) -> Watermark | None:
    """Return the greater of two watermarks; the second if the column has changed its kind in between."""
    if first is None or second is None:
        return first or second
    if first.kind != second.kind:
        return second
    return max(first, second, key=lambda watermark: watermark.value)


def rows_from(rows: pl.DataFrame, table: Table, start: Watermark | None) -> pl.DataFrame:
    """Return the rows from a watermark on and those without one; all rows if the column now has another kind."""
    name = table.watermark
    if start is None or name is None or not is_applicable(start, rows.schema, table):
        return rows
    value = _comparable(name, start.kind, rows.schema[name])
    bound = int(start.value) if isinstance(start.value, Decimal) else start.value
    return rows.filter(value.is_null() | (value >= bound))


def is_applicable(start: Watermark, schema: pl.Schema, table: Table) -> bool:
    """Return whether a watermark has the current kind of its column."""
    dtype = schema[table.watermark or ""]
    return dtype != pl.Null and watermark_kind(dtype, table) == start.kind


def load_watermark(lake: Lake, table: Table, query_fingerprint: str) -> Watermark | None:
    """Return the table's stored watermark; None if there is none, or it was stored with another fingerprint."""
    file = _file(lake, table)
    if not file.exists():
        return None
    mark, watermark = load_json(file, _parse, READ_FROM_START)
    return watermark if mark == query_fingerprint else None


def store_watermark(lake: Lake, table: Table, query_fingerprint: str, watermark: Watermark) -> None:
    """Store the table's watermark, once all rows up to it are in the lake."""
    value = watermark.value if isinstance(watermark.value, Decimal) else watermark.value.isoformat()
    write_json(_file(lake, table), {"mark": query_fingerprint, "kind": watermark.kind, "value": str(value)})


def stored_watermarks(lake: Lake) -> dict[str, Any]:
    """Return the stored watermarks of all tables as `restore_watermarks` takes them."""
    return {
        file.stem: read_json(file, READ_FROM_START)
        for file in sorted((lake.directory / "watermarks").glob("*.json"))
    }


def restore_watermarks(lake: Lake, tables: Iterable[str], stored: Mapping[str, Any]) -> None:
    """Restore earlier watermarks of some tables; a table that had none is read from its start again."""
    for table in tables:
        file = lake.directory / "watermarks" / f"{table}.json"
        if table in stored:
            write_json(file, stored[table])
        else:
            file.unlink(missing_ok=True)


def _parse(stored: Mapping[str, Any]) -> tuple[str, Watermark]:
    """Return the fingerprint of a stored watermark, and the watermark."""
    parsers = {"moment": datetime.fromisoformat, "local": datetime.fromisoformat, "date": date.fromisoformat}
    return stored["mark"], Watermark(stored["kind"], parsers.get(stored["kind"], Decimal)(stored["value"]))


def _comparable(name: str, kind: Kind, dtype: pl.DataType) -> pl.Expr:
    """Return the column in a type that compares with watermarks; null if a value cannot be read."""
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
    """Return the greatest plausible value; a number has one only if it is a time."""
    if kind == "moment":
        return latest
    local = latest.astimezone(UTC).replace(tzinfo=None) + MAX_UTC_OFFSET
    if kind == "local":
        return local
    if kind == "date":
        return local.date()
    if table.time_format in UNITS_PER_SECOND:
        return math.ceil(latest.timestamp() * UNITS_PER_SECOND[table.time_format])
    return None


def _display_name(table: Table) -> str:
    return f"watermark {table.watermark!r} of table {table.name!r}"


def _file(lake: Lake, table: Table) -> Path:
    return lake.directory / "watermarks" / f"{table.name}.json"
