"""Expressions over the columns of a source, which settings give as columns, paths into nested columns, or SQL."""

from collections.abc import Collection, Iterator

import polars as pl

from jobs.ingest.files import REQUIRED, SCHEMAS
from jobs.ingest.formats.chunks import first_line
from jobs.ingest.formats.numbers import Numbers, with_numbers
from jobs.ingest.nested import PATH_IN_SQL, add_paths, is_path_into, quote_paths
from jobs.ingest.times import join_date_and_time
from recsys.errors import SettingsError, SourceError
from recsys.schema import ATTRIBUTES, CATEGORIES, CATEGORY, TIMESTAMP_DTYPE
from recsys.settings import Table


def filter_rows(rows: pl.DataFrame, table: Table, numbers: Numbers | None = None) -> tuple[pl.DataFrame, int]:
    """Return the rows that satisfy `table.where`, and the number of the others.

    With `numbers`, columns of text are numbers where the condition needs them. Raises
    `SettingsError` when it is no SQL condition, `SourceError` when it cannot be computed from the columns.
    """
    if table.where is None:
        return rows, 0
    setting = f"sources.tables.{table.name}.where"
    wide = add_paths(rows, [table.where], setting)
    try:
        condition = pl.sql_expr(quote_paths(table.where, wide.columns))
    except pl.exceptions.PolarsError:
        raise SettingsError(f"{setting} = {table.where!r}: expected an SQL condition") from None
    missing = [root for root in condition.meta.root_names() if root not in wide.columns]
    if missing:
        raise SourceError(
            f"{setting} = {table.where!r}: there is no column {missing[0]!r}; "
            f"the source has {', '.join(rows.columns)}"
        )
    try:
        condition = with_numbers(table.where, condition, wide, table, numbers)
        holds = wide.select(condition.alias("holds")).to_series()
    except pl.exceptions.PolarsError as error:
        reason = first_line(error)
        cast = "; columns of text are no numbers: compare CAST(column AS DOUBLE)" if "string" in reason else ""
        raise SourceError(f"{setting} = {table.where!r} cannot be computed: {reason}{cast}") from None
    if holds.dtype != pl.Boolean:
        raise SettingsError(
            f"{setting} = {table.where!r}: expected an SQL condition, not a value of type {holds.dtype}"
        )
    if len(holds) == 1 != rows.height:
        holds = holds.new_from_index(0, rows.height)
    kept = rows.filter(holds)
    return kept, rows.height - kept.height


def mapped_texts(table: Table, earlier_columns: Collection[str], schema: pl.Schema) -> Iterator[str]:
    """Yield each text of the mapping that may hold a path, except optional ones into a field that was removed."""
    for name, mapped in table.columns.items():
        for part in (mapped,) if isinstance(mapped, str) else mapped:
            if name in REQUIRED[table.kind] or not is_path_into(part, schema, earlier_columns):
                yield part
    yield from (text for text in (table.time_zone_column, table.currency_column) if text is not None)


def column_expression(
    name: str,
    rows: pl.DataFrame,
    table: Table,
    earlier_columns: Collection[str],
    numbers: Numbers | None = None,
) -> pl.Expr:
    """Return one contract column as an expression over the source's columns; see `map_source` on `numbers`."""
    mapped = table.columns.get(name)
    required = name in REQUIRED[table.kind]
    if mapped is None or (mapped == name and not required and name not in rows.columns):
        return pl.lit(None)
    dispensable = frozenset() if required else earlier_columns
    if isinstance(mapped, str):
        return _column(mapped, name, rows, table, dispensable, numbers)
    columns = [_column(part, name, rows, table, dispensable, numbers) for part in mapped]
    if name in (CATEGORY, CATEGORIES):
        return pl.concat_list(column.cast(pl.String) for column in columns)
    if name == ATTRIBUTES:
        return pl.struct(column.alias(part) for column, part in zip(columns, mapped, strict=True))
    if SCHEMAS[table.kind].columns()[name].dtype == TIMESTAMP_DTYPE and len(columns) == 2:
        date, time = rows.select(date=columns[0], time=columns[1])
        return pl.lit(pl.select(join_date_and_time(pl.lit(date), date.dtype, pl.lit(time), time.dtype)).to_series())
    raise SettingsError(
        f"sources.tables.{table.name}.columns.{name} = {list(mapped)!r}: expected a column or an SQL expression; "
        f"only {CATEGORY}, {CATEGORIES} and {ATTRIBUTES} take a list, and times take a date and a time"
    )


def side_column(mapped: str, rows: pl.DataFrame, table: Table, setting: str) -> str:
    """Return the name of a column that is named by a setting of its own; raises `SourceError` if there is none."""
    if mapped not in rows.columns:
        raise SourceError(
            f"sources.tables.{table.name}.{setting} = {mapped!r}: there is no such column; "
            f"the source has {', '.join(rows.columns)}"
        )
    return mapped


def _column(
    mapped: str,
    name: str,
    rows: pl.DataFrame,
    table: Table,
    dispensable: Collection[str],
    numbers: Numbers | None,
) -> pl.Expr:
    if mapped in rows.columns:
        return pl.col(mapped)
    if is_path_into(mapped, rows.schema, dispensable):
        return pl.lit(None)
    try:
        expression = pl.sql_expr(quote_paths(mapped, rows.columns))
        missing = [root for root in expression.meta.root_names() if root not in rows.columns]
    except pl.exceptions.PolarsError:
        if PATH_IN_SQL.fullmatch(mapped) is None:
            raise SettingsError(
                f"sources.tables.{table.name}.columns.{name} = {mapped!r}: expected a column or an SQL expression"
            ) from None
        expression, missing = pl.lit(None), [mapped.partition(".")[0]]
    if not missing:
        is_number = pl.Schema(SCHEMAS[table.kind])[name].is_numeric()
        return with_numbers(mapped, expression, rows, table, numbers, is_number)
    if set(missing) <= set(dispensable):
        return pl.lit(None)
    root = next(root for root in missing if root not in dispensable)
    source = "file" if table.query is None else "query"
    columns = ", ".join(rows.columns) or "no JSON object"
    raise SourceError(f"column {root!r} of table {table.name!r} is missing; the {source} has {columns}")
