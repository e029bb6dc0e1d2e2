"""Map the columns, event names and times of a source to the contract (`recsys.schema`)."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import polars as pl

from jobs.ingest.files import REQUIRED, SCHEMAS
from recsys.errors import SettingsError, SourceError
from recsys.event_ids import row_hash
from recsys.schema import ATTRIBUTES, CATEGORY, CATEGORY_SEPARATOR, EVENT, EVENT_ID, TIMESTAMP_DTYPE
from recsys.settings import Sources, Table

MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
ISO_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
ISO_FORMATS_WITH_OFFSET = ("%+", "%Y-%m-%d %H:%M:%S%.f%#z")
OFFSETS = ("%z", "%:z", "%#z", "%+")
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


def check_table(table: Table) -> None:
    """Raise `SettingsError` for a table that cannot be read.

    It must have either files or a query, map only columns of the contract, and map all required ones.
    """
    if bool(table.files) == (table.query is not None):
        raise SettingsError(f"sources.tables.{table.name}: expected either files or query")
    contract = SCHEMAS[table.kind].column_names()
    for name in table.columns:
        if name not in contract:
            raise SettingsError(
                f"sources.tables.{table.name}.columns: {name!r} is not a column of {table.kind}; "
                f"expected some of {', '.join(contract)}"
            )
    missing = [name for name in REQUIRED[table.kind] if name not in table.columns]
    if missing:
        raise SettingsError(f"sources.tables.{table.name}.columns: {missing[0]!r} is missing")


def map_rows(
    rows: pl.DataFrame, table: Table, sources: Sources, earlier_columns: Collection[str] = frozenset()
) -> pl.DataFrame:
    """Return the rows in the contract's columns, not yet validated.

    An optional column that is computed from one of `earlier_columns`, which the source no longer has, is null. A
    number that cannot be read keeps its text; a time that cannot be read is null. Raises `SourceError` when the
    source lacks another column that the mapping names, and `PolarsError` when a column's type cannot be converted.
    """
    schema = pl.Schema(SCHEMAS[table.kind])
    expressions = (_expression(name, rows, table, earlier_columns).alias(name) for name in schema)
    mapped = rows.with_columns(expressions).select(*schema)
    converted = mapped.select(
        _convert(name, mapped.schema[name], schema[name], table, sources).alias(name) for name in schema
    )
    if table.kind != "events":
        return converted
    return converted.with_columns(pl.coalesce(EVENT_ID, row_hash(schema)).alias(EVENT_ID))


def _expression(name: str, rows: pl.DataFrame, table: Table, earlier_columns: Collection[str]) -> pl.Expr:
    """Return one contract column as an expression over the source's columns."""
    mapped = table.columns.get(name)
    required = name in REQUIRED[table.kind]
    if mapped is None or (mapped == name and not required and name not in rows.columns):
        return pl.lit(None)
    dispensable = frozenset() if required else earlier_columns
    if isinstance(mapped, str):
        return _column(mapped, name, rows, table, dispensable)
    columns = [_column(part, name, rows, table, dispensable) for part in mapped]
    if name == CATEGORY:
        return pl.concat_list(column.cast(pl.String) for column in columns)
    if name == ATTRIBUTES:
        return pl.struct(column.alias(part) for column, part in zip(columns, mapped, strict=True))
    raise SettingsError(
        f"sources.tables.{table.name}.columns.{name} = {list(mapped)!r}: "
        f"expected a column or an SQL expression; only {CATEGORY} and {ATTRIBUTES} take a list"
    )


def _column(mapped: str, name: str, rows: pl.DataFrame, table: Table, dispensable: Collection[str]) -> pl.Expr:
    if mapped in rows.columns:
        return pl.col(mapped)
    try:
        expression = pl.sql_expr(mapped)
    except pl.exceptions.PolarsError:
        raise SettingsError(
            f"sources.tables.{table.name}.columns.{name} = {mapped!r}: expected a column or an SQL expression"
        ) from None
    missing = [root for root in expression.meta.root_names() if root not in rows.columns]
    if not missing:
        return expression
    if set(missing) <= set(dispensable):
        return pl.lit(None)
    root = next(root for root in missing if root not in dispensable)
    source = "file" if table.query is None else "query"
    raise SourceError(
        f"column {root!r} of table {table.name!r} is missing; the {source} has {', '.join(rows.columns)}"
    )


def _convert(name: str, dtype: pl.DataType, expected: pl.DataType, table: Table, sources: Sources) -> pl.Expr:
    column = pl.col(name)
    if expected == TIMESTAMP_DTYPE:
        return _as_time(column, dtype, table, sources)
    if name == EVENT:
        return _as_text(column, dtype).replace(table.events)
    if name == CATEGORY:
        return _as_path(column, dtype)
    if name == ATTRIBUTES and isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    return _as_text(column, dtype) if expected == pl.String else column


def _as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return numbers as decimal text, whole ones without a point; NaN and infinity become null."""
    if dtype.is_decimal():  # of any length
        return column.cast(pl.String).str.replace(r"\.0*$", "")
    if dtype.is_float():
        finite = pl.when(column.is_finite()).then(column)
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole == column).then(whole.cast(pl.String)).otherwise(finite.cast(pl.String))
    return column.cast(pl.String)


def _as_path(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    levels = column if isinstance(dtype, pl.List) else column.cast(pl.String).str.split(CATEGORY_SEPARATOR)
    named = levels.cast(pl.List(pl.String)).list.eval(
        pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
    )
    return pl.when(named.list.len() > 0).then(named)


def _as_time(column: pl.Expr, dtype: pl.DataType, table: Table, sources: Sources) -> pl.Expr:
    zone = table.time_zone or sources.time_zone
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return _in_calendar(column.cast(TIMESTAMP_DTYPE, strict=False))
    if isinstance(dtype, pl.Datetime | pl.Date):
        return _localized(column.cast(pl.Datetime("us"), strict=False), zone)
    if table.time_format in MICROSECONDS:
        microseconds = (column.cast(pl.Float64, strict=False) * MICROSECONDS[table.time_format]).round()
        return _in_calendar(microseconds.cast(pl.Int64, strict=False).cast(TIMESTAMP_DTYPE))
    text = column.cast(pl.String).str.strip_chars()
    if table.time_format is None:
        return pl.coalesce(
            _parse(text, ISO_FORMATS_WITH_OFFSET, "UTC"), _localized(_parse(text, ISO_FORMATS), zone)
        )
    if any(offset in table.time_format for offset in OFFSETS):
        return _parse(text, [table.time_format], "UTC")
    return _localized(_parse(text, [table.time_format]), zone)


def _parse(text: pl.Expr, formats: Iterable[str], zone: str | None = None) -> pl.Expr:
    """Parse a text as a time by the first format that fits; null if none does."""
    return pl.coalesce(
        [text.str.to_datetime(time_format, time_unit="us", time_zone=zone, strict=False) for time_format in formats]
    )


def _localized(naive: pl.Expr, zone: str) -> pl.Expr:
    """Convert local times to UTC; a repeated hour in autumn is the first one, a skipped hour in spring is null."""
    time = _in_calendar(naive.dt.replace_time_zone("UTC")).dt.replace_time_zone(None)
    local = time.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _in_calendar(time: pl.Expr) -> pl.Expr:
    """Return times in UTC; null outside the years 1 to 9999, which Polars cannot convert."""
    return pl.when(time.is_between(FIRST, LAST)).then(time)
