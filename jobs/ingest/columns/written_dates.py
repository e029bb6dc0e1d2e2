"""Read dates that are written in another way than in ISO 8601: 31.12.2011, 12/31/2011, 31-Dec-2011, 31.12.11."""

from typing import Final

import polars as pl

from jobs.ingest.column_readings import Reader

DAY_FIRST: Final = "day_first"
MONTH_FIRST: Final = "month_first"
DOTTED = r"^(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?[ T]+(.*))?$"
SLASHED = r"^(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:,?[ T]+(.*))?$"
SHORT_DOTTED = r"^(\d{1,2})\.(\d{1,2})\.(\d{2})(?:,?[ T]+(.*))?$"
SHORT_SLASHED = r"^(\d{1,2})[/-](\d{1,2})[/-](\d{2})(?:,?[ T]+(.*))?$"
WEEKDAY = r"(?i)^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +"
DAY_AND_NAME = r"(?i)^(\d{1,2})(?:st|nd|rd|th|er)?[. /-]+(\p{L}{3,9})\.?[, ./-]+(\d{4}|\d{2})(?:,?[ T]+(.*))?$"
NAME_AND_DAY = r"(?i)^(\p{L}{3,9})\.?[ /-]+(\d{1,2})(?:st|nd|rd|th)?[, /-]+(\d{4})(?:,?[ T]+(.*))?$"
MONTHS = (
    "jan january januar jänner janvier janv", "feb february februar février fevrier févr fév",
    "mar march märz maerz mär mrz mars", "apr april avril avr", "may mai", "jun june juni juin",
    "jul july juli juillet juil", "aug august août aout", "sep sept september septembre",
    "oct october oktober okt octobre", "nov november novembre", "dec december dezember dez décembre decembre déc",
)  # fmt: skip
MONTH_NUMBERS = {name: f"{number:02d}" for number, names in enumerate(MONTHS, 1) for name in names.split()}
YEAR_FIRST = r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})"
OFFSET_AND_ZONE = r"(?i)((?:[+-]\d{2}:?\d{2}|Z))\[[^\]]+\]$"


def written_date_readers(iso: Reader, time_format: str | None) -> dict[str, Reader]:
    """Return the readers of written dates by the format under which their values are counted; "" is ISO 8601.

    `iso` reads ISO 8601; `time_format` may give the order of day and month.
    """
    readers = {
        "": iso,
        "day.month.year": _rewritten(iso, DOTTED, "${3}-${2}-${1} ${4}"),
        "day.month.year of two digits": _consistent(_rewritten(iso, SHORT_DOTTED, "${3}-${2}-${1} ${4}")),
        "day and name of the month": _named_month(iso, DAY_AND_NAME, (3, 2, 1)),
        "name of the month and day": _named_month(iso, NAME_AND_DAY, (3, 1, 2)),
        "year/month/day": _rewritten(iso, YEAR_FIRST, "${1}-${2}-${3}"),
        "offset and zone": _rewritten(iso, OFFSET_AND_ZONE, "${1}"),
    }
    for order, name, written in (
        (DAY_FIRST, "day/month/year", "${3}-${2}-${1} ${4}"),
        (MONTH_FIRST, "month/day/year", "${3}-${1}-${2} ${4}"),
    ):
        if time_format == order:
            readers[name] = _rewritten(iso, SLASHED, written)
            readers[f"{name} of two digits"] = _rewritten(iso, SHORT_SLASHED, written)
    return readers


def _rewritten(reader: Reader, pattern: str, replacement: str) -> Reader:
    """Return a reader of texts that match a pattern, rewritten."""

    def read(rows: pl.DataFrame) -> pl.Series:
        text = pl.col("text")
        rewritten = _with_century(text.str.replace(pattern, replacement)).str.strip_chars()
        return reader(rows.with_columns(pl.when(text.str.contains(pattern)).then(rewritten)))

    return read


def _consistent(reader: Reader) -> Reader:
    """Return a reader of dates that may have the year first: it reads all of a column, or none if one has."""

    def read(rows: pl.DataFrame) -> pl.Series:
        text = pl.col("text")
        written = _with_century(text.str.replace(SHORT_DOTTED, "${3}-${2}-${1}"))
        is_other = text.str.contains(SHORT_DOTTED) & written.str.to_date("%Y-%m-%d", strict=False).is_null()
        return reader(rows.with_columns(pl.when(~is_other.any()).then(text).alias("text")))

    return read


def _named_month(reader: Reader, pattern: str, groups: tuple[int, int, int]) -> Reader:
    """Return a reader of dates with the English, German or French name of the month.

    `groups` are those of year, month and day in the pattern; the fourth one is the time of day.
    """

    def read(rows: pl.DataFrame) -> pl.Series:
        text = pl.col("text").str.replace(WEEKDAY, "")
        year, name, day = (text.str.extract(pattern, group) for group in groups)
        month = name.str.to_lowercase().replace_strict(MONTH_NUMBERS, default=None, return_dtype=pl.String)
        time = text.str.extract(pattern, 4).fill_null("").str.replace(r" +([+-]\d{2}:?\d{2})$", "${1}")
        written = _with_century(pl.format("{}-{}-{} {}", year, month, day, time)).str.strip_chars()
        return reader(rows.with_columns(written.alias("text")))

    return read


def _with_century(text: pl.Expr) -> pl.Expr:
    """Return dates with the century of a year of two digits, which is between 1970 and 2069."""
    return text.str.replace(r"^([0-6]\d-)", "20${1}").str.replace(r"^([7-9]\d-)", "19${1}")
