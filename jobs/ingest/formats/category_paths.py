"""Read the category paths of items: one path or several, in text, in lists, or in JSON."""

import re
from contextlib import suppress
from typing import Final

import msgspec
import polars as pl

from recsys.errors import SettingsError
from recsys.schema import CATEGORIES, CATEGORY, CATEGORY_SEPARATOR
from recsys.settings import Table

PATHS_DTYPE: Final = pl.List(pl.List(pl.String))
ESCAPED: Final = "\x1f"
"""Stands for an escaped separator while a cell is split; names of categories do not contain it."""
JSON_ARRAY: Final = r"(?s)^\s*\[.*\]\s*$"


def check_category_separators(table: Table) -> None:
    """Raise `SettingsError` when levels and paths of a cell have the same separator."""
    separator = table.category_list_separator
    if separator and separator.strip() == table.category_separator.strip():
        raise SettingsError(
            f"sources.tables.{table.name}.category_list_separator = {separator!r}: expected "
            "another separator than category_separator"
        )


def read_paths(name: str, values: pl.Series, table: Table) -> pl.Series:
    """Return the paths of each cell of `category` or `categories`, root first, without empty names and paths.

    Text is split by the separators of the table, and is read as a list if it is a JSON array. Lists of lists are
    paths. A list of texts is the levels of one path if it belongs to `category` and no text has the separator of
    levels; otherwise each text is a path.
    """
    separator = table.category_separator
    if isinstance(values.dtype, pl.List) and isinstance(values.dtype.inner, pl.List):
        return _clean(values.cast(PATHS_DTYPE))
    if isinstance(values.dtype, pl.List):
        is_levels = name == CATEGORY and isinstance(table.columns.get(name), tuple)
        lists = values.cast(pl.List(pl.String))
        return _clean(lists.to_frame(name).select(_paths_of_lists(name, separator, is_levels)).to_series())
    texts = values.cast(pl.String).alias("text")
    distinct = texts.unique(maintain_order=True)  # far fewer than the items
    paths = _read_texts(name, distinct, table)
    return texts.to_frame().join(
        pl.DataFrame([distinct, paths.alias("paths")]),
        on="text",
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )["paths"]


def _read_texts(name: str, texts: pl.Series, table: Table) -> pl.Series:
    separator = table.category_separator
    paths = _split(texts, separator, table.category_list_separator)
    positions = texts.str.contains(JSON_ARRAY).fill_null(value=False).arg_true()
    read = [(row, _paths_of_json(name, texts[row], separator)) for row in positions]
    found = [(row, each) for row, each in read if each is not None]
    if found:
        rows, lists = zip(*found, strict=True)
        kept = pl.DataFrame({"paths": paths}).with_row_index("row")
        json = pl.DataFrame({"row": rows, "paths": lists}, schema={"row": pl.UInt32, "paths": PATHS_DTYPE})
        paths = kept.update(json, on="row")["paths"]
    return _clean(paths)


def count_several_paths(values: pl.Series, table: Table) -> int:
    """Return the number of cells that look like several paths, which the table does not split.

    In `Men > Shirts, Women > Shirts`, what follows the comma is the root of other paths.
    """
    if values.dtype != pl.String or table.category_list_separator:
        return 0
    cells = values.value_counts().drop_nulls()
    cell, separator = pl.col(values.name), table.category_separator
    level = rf"{re.escape(separator)}[^,;|]*[,;|]([^,;|]*){re.escape(separator)}"
    roots = cells.select(cell.str.split(separator).list.first().str.strip_chars()).to_series()
    return int(cells.filter(cell.str.extract(level).str.strip_chars().is_in(roots.implode()))["count"].sum())


def unite_paths(items: pl.DataFrame) -> pl.DataFrame:
    """Unite the paths that both columns hold, as read, in `categories`, and make the first of them `category`."""
    paths = pl.col(CATEGORY)
    if items[CATEGORIES].null_count() < items.height:
        both = pl.concat_list(pl.col(CATEGORY).fill_null([]), pl.col(CATEGORIES).fill_null([]))
        united = both.list.unique(maintain_order=True)
        paths = pl.when(united.list.len() > 0).then(united)
    return items.with_columns(paths.list.first().alias(CATEGORY), paths.alias(CATEGORIES))


def join_paths(name: str) -> pl.Expr:
    """Return the paths of a column as text, as in A>B, C."""
    return pl.col(name).list.eval(pl.element().list.join(CATEGORY_SEPARATOR)).list.join(", ").alias(name)


def _split(texts: pl.Series, separator: str, list_separator: str) -> pl.Series:
    cell = pl.col("cell")
    if list_separator:
        escaped = cell.str.replace_all(f"\\{list_separator}", ESCAPED, literal=True).str.split(list_separator)
        cells = escaped.list.eval(pl.element().str.replace_all(ESCAPED, list_separator, literal=True))
    else:
        cells = cell.str.split(ESCAPED)
    return texts.to_frame("cell").select(cells.list.eval(pl.element().str.split(separator))).to_series()


def _paths_of_lists(name: str, separator: str, is_levels: bool) -> pl.Expr:
    texts = pl.col(name)
    levels = texts.list.eval(pl.element().implode())
    if is_levels:
        return levels
    split = texts.list.eval(pl.element().str.split(separator))
    if name == CATEGORIES:
        return split
    has_separator = texts.list.eval(pl.element().str.contains(separator, literal=True)).list.any()
    return pl.when(has_separator).then(split).otherwise(levels)


def _paths_of_json(name: str, text: str, separator: str) -> list[list[str]] | None:
    """Return the paths of a JSON array, as those of a list; None if it is no array of texts or of their arrays."""
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(text, type=list[list[str]])
    try:
        texts = msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        return None
    if name == CATEGORY and not any(separator in each for each in texts):
        return [texts]
    return [each.split(separator) for each in texts]


def _clean(paths: pl.Series) -> pl.Series:
    """Return the different paths of each cell without empty names and paths; null where none is left."""
    name = pl.element().str.strip_chars()
    named = pl.element().list.eval(name.filter(name != ""))
    frame = paths.to_frame("paths").select(pl.col("paths").list.eval(named))
    full = frame.select(pl.col("paths").list.eval(pl.element().filter(pl.element().list.len() > 0)))
    return full.select(
        pl.when(pl.col("paths").list.len() > 0).then(pl.col("paths").list.unique(maintain_order=True))
    ).to_series()
