"""Map the columns, event names, ids, amounts and times of a source to the contract (`recsys.schema`)."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from jobs.ingest.amounts import check_separators, read_amounts, read_booleans
from jobs.ingest.column_readings import ColumnReading, as_text
from jobs.ingest.expressions import column_expression, filter_rows, mapped_texts, side_column
from jobs.ingest.files import REQUIRED, SCHEMAS
from jobs.ingest.formats.category_paths import (
    check_category_separators,
    count_several_paths,
    join_paths,
    read_paths,
    unite_paths,
)
from jobs.ingest.formats.numbers import Numbers
from jobs.ingest.ids import clean_ids
from jobs.ingest.nested import LINE, add_nulls, add_paths, check_explode, explode_rows, storable_rows
from jobs.ingest.times import DAY_FIRST, MONTH_FIRST, check_time_format, detect_day_order, read_times
from recsys.errors import SettingsError, SourceError
from recsys.event_ids import row_hash
from recsys.markup import MARKUP, plain_text
from recsys.schema import (
    ATTRIBUTES,
    BRAND,
    CATEGORIES,
    CATEGORY,
    CATEGORY_SEPARATOR,
    EVENT,
    EVENT_ID,
    TEXT,
    TIMESTAMP_DTYPE,
    TITLE,
)
from recsys.settings import Sources, Table

RULES = "rules"  # column: names of the rules that a row broke, separated by commas
ROW = "row"  # column: position of a row among the mapped rows
SOURCE_ROW = "source_row"  # column: a rejected row in all columns and types of its source
ID_SUFFIX = "_id"
WRITTEN = (TITLE, BRAND, TEXT, CATEGORY, CATEGORIES)  # columns that may be written in HTML


@dataclass(frozen=True)
class MappingCounts:
    """What was done to the rows of a source, for people to check."""

    filtered: int = 0
    """Rows that fail the condition `where`."""
    without_elements: int = 0
    """Rows whose list to explode is empty or missing."""
    changed_ids: Mapping[str, int] = field(default_factory=dict[str, int])
    """Column -> ids in which white space or a trailing `.0` was changed."""
    null_ids: Mapping[str, int] = field(default_factory=dict[str, int])
    """Column -> ids that mean no id."""
    time_formats: Mapping[str, int] = field(default_factory=dict[str, int])
    """Detected format other than ISO 8601 -> times."""
    currencies: Mapping[str, int] = field(default_factory=dict[str, int])
    """Currency -> amounts with it, or rows if a column holds it."""
    markup: Mapping[str, int] = field(default_factory=dict[str, int])
    """Column -> texts in HTML, of which the plain text is kept."""
    several_paths: int = 0
    """Category cells that look like several paths, and are read as one."""

    def messages(self) -> list[str]:
        """Return a line for each kind of change, and one if amounts are in several currencies."""
        lines = [f"{self.filtered:,} rows are left out by the condition `where`"] if self.filtered else []
        if self.without_elements:
            lines.append(f"{self.without_elements:,} rows have no elements to explode")
        lines += [f"{ids:,} values of {name} were trimmed or rewritten" for name, ids in self.changed_ids.items()]
        lines += [f"{ids:,} values of {name} mean no id (null_ids)" for name, ids in self.null_ids.items()]
        lines += [f"{texts:,} values of {name} had HTML, which was removed" for name, texts in self.markup.items()]
        lines += [f"{times:,} times were read as {name}" for name, times in self.time_formats.items()]
        if self.several_paths:
            lines.append(
                f"{self.several_paths:,} values of category look like several paths, as in A > B, C > D: "
                "category_list_separator splits them"
            )
        if len(self.currencies) > 1:
            amounts = ", ".join(f"{count:,} in {name}" for name, count in self.currencies.items())
            lines.append(f"amounts are in several currencies, and are not converted: {amounts}")
        return lines

    def plus(self, other: "MappingCounts") -> "MappingCounts":
        """Return the sums of two counts."""
        return MappingCounts(
            self.filtered + other.filtered,
            self.without_elements + other.without_elements,
            Counter(self.changed_ids) + Counter(other.changed_ids),
            Counter(self.null_ids) + Counter(other.null_ids),
            Counter(self.time_formats) + Counter(other.time_formats),
            Counter(self.currencies) + Counter(other.currencies),
            Counter(self.markup) + Counter(other.markup),
            self.several_paths + other.several_paths,
        )


@dataclass(frozen=True)
class MappedRows:
    """The rows of a source in the contract's columns; all its frames have the same rows in the same order."""

    rows: pl.DataFrame
    """The contract's columns; null where a value cannot be read."""
    given: pl.DataFrame
    """The contract's columns as the source has them, before they are converted."""
    source_rows: pl.DataFrame
    """The columns of the source, one row per element of an exploded list, without rows that `where` leaves out."""
    broken_rules: pl.Series
    """Names of the rules that say what cannot be read in a row, separated by commas; null if all can be read."""
    counts: MappingCounts
    table: Table
    """The table, with the order of day and month if the rows decide it."""

    def readable(self) -> pl.DataFrame:
        """Return the rows in which all values can be read, with their positions in a first column `ROW`."""
        return self.rows.with_row_index(ROW).filter(self.broken_rules.is_null())

    def rejected(self, positions: pl.Series, rules: pl.Series) -> pl.DataFrame:
        """Return the rows that cannot be read, and those at `positions`, which break the rules named beside them.

        `RULES` is the first column. Every value is text: as the source has it where it was not read. The row of
        the source itself is in `SOURCE_ROW`.
        """
        unreadable = self.broken_rules.is_not_null().arg_true()
        order = pl.concat([unreadable, positions.cast(unreadable.dtype)])
        names = pl.concat([self.broken_rules.filter(self.broken_rules.is_not_null()), rules.cast(pl.String)])
        rows, given = self.rows[order], self.given[order]
        texts = (
            pl.when(column.is_null()).then(_text(given[column.name])).otherwise(_text(column)).alias(column.name)
            for column in rows
        )
        rejected = pl.DataFrame({RULES: names}).with_columns(texts)
        if not self.source_rows.width:
            return rejected
        return rejected.with_columns(storable_rows(self.source_rows[order]).to_struct(SOURCE_ROW))


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
    check_separators(table)
    check_category_separators(table)
    check_explode(table)
    check_time_format(table)


