"""Readings of text columns: the values, what is wrong with the others, and what is worth telling."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

Reader = Callable[[pl.DataFrame], pl.Series]


@dataclass(frozen=True)
class ColumnReading:
    """The values of a column, null where it is null and where it cannot be read."""

    values: pl.Series
    advice: pl.Series | None = None
    """For values that cannot be read: how to set up the table to read them, or an empty text; else null. None if
    all can be read."""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Format or currency -> number of values."""


def read_stepwise(
    rows: pl.DataFrame, readers: Mapping[str, Reader], dtype: pl.DataType
) -> tuple[pl.Series, Counter[str]]:
    """Read each row by the first reader that returns a value, and count the values of each reader.

    `rows` has a column `text`; a reader takes rows and returns one value of `dtype` for each. A reader gets only
    the rows that none before it could read, so that the usual format costs one pass.
    """
    values = pl.Series("values", [None], dtype=dtype).new_from_index(0, rows.height)
    counts: Counter[str] = Counter()
    remaining = rows["text"].is_not_null()
    for name, reader in readers.items():
        positions = remaining.arg_true()
        if not positions.len():
            break
        read = reader(rows[positions] if positions.len() < rows.height else rows)
        if read.null_count() == read.len():
            continue
        counts[name] += read.len() - read.null_count()
        values = read.alias("values") if positions.len() == rows.height else values.scatter(positions, read)
        remaining = values.is_null() & rows["text"].is_not_null()
    return values, counts


def as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return numbers as decimal text, whole ones without a point; NaN and infinity become null."""
    if dtype.is_decimal():  # of any length
        return column.cast(pl.String).str.replace(r"\.0*$", "")
    if dtype.is_float():
        finite = pl.when(column.is_finite()).then(column)
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole == column).then(whole.cast(pl.String)).otherwise(finite.cast(pl.String))
    return column.cast(pl.String)
