"""Columns of delimited files, which are text, as numbers in SQL expressions."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

import polars as pl

from jobs.ingest.formats.chunks import Chunk, first_line
from jobs.ingest.formats.registry import read_chunks
from recsys.errors import SourceError
from recsys.settings import Table

CHUNK_ROWS = 100_000
MAX_SUBSET = 3  # of the columns of an expression that are numbers while others are text


@dataclass(frozen=True)
class NumericColumn:
    """The type of number that a column of text holds in a whole file, or a value of it that is no number."""

    dtype: pl.DataType | None
    example: str = ""


# A function from names of columns to what each holds; None for a source whose columns have types.
Numbers = Callable[[Collection[str]], Mapping[str, NumericColumn]]


def numeric_columns(chunks: Iterable[Chunk], names: Collection[str]) -> dict[str, NumericColumn]:
    """Return whether columns of a delimited file hold whole numbers, numbers or text.

    Every value that is not empty counts. A column without a value holds whole numbers.
    """
    found = {name: NumericColumn(pl.Int64()) for name in names}
    for chunk in chunks:
        for name, column in found.items():
            if column.dtype is not None:
                found[name] = _narrowed(column, chunk.rows[name])
    return found


def numbers_of(file: Path, table: Table) -> Numbers:
    """Return a function that gives what columns of a delimited file hold, and reads no column twice."""
    return numbers_in(lambda: read_chunks(file, table, CHUNK_ROWS))


def numbers_in(read: Callable[[], Iterable[Chunk]]) -> Numbers:
    """Return a function that gives what columns of the rows that `read` returns hold, and reads no column twice."""
    known: dict[str, NumericColumn] = {}

    def numbers(names: Collection[str]) -> Mapping[str, NumericColumn]:
        known.update(numeric_columns(read(), missing) if (missing := set(names) - known.keys()) else {})
        return known

    return numbers


def with_numbers(
    sql: str,
    expression: pl.Expr,
    rows: pl.DataFrame,
    table: Table,
    numbers: Numbers | None,
    is_number: bool = False,
) -> pl.Expr:
    """Return an SQL expression over rows, in which columns of text are numbers where it needs them.

    It needs them if it cannot be computed on text, or, where a number is expected (`is_number`), if it adds texts,
    which would join them. As few of its columns as possible are taken as numbers, and only those that hold numbers
    in the whole file. Raises `SourceError` with an example when they hold none.
    """
    texts = [name for name in dict.fromkeys(expression.meta.root_names()) if rows.schema[name] == pl.String]
    if numbers is None or not texts:
        return expression
    nulls = rows.clear(1)  # a row of nulls: without one, the branches of a CASE are not computed
    error = _error(nulls, expression, is_number and "+" in sql)
    if error is None:
        return expression
    columns = numbers(texts)
    types = {name: dtype for name in texts if (dtype := columns[name].dtype) is not None}
    for names in _subsets(list(types)):
        casts = [_as_number(pl.col(name), types[name]) for name in names]
        if _error(nulls.with_columns(casts), expression, is_number and "+" in sql) is None:
            return pl.lit(rows.with_columns(casts).with_columns(expression.alias("number"))["number"])
    name = _text_for_a_number(expression, nulls, texts, columns, is_number and "+" in sql)
    if name is None:
        raise pl.exceptions.ComputeError(error)
    mapping = re.sub(rf"\b{re.escape(name)}\b", f"TRY_CAST({name} AS DOUBLE)", sql)
    raise SourceError(
        f"column {name!r} of table {table.name!r} is text, as {columns[name].example!r} is no number, and "
        f"{sql!r} needs a number; expected a mapping such as {mapping!r}, which is null there"
    )


def _narrowed(column: NumericColumn, values: pl.Series) -> NumericColumn:
    """Return what a column holds, given more of its values."""
    frame = values.drop_nulls().alias("text").to_frame().filter(pl.col("text").str.strip_chars() != "")
    text = pl.col("text")
    number = _as_number(text, pl.Float64())
    others = frame.filter(number.is_null() | ~number.is_finite())
    if others.height:
        return NumericColumn(None, others["text"][0])
    is_whole = column.dtype == pl.Int64() and not frame.select(_as_number(text, pl.Int64()).is_null().any()).item()
    return NumericColumn(pl.Int64() if is_whole else pl.Float64())


def _as_number(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    return text.str.strip_chars().cast(dtype, strict=False)


def _error(nulls: pl.DataFrame, expression: pl.Expr, is_number: bool) -> str | None:
    """Return why an expression cannot be computed on a row of these types, or has text for a number; else None."""
    try:
        result = nulls.select(expression.alias("number"))
    except pl.exceptions.PolarsError as error:
        return first_line(error)
    is_text = is_number and result.schema["number"] == pl.String
    return "the result is text" if is_text else None


def _text_for_a_number(
    expression: pl.Expr,
    nulls: pl.DataFrame,
    names: list[str],
    columns: Mapping[str, NumericColumn],
    is_number: bool,
) -> str | None:
    """Return a column of text that the expression needs as a number; None if numbers would not help it."""
    for subset in _subsets(names):
        casts = [_as_number(pl.col(name), pl.Float64()) for name in subset]
        if _error(nulls.with_columns(casts), expression, is_number) is None:
            return next((name for name in subset if columns[name].dtype is None), None)
    return None


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield subsets of some names, the smallest first: those of up to `MAX_SUBSET` names, and all names."""
    sizes = [*range(1, min(len(names), MAX_SUBSET + 1)), len(names)] if names else []
    return chain.from_iterable(combinations(names, size) for size in sizes)
