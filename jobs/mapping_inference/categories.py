"""Conclude how the categories of items are read: the levels of a path, or several paths in a cell."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from jobs.mapping_inference.roles import Match, role_score
from jobs.mapping_inference.samples import SourceSample
from jobs.mapping_inference.sql import identifier, literal
from recsys.schema import CATEGORY, CATEGORY_SEPARATOR

MIN_LEVEL_SCORE = 0.6
MAX_LEVELS = 5
SEPARATORS = ("/", "|", ".", ",")
LIST_SEPARATORS = ("|", ";", ",")
"""Separators that several paths in a cell may have between them."""
MIN_SEPARATED = 0.5
MIN_IN_ANY_PLACE = 0.2
"""Share of the names behind a separator that also stand before one, from which a cell is a list of categories."""


def conclude_category(sample: SourceSample, matches: Mapping[str, Match]) -> tuple[dict[str, Any], str]:
    """Return the expression of the categories, empty if there is none, and the separator of several paths, or ''.

    Several columns are the levels of a path, from the widest; one column is split.
    """
    if CATEGORY not in matches:
        return {}, ""
    column = matches[CATEGORY].column
    separator = _separator(sample.rows[column])
    levels = _level_columns(sample, matches) if separator is None else []
    if len(levels) > 1:
        return {CATEGORY: levels}, ""
    if separator in (None, CATEGORY_SEPARATOR):
        return {CATEGORY: column}, _list_separator(sample.rows[column])
    if separator in LIST_SEPARATORS and _is_list(sample.rows[column], separator):
        return {CATEGORY: column}, separator
    return {CATEGORY: f"STRING_TO_ARRAY({identifier(column)}, {literal(separator)})"}, ""


def _level_columns(sample: SourceSample, matches: Mapping[str, Match]) -> list[str]:
    taken = {match.column for role, match in matches.items() if role != CATEGORY}
    scores = {
        name: role_score(CATEGORY, profile, sample.name)
        for name, profile in sample.profiles.items()
        if name not in taken and not profile.is_constant
    }
    names = [name for name, score in scores.items() if score >= MIN_LEVEL_SCORE and not _is_code(sample, name)]
    return sorted(names, key=lambda name: sample.profiles[name].distinct)[:MAX_LEVELS]


def _is_code(sample: SourceSample, name: str) -> bool:
    """Return whether a column of categories has no words, as the numbers of categories."""
    return sample.profiles[name].letters < 0.5


def _separator(values: pl.Series) -> str | None:
    """Return the separator of the levels in most paths of categories."""
    if values.dtype != pl.String:
        return None
    texts = values.drop_nulls().head(1000)
    shares = {
        separator: texts.str.contains(separator, literal=True).mean() or 0.0
        for separator in (CATEGORY_SEPARATOR, *SEPARATORS)
    }
    return next(
        (each for each, share in shares.items() if isinstance(share, float) and share > MIN_SEPARATED), None
    )


def _list_separator(values: pl.Series) -> str:
    """Return the separator of several paths in a cell; '' if each cell is one path."""
    if values.dtype != pl.String:
        return ""
    return next((separator for separator in LIST_SEPARATORS if _is_list(values, separator)), "")


def _is_list(values: pl.Series, separator: str) -> bool:
    """Return whether a separator stands between paths: many names behind it are also roots, as in `Sale, Hats`.

    In `Shirts, Shorts` as the name of one category, no path begins with the second word.
    """
    cells = values.drop_nulls().unique().str.split(separator).to_frame("path")
    roots = pl.col("path").list.eval(pl.element().str.split(CATEGORY_SEPARATOR).list.first().str.strip_chars())
    names = cells.select(first=roots.list.first(), behind=roots.list.slice(1))
    behind = names["behind"].explode(empty_as_null=False).drop_nulls()
    behind = behind.filter(behind != "").unique()
    share = behind.is_in(names["first"].implode()).mean()
    return isinstance(share, float) and share >= MIN_IN_ANY_PLACE