def map_rows(
    rows: pl.DataFrame,
    table: Table,
    sources: Sources,
    earlier_columns: Collection[str] = frozenset(),
    numbers: Numbers | None = None,
) -> pl.DataFrame:
    """Return the rows in the contract's columns, not yet validated; a value that cannot be read is null.

    Raises as `map_source` does.
    """
    return map_source(rows, table, sources, earlier_columns, numbers).rows


def map_source(
    rows: pl.DataFrame,
    table: Table,
    sources: Sources,
    earlier_columns: Collection[str] = frozenset(),
    numbers: Numbers | None = None,
) -> MappedRows:
    """Map rows to the contract's columns: explode lists, leave out what `where` does not name, read every value.

    With `numbers`, columns of text are numbers in SQL expressions that need them. An optional column that is
    computed from one of `earlier_columns`, which the source no longer has, is null. Raises `SourceError` when the
    source lacks another column that the mapping names, or when nothing decides whether 12/1/2010 is in December;
    `PolarsError` when a column's type cannot be converted.
    """
    schema = pl.Schema(SCHEMAS[table.kind])
    exploded, without_elements = explode_rows(rows, table)
    lines = exploded
    if table.missing_columns == "null":
        lines = add_nulls(exploded, [table.where or "NULL", *mapped_texts(table, (), exploded.schema)])
    kept, filtered = filter_rows(lines, table, numbers)
    wide = add_paths(
        kept, mapped_texts(table, earlier_columns, kept.schema), f"sources.tables.{table.name}.columns"
    )
    given = wide.with_columns(
        column_expression(name, wide, table, earlier_columns, numbers).alias(name) for name in schema
    ).select(*schema)
    table = _with_day_order(table, given, schema)
    counts = MappingCounts(filtered, without_elements)
    columns: list[pl.Series] = []
    broken: list[pl.Series] = []
    zones = (
        wide[side_column(table.time_zone_column, wide, table, "time_zone_column")]
        if table.time_zone_column
        else None
    )
    names = list(schema)
    read = partial(_read, given, table=table, sources=sources, zones=zones)
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:  # Polars works on one column with one thread
        readings = list(threads.map(read, names, schema.values()))
    for name, (reading, count) in zip(names, readings, strict=True):
        columns.append(reading.values.alias(name))
        counts = counts.plus(count)
        if reading.advice is not None:
            broken.append(_broken_rule(name, reading.advice))
    if table.currency_column is not None:
        counts = counts.plus(MappingCounts(currencies=_currencies(wide, table)))
    mapped = pl.DataFrame(columns)
    if table.kind == "events":
        mapped = mapped.with_columns(_event_ids(schema, wide))
    elif table.kind == "items":
        mapped = unite_paths(mapped)
    source_rows = kept.select(exploded.columns)
    return MappedRows(mapped, given, source_rows, _broken_rules(broken, mapped.height), counts, table)


