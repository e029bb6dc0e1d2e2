"""What is kept of rejected rows where users have pseudonyms: no value that may be, or may contain, an id."""

from collections.abc import Sequence

import polars as pl

from jobs.ingest.formats.chunks import LINE_TEXT
from jobs.ingest.mapping import RULES, SOURCE_ROW
from recsys.errors import SettingsError
from recsys.pseudonyms import MIN_CONTAINED_LENGTH, Pseudonyms, pseudonymize_rows
from recsys.schema import (
    ATTRIBUTES,
    EVENT,
    EVENT_ID,
    GUEST_ID,
    IP,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SESSION_ID,
    TIMESTAMP,
    USER_AGENT,
    USER_ID,
    VALUE,
)
from recsys.settings import Table
from recsys.settings.types import REDACTED

PERSONAL = (USER_ID, GUEST_ID, EVENT_ID, SESSION_ID, IP, USER_AGENT)
TEXTS = (EVENT, ITEM_ID, ATTRIBUTES)
READ = (TIMESTAMP, VALUE, PRICE, QUANTITY)


def hide_rejected(rejected: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
    """Return rejected rows with pseudonyms, and without the rows of the source.

    In a row of a user, a value that cannot be read, a text that breaks a rule, and a value that contains an id, an
    address or a browser of the row are not shown: where columns are shifted, such a value may be an id.
    """
    rows = rejected.drop(SOURCE_ROW, strict=False)
    personal = [name for name in PERSONAL if name in rows.columns]
    if not personal:
        return rows
    names = [name for name in (*TEXTS, *READ) if name in rows.columns]
    shown = rows.with_columns(_hide(name, _contains_any(name, personal)) for name in names)
    return pseudonymize_rows(hide_broken(shown), pseudonyms)


def hide_broken(rejected: pl.DataFrame) -> pl.DataFrame:
    """Return rejected rows without the values that cannot be read and the texts that break a rule."""
    if not set(PERSONAL) & set(rejected.columns):
        return rejected
    return rejected.with_columns(_hide(name, _breaks(name)) for name in (*TEXTS, *READ) if name in rejected.columns)


def check_watermarks(tables: Sequence[Table]) -> None:
    """Raise `SettingsError` for a table whose watermark is an id, of which the greatest would be kept as it is."""
    for table in tables:
        read = next(
            (name for name in PERSONAL if table.watermark and table.columns.get(name) == table.watermark), None
        )
        if read is not None:
            raise SettingsError(
                f"sources.tables.{table.name}.watermark = {table.watermark!r}: it is read as {read}, whose "
                "greatest value would be kept; with a pseudonym_key, expected a column of times"
            )


def hide_lines(broken: pl.DataFrame) -> pl.DataFrame:
    """Return lines that are no rows without what they say."""
    return broken.with_columns(pl.lit(REDACTED).alias(LINE_TEXT))


def _hide(name: str, is_hidden: pl.Expr) -> pl.Expr:
    return pl.when(is_hidden).then(pl.lit(REDACTED)).otherwise(name).alias(name)


def _breaks(name: str) -> pl.Expr:
    """Return whether a column breaks a rule about its text, or cannot be read."""
    rule = "is_" if name in TEXTS else "is_readable"
    return pl.col(name).is_not_null() & pl.col(RULES).str.contains(rf"(^|, ){name}_{rule}")


def _contains_any(name: str, personal: list[str]) -> pl.Expr:
    return pl.any_horizontal(
        (pl.col(name) == pl.col(each))
        | (
            (pl.col(each).str.len_chars() >= MIN_CONTAINED_LENGTH)
            & pl.col(name).str.contains(pl.col(each), literal=True)
        )
        for each in personal
    ).fill_null(value=False)
