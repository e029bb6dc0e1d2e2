"""Rows of one table read, mapped and checked, on disk beside the lake until all else is read too."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import dataframely as dy
import polars as pl

from jobs.ingest.files import SCHEMAS, Chunk, first_line
from jobs.ingest.mapping import map_rows
from jobs.ingest.watermark import Watermark, check_watermark, greatest, later, rows_from
from jobs.lake import TABLES, Lake
from recsys.data.quality import QuarantineCounts
from recsys.errors import SourceError
from recsys.pseudonyms import pseudonymize_users
from recsys.schema import EVENT, TIMESTAMP, events_schema
from recsys.settings import Sources, Table
from recsys.settings.types import REDACTED

RULES = "rules"  # the column of quarantine files that names the rules a row broke, one after the other
DAY_LENGTH = len("2017-12-30")
BROKEN_LINE = "line_is_whole"
RULE_WORDS = {"nullability": "is_given", "dtype": "is_readable"}
UNREADABLE_TIME = f"{TIMESTAMP}|nullability"  # a time that cannot be read is null


@dataclass(frozen=True)
class Reading:
    """One table and one thing it reads: a file, or its query."""

    table: Table
    shown: str
    """What messages call it."""
    file: str
    """What counts call it."""
    chunks: Iterator[Chunk]
    fingerprint: str
    """Changes with what is read and how it is mapped."""
    state: str = ""
    """Changes with a file in a store, by which it is known without being read."""
    since: Watermark | None = None
    """Rows below it are passed over."""
    gone: Collection[str] = frozenset()
    """Columns that the table once had."""
    guessed: bool = False
    """Whether types are guessed from values, as of JSON Lines."""


@dataclass(frozen=True)
class Staged:
    """Checked rows of one reading, on disk, not yet in the lake."""

    reading: Reading
    directory: Path
    schema: pl.Schema
    """Columns of the source."""
    rows: int
    valid: int
    passed_over: int
    rules: dict[str, int]
    watermark: Watermark | None
    """The greatest that was read."""

    @property
    def table(self) -> Table:
        """The table that it is of."""
        return self.reading.table


def stage(
    reading: Reading,
    sources: Sources,
    latest: datetime,
    directory: Path,
    on_rows: Callable[[int], None],
    pseudonym_key: str | None = None,
) -> Staged:
    """Read, map and check, chunk by chunk, into `directory`; events later than `latest` break a rule.

    With a `pseudonym_key` no user's own id is written, nor what was no row, for it may hold one.
    """
    table = reading.table
    rules: Counter[str] = Counter()
    rows = valid = passed_over = 0
    watermark, columns = None, pl.Schema()
    for part in ("valid", "quarantine"):
        (directory / part).mkdir(parents=True)
    schema = events_schema(sources.event_weights, latest) if table.kind == "events" else SCHEMAS[table.kind]
    for number, chunk in enumerate(reading.chunks):
        columns = columns or chunk.rows.schema
        good, failure, found, older = _checked(chunk.rows, schema, reading, sources, latest)
        rejected = rejects(failure)
        broken = pl.DataFrame({"line": chunk.broken_lines}, schema={"line": pl.String})
        rows += chunk.rows.height - older + broken.height
        valid += good.height
        passed_over += older
        watermark = later(watermark, found)
        rules.update({_readable_rule(rule): count for rule, count in failure.counts().items()})
        rules.update({BROKEN_LINE: broken.height} if broken.height else {})
        if pseudonym_key is not None:
            good, rejected = (pseudonymize_users(part, pseudonym_key) for part in (good, rejected))
            broken = broken.with_columns(pl.lit(REDACTED).alias("line"))
        _last_of_each(good, table).write_parquet(directory / "valid" / f"{number:06d}.parquet")
        _quarantined(rejected, broken).write_parquet(directory / "quarantine" / f"{number:06d}.parquet")
        on_rows(chunk.rows.height)
    return Staged(reading, directory, columns, rows, valid, passed_over, dict(rules), watermark)


def _checked(
    rows: pl.DataFrame, schema: type[dy.Schema], reading: Reading, sources: Sources, latest: datetime
) -> tuple[pl.DataFrame, dy.FailureInfo, Watermark | None, int]:
    """The rows in the contract's columns that keep its rules, what is known of those that do not, the greatest
    watermark, and how many rows lie below the one to start from.
    """
    table, found = reading.table, None
    try:
        due = rows
        if table.watermark is not None:
            check_watermark(rows.schema, table)
            due = rows_from(rows, table, reading.since)
            found = greatest(due, table, latest)
        good, failure = schema.filter(map_rows(due, table, sources, reading.gone), cast=True)
    except SourceError as error:
        raise SourceError(f"{reading.shown}: {error}") from None
    except pl.exceptions.PolarsError as error:
        reason = first_line(error)
        raise SourceError(
            f"{reading.shown}: columns of table {table.name!r} cannot be computed: {reason}"
        ) from None
    return good, failure, found, rows.height - due.height


def _last_of_each(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Items and users are held whole later on, so a file that names each many times is thinned as it is read."""
    if table.kind == "events":
        return rows
    return rows.unique(TABLES[table.kind][1], keep="last", maintain_order=True)


def _readable_rule(rule: str) -> str:
    """A rule's name in words: `price|dtype` becomes `price_is_readable`."""
    column, _, kind = rule.replace(UNREADABLE_TIME, f"{TIMESTAMP}|dtype").partition("|")
    return f"{column}_{RULE_WORDS.get(kind, kind)}" if kind else column


def _quarantined(rejected: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Rows that broke a rule, and `line`, which holds what was no row at all."""
    return pl.concat([rejected, broken.with_columns(pl.lit(BROKEN_LINE).alias(RULES))], how="diagonal")


def rejects(failure: dy.FailureInfo) -> pl.DataFrame:
    """Rows that broke a rule, as text, with the rules' names."""
    details = failure.details()
    invalid = failure.invalid()
    rule_columns = [name for name in details.columns if name not in invalid.columns]
    names = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_readable_rule(rule))) for rule in rule_columns]
    rules = pl.concat_str(names, separator=", ", ignore_nulls=True)
    return details.select(rules.alias(RULES), *(_shown(name, dtype) for name, dtype in invalid.schema.items()))


def _shown(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.String)).list.join(">").alias(name)
    return pl.col(name).cast(pl.String)


def read_quarantine(lake: Lake, first_day: date, last_day: date) -> QuarantineCounts:
    """Rows of events that were set aside, by the day their own time tells, from `first_day` to `last_day`."""
    files = sorted((lake.directory / "quarantine").glob("*.parquet"))
    frames = [pl.scan_parquet(file, glob=False, hive_partitioning=False) for file in files]
    of_events = [frame for frame in frames if EVENT in frame.collect_schema().names()]
    if not of_events:
        return QuarantineCounts((), 0)
    day = pl.col(TIMESTAMP).str.head(DAY_LENGTH).str.to_date("%Y-%m-%d", strict=False)
    known = pl.when(day.is_between(first_day, last_day)).then(day)
    rule = pl.col(RULES).str.split(", ").list.first()
    rows = pl.concat([frame.select(known.alias("day"), rule.alias("rule")) for frame in of_events])
    counted = rows.group_by("day", "rule").len().sort("day", "rule").collect()
    dated = counted.filter(pl.col("day").is_not_null())
    undated = counted.filter(pl.col("day").is_null())
    return QuarantineCounts(tuple(dated.rows()), int(undated["len"].sum()))
