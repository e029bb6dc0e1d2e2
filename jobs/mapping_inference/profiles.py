"""What the values of a column look like."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from jobs.ingest.amounts import read_amounts, read_booleans
from jobs.ingest.columns.written_dates import MONTH_FIRST
from jobs.ingest.times import as_texts, detect_day_order, read_times
from jobs.mapping_inference.vocabulary import TIME_FORMATS
from recsys.schema import ID_PATTERN
from recsys.settings import Table
from recsys.settings.sources import NULL_IDS

PROFILE_ROWS = 5_000
MAX_VALUES = 100  # distinct values that are kept with their counts
FEW_ROWS = 100  # by which a format of times is chosen
LIKE_TIME = r"^(?:\d{8,10}(?:\.\d+)?|\d{12,16}|\d{18,19}|.*\d.*[-/.: ].*\d.*)$"
MIN_TIMES = 0.9  # share of the values that a format of times must read
HAS_OFFSET = r"(?:\d\s*(?:Z|[+-]\d{2}:?\d{2})|[ \[][A-Z]{2,}[A-Za-z_]*(?:/[A-Za-z_]+)*\]?)$"
HAS_CLOCK = r"\d[T ]\d{1,2}:\d{2}|^\d{9,}"
# Decimal and thousands separators, by how often they are meant.
SEPARATORS = ((".", ""), (",", ""), (",", "."), (".", ","), (",", " "), (".", " "), (".", "'"))


@dataclass(frozen=True)
class TimeProfile:
    """How the times of a column are written."""

    share: float
    """Share of the values that are times."""
    time_format: str | None = None
    """The setting that reads them; None if they are detected."""
    is_local: bool = False
    """Whether they have no offset, so that a time zone is needed."""
    has_clock: bool = False
    """Whether they have a time of day."""
    ambiguous_example: str | None = None
    """A date of which nothing decides whether the day or the month is first."""


@dataclass(frozen=True)
class Profile:
    """The values of a column of a sample; every share is between 0 and 1, and of the values that are given."""

    name: str
    filled: float
    """Share of the rows that have a value."""
    nulls: tuple[str, ...]
    """Texts that stand for no value, such as NA."""
    distinct: int
    distinct_share: float
    numbers: float
    whole: float
    fractions: float
    """Share of the numbers that are not whole."""
    negative: float
    is_constant: bool
    ids: float
    """Share of the values that are ids, but for white space inside."""
    spaced: float
    """Share of the values with white space inside."""
    words: float
    """Mean number of words."""
    letters: float
    """Share of the values with a letter."""
    booleans: float
    times: TimeProfile
    separators: tuple[str, str] = (".", "")
    """Decimal and thousands separator of amounts."""
    values: Mapping[str, int] = field(default_factory=dict[str, int])
    """Value -> rows, if there are few values."""


def profile_column(column: pl.Series) -> Profile:
    """Return what the values of a column look like."""
    sample = column.head(PROFILE_ROWS)
    text = as_texts(sample) if not sample.dtype.is_nested() else pl.Series(sample.name, [], dtype=pl.String)
    stripped = text.str.strip_chars()
    is_null = stripped.is_null() | stripped.str.to_lowercase().is_in([*_null_texts(sample)])
    given = stripped.filter(~is_null)
    nulls = tuple(sorted(set(stripped.filter(is_null & stripped.is_not_null()).to_list()) - {""}))
    separators, amounts = _read_amounts(given)
    counts = given.value_counts(sort=True) if given.len() else None
    distinct = 0 if counts is None else counts.height
    values = {} if counts is None or distinct > MAX_VALUES else dict(counts.iter_rows())
    number = amounts.drop_nulls()
    return Profile(
        column.name,
        _share(given.len(), max(len(sample), 1)),
        nulls,
        distinct,
        _share(distinct, given.len()),
        _share(number.len(), given.len()),
        _mean(number == number.round()) * _share(number.len(), given.len()),
        _mean(number != number.round()),
        _mean(number < 0),
        distinct == 1,
        _mean(given.str.replace_all(r"\s+", "").str.contains(ID_PATTERN)),
        _mean(given.str.contains(r"\s")),
        _mean(given.str.count_matches(r"\S+")),
        _mean(given.str.contains(r"\pL")),
        _booleans(given),
        profile_times(sample.filter(~is_null), given),
        separators,
        dict(sorted(values.items(), key=lambda item: (-item[1], item[0]))),
    )


def profile_times(values: pl.Series, given: pl.Series) -> TimeProfile:
    """Return how times are written: `values` as they came, `given` as text."""
    if not given.len():
        return TimeProfile(0.0)
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime | pl.Date):
        is_local = not (isinstance(dtype, pl.Datetime) and dtype.time_zone)
        return TimeProfile(1.0, None, is_local, isinstance(dtype, pl.Datetime))
    if _mean(given.head(FEW_ROWS).str.contains(LIKE_TIME)) < 0.5:
        return TimeProfile(0.0)
    order, example = detect_day_order(given) if dtype == pl.String else (None, None)
    formats = (None, *TIME_FORMATS) if order is None and example is None else (order or MONTH_FIRST,)
    shares: dict[str | None, float] = {}
    for name in formats:
        shares[name] = _mean(read_times(values.head(FEW_ROWS), name, "UTC").values.is_not_null())
        if shares[name] >= MIN_TIMES:
            break
    best = max(shares, key=lambda name: shares[name])
    is_epoch = _mean(given.str.contains(r"^\d{9,19}(\.\d+)?$")) > 0.5 and best is None
    has_offset = _mean(given.str.contains(HAS_OFFSET)) > 0.5
    return TimeProfile(
        _mean(read_times(values, best, "UTC").values.is_not_null()),
        None if order is None and example is not None else best,
        not is_epoch and not has_offset,
        _mean(given.str.contains(HAS_CLOCK)) > 0.5,
        example,
    )


def amounts_of(values: pl.Series, separators: tuple[str, str]) -> pl.Series:
    """Return a column as amounts by a decimal and a thousands separator; null where it is none."""
    decimal, thousands = separators
    table = Table("sample", "events", "*", {}, decimal=decimal, thousands=thousands)  # pyright: ignore
    return read_amounts(values, table).values


def _null_texts(column: pl.Series) -> tuple[str, ...]:
    """Return the texts that mean no value; numbers such as 0 are values of most columns."""
    texts = [text for text in NULL_IDS if text not in ("0", "-1", "guest", "anonymous")]
    return tuple(texts) if column.dtype == pl.String else ("",)


def _read_amounts(given: pl.Series) -> tuple[tuple[str, str], pl.Series]:
    """Return the separators that read most values as amounts, and the amounts."""
    if not given.len() or _mean(given.head(200).str.contains(r"\d")) < 0.5:
        return SEPARATORS[0], pl.Series([], dtype=pl.Float64)
    readings: dict[tuple[str, str], pl.Series] = {}
    for separators in SEPARATORS:
        readings[separators] = amounts_of(given, separators)
        if not readings[separators].null_count():
            break
    best = min(readings, key=lambda pair: readings[pair].null_count())
    return best, readings[best]


def _booleans(given: pl.Series) -> float:
    return _mean(read_booleans(given.head(500)).values.is_not_null()) if given.len() else 0.0


def _mean(values: pl.Series) -> float:
    mean = values.cast(pl.Float64).mean() if len(values) else 0.0
    return float(mean) if isinstance(mean, int | float) else 0.0


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
