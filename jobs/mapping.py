"""A shop's columns, event names and times mapped to the contract."""

import polars as pl
import polars_hash

from jobs.sources import REQUIRED, SCHEMAS
from recsys.errors import SettingsError, SourceError
from recsys.schema import (
    ATTRIBUTES,
    CATEGORY,
    CATEGORY_SEPARATOR,
    CREATED_AT,
    EVENT,
    EVENT_ID,
    ITEM_ID,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
)
from recsys.settings import Sources, Table

MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
ISO_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


def check_table(table: Table) -> None:
    """Raise `SettingsError` when a table maps to a column the contract lacks, or leaves out one it needs."""
    known = SCHEMAS[table.kind].column_names()
    for name in table.columns:
        if name not in known:
            raise SettingsError(
                f"sources.tables.{table.name}.columns: {name!r} is no column of {table.kind}; "
                f"expected some of {', '.join(known)}"
            )
    missing = [name for name in REQUIRED[table.kind] if name not in table.columns]
    if missing:
        raise SettingsError(f"sources.tables.{table.name}.columns: {missing[0]!r} is missing")


def map_rows(rows: pl.DataFrame, table: Table, sources: Sources) -> pl.DataFrame:
    """The rows in the contract's columns, not yet checked: what cannot be read keeps its text or is null.

    Raises `SourceError` when a column that the mapping names is not there.
    """
    schema = pl.Schema(SCHEMAS[table.kind])
    source = {name: _expression(name, rows, table) for name in schema}
    try:
        mapped = rows.select(expression.alias(name) for name, expression in source.items())
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0]
        raise SourceError(f"table {table.name!r}: its columns cannot be computed: {reason}") from None
    dtypes = mapped.schema
    converted = mapped.select(_convert(name, dtypes[name], table, sources).alias(name) for name in dtypes)
    if table.kind != "events":
        return converted
    return converted.with_columns(pl.coalesce(EVENT_ID, _row_hash(schema)).alias(EVENT_ID))


def _row_hash(schema: pl.Schema) -> pl.Expr:
    """An id made of all other columns, the same for equal rows on every machine and in every version."""
    columns = [pl.col(name).cast(dtype, strict=False) for name, dtype in schema.items() if name != EVENT_ID]
    return polars_hash.hash_rows(columns, version=1).nchash.xxh3_64().cast(pl.String)


def _expression(name: str, rows: pl.DataFrame, table: Table) -> pl.Expr:
    """What the mapping says of one contract column, over the file's columns."""
    mapped = table.columns.get(name)
    optional = mapped == name and name not in REQUIRED[table.kind]
    if mapped is None or (optional and name not in rows.columns):
        return pl.lit(None)
    if isinstance(mapped, str):
        return _column(mapped, name, rows, table)
    columns = [_column(part, name, rows, table) for part in mapped]
    if name == CATEGORY:
        return pl.concat_list(column.cast(pl.String) for column in columns)
    if name == ATTRIBUTES:
        return pl.struct(column.alias(part) for column, part in zip(columns, mapped, strict=True))
    raise SettingsError(
        f"sources.tables.{table.name}.columns.{name} = {list(mapped)!r}: "
        f"expected a column or an SQL expression; only {CATEGORY} and {ATTRIBUTES} take a list"
    )


def _column(mapped: str, name: str, rows: pl.DataFrame, table: Table) -> pl.Expr:
    if mapped in rows.columns:
        return pl.col(mapped)
    try:
        expression = pl.sql_expr(mapped)
    except pl.exceptions.PolarsError:
        raise SettingsError(
            f"sources.tables.{table.name}.columns.{name} = {mapped!r}: expected a column or an SQL expression"
        ) from None
    for root in expression.meta.root_names():
        if root not in rows.columns:
            raise SourceError(
                f"column {root!r} of table {table.name!r} is not there; the file has {', '.join(rows.columns)}"
            )
    return expression


def _convert(name: str, dtype: pl.DataType, table: Table, sources: Sources) -> pl.Expr:
    column = pl.col(name)
    if name in (EVENT_ID, USER_ID, ITEM_ID):
        return _as_text(column, dtype)
    if name in (TIMESTAMP, CREATED_AT):
        return _as_time(column, dtype, table, sources)
    if name == EVENT:
        return column.cast(pl.String).replace(table.events)
    if name == CATEGORY:
        return _as_path(column, dtype)
    if name == ATTRIBUTES and isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    return column


def _as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Numbers as their decimal text; a float without a fraction as the integer it is."""
    if dtype.is_float():
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole == column).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
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
        return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if isinstance(dtype, pl.Datetime | pl.Date):
        return _localized(column.cast(pl.Datetime("us")), zone)
    if table.time_format in MICROSECONDS:
        number = column.cast(pl.Float64, strict=False) * MICROSECONDS[table.time_format]
        return number.cast(pl.Int64, strict=False).cast(TIMESTAMP_DTYPE)
    text = column.cast(pl.String).str.strip_chars()
    if table.time_format is not None and "%z" in table.time_format:
        return text.str.to_datetime(table.time_format, time_unit="us", time_zone="UTC", strict=False)
    if table.time_format is not None:
        return _localized(text.str.to_datetime(table.time_format, time_unit="us", strict=False), zone)
    naive = [text.str.to_datetime(form, time_unit="us", strict=False) for form in ISO_FORMATS]
    aware = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return pl.coalesce(aware, _localized(pl.coalesce(naive), zone)).cast(TIMESTAMP_DTYPE)


def _localized(naive: pl.Expr, zone: str) -> pl.Expr:
    """Local times in UTC; the hour that autumn repeats is its first, the hour that spring skips is null."""
    local = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")