def _read(
    given: pl.DataFrame,
    name: str,
    expected: pl.DataType,
    table: Table,
    sources: Sources,
    zones: pl.Series | None,
) -> tuple[ColumnReading, MappingCounts]:
    """Return a column of the contract as its type, and what was done to it."""
    values = given[name]
    if expected == TIMESTAMP_DTYPE:
        times = read_times(values, table.time_format, table.time_zone or sources.time_zone, zones)
        return times, MappingCounts(time_formats=times.counts)
    if expected == pl.Float64 and (values.dtype == pl.String or not values.dtype.is_nested()):
        amounts = read_amounts(values, table)
        return amounts, MappingCounts(currencies=amounts.counts)
    if expected == pl.Boolean:
        return read_booleans(values), MappingCounts()
    if name.endswith(ID_SUFFIX):
        ids, changed, nulls = clean_ids(name, values, table, sources)
        return ColumnReading(ids), MappingCounts(changed_ids=_count(name, changed), null_ids=_count(name, nulls))
    values, texts = _without_markup(values) if name in WRITTEN else (values, 0)
    if name in (CATEGORY, CATEGORIES):
        several = count_several_paths(values, table)
        return ColumnReading(read_paths(name, values, table)), MappingCounts(
            markup=_count(name, texts), several_paths=several
        )
    converted = values.to_frame(name).select(_convert(name, values.dtype, expected, table))
    return ColumnReading(converted.to_series()), MappingCounts(markup=_count(name, texts))


def _without_markup(values: pl.Series) -> tuple[pl.Series, int]:
    """Return texts as plain text, null where nothing is left, and the number that had markup."""
    if values.dtype != pl.String:
        return values, 0
    positions = values.str.contains(MARKUP).fill_null(value=False).arg_true()
    if not positions.len():
        return values, 0
    plain = pl.Series([plain_text(text) or None for text in values[positions]], dtype=pl.String)
    return values.scatter(positions, plain), positions.len()


def _convert(name: str, dtype: pl.DataType, expected: pl.DataType, table: Table) -> pl.Expr:
    column = pl.col(name)
    if name == EVENT:
        return as_text(column, dtype).replace(table.events)
    if name == ATTRIBUTES and isinstance(dtype, pl.Struct):
        return column.struct.json_encode()
    return as_text(column, dtype) if expected == pl.String else column


def _with_day_order(table: Table, given: pl.DataFrame, schema: pl.Schema) -> Table:
    """Return the table with the order of day and month that its times decide; raises `SourceError` if none does."""
    if table.time_format is not None:
        return table
    for name, dtype in schema.items():
        if dtype == TIMESTAMP_DTYPE and given.schema[name] == pl.String:
            order, example = detect_day_order(given[name])
            if order is not None:
                return replace(table, time_format=order)
            if example is not None:
                raise SourceError(
                    f"{name} of table {table.name!r}: nothing decides whether {example!r} has the day or the month "
                    f"first: set time_format = {DAY_FIRST!r} or {MONTH_FIRST!r}"
                )
    return table


def _event_ids(schema: pl.Schema, rows: pl.DataFrame) -> pl.Expr:
    """Return the id of each event, made of the row if none is given; its line is added if one event has several."""
    ids = pl.coalesce(EVENT_ID, row_hash(schema)).alias(EVENT_ID)
    return pl.concat_str(ids, pl.lit(rows[LINE]), separator="-").alias(EVENT_ID) if LINE in rows.columns else ids


def _currencies(rows: pl.DataFrame, table: Table) -> dict[str, int]:
    column = rows[side_column(str(table.currency_column), rows, table, "currency_column")].alias("currency")
    named = column.cast(pl.String).str.strip_chars().str.to_uppercase().drop_nulls()
    return dict(named.filter(named != "").value_counts().sort("currency").iter_rows())


def _broken_rule(name: str, advice: pl.Series) -> pl.Series:
    """Return the rule that a column is readable where it is broken, with the advice on settings if there is any."""
    rule = pl.when(pl.col("advice") == "").then(pl.lit(f"{name}_is_readable"))
    rule = rule.otherwise(pl.format(f"{name}_is_readable: {{}}", "advice"))
    frame = advice.alias("advice").to_frame()
    return frame.select(pl.when(pl.col("advice").is_not_null()).then(rule).alias(name)).to_series()


def _broken_rules(rules: Iterable[pl.Series], height: int) -> pl.Series:
    frame = pl.DataFrame(list(rules))
    if not frame.width:
        return pl.Series(RULES, [None], dtype=pl.String).new_from_index(0, height)
    joined = pl.concat_str(pl.all(), separator=", ", ignore_nulls=True)
    return frame.select(pl.when(~pl.all_horizontal(pl.all().is_null())).then(joined).alias(RULES)).to_series()


def _count(name: str, number: int) -> dict[str, int]:
    return {name: number} if number else {}


def _text(column: pl.Series) -> pl.Series:
    """Return a column as text, lists joined by `CATEGORY_SEPARATOR`."""
    if isinstance(column.dtype, pl.List) and isinstance(column.dtype.inner, pl.List):
        return column.to_frame().select(join_paths(column.name)).to_series()
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String)).list.join(CATEGORY_SEPARATOR)
    return column.struct.json_encode() if isinstance(column.dtype, pl.Struct) else column.cast(pl.String)
