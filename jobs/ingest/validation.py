"""Map, validate and deduplicate the rows of sources, quarantine invalid rows, and stage the result on disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import dataframely as dy
import polars as pl

from jobs.ingest.files import SCHEMAS, first_line
from jobs.ingest.mapping import map_rows
from jobs.ingest.plan import TableSource
from jobs.ingest.watermark import Watermark, check_watermark, greatest_watermark, later_watermark, rows_from
from jobs.lake import TABLES, Lake, scan_files
from recsys.contract import events_schema
from recsys.data.quality import QuarantineCounts
from recsys.errors import SourceError
from recsys.pseudonyms import pseudonymize_users
from recsys.schema import EVENT, TIMESTAMP
from recsys.settings import Sources, Table
from recsys.settings.types import REDACTED

RULES = "rules"  # column of quarantine files: names of the rules that a row broke, separated by commas
DAY_LENGTH = len("2017-12-30")
BROKEN_LINE = "line_is_whole"
RULE_NAMES = {"nullability": "is_given", "dtype": "is_readable"}
UNREADABLE_TIME = f"{TIMESTAMP}|nullability"  # a time that cannot be read is null


@dataclass(frozen=True)
class StagedTable:
    """The checked rows of one table source, on disk but not yet in the lake."""

    source: TableSource
    directory: Path
    schema: pl.Schema
    """Columns of the source."""
    rows: int
    valid: int
    skipped: int
    """Rows with a watermark below the start watermark."""
    rules: dict[str, int]
    """Rule -> rows that broke it."""
    watermark: Watermark | None
    """The greatest watermark of the rows."""

    @property
    def table(self) -> Table:
        """Return the table that reads the source."""
        return self.source.table


def stage(
    source: TableSource,
    sources: Sources,
    latest: datetime,
    directory: Path,
    on_rows: Callable[[int], None],
    pseudonym_key: str | None = None,
) -> StagedTable:
    """Read, map and check a table source chunk by chunk, and write its rows into `directory`.

    Events later than `latest` break a rule. With a `pseudonym_key` neither user ids are written, nor the text of
    broken lines, which may contain one. Raises `SourceError` when the source cannot be read or mapped.
    """
    table = source.table
    rules: Counter[str] = Counter()
    rows = valid = skipped = 0
    watermark, columns = None, pl.Schema()
    for part in ("valid", "quarantine"):
        (directory / part).mkdir(parents=True)
    schema = events_schema(sources.event_weights, latest) if table.kind == "events" else SCHEMAS[table.kind]
    for number, chunk in enumerate(source.chunks):
        columns = columns or chunk.rows.schema
        accepted, failure, chunk_watermark, below = _check(chunk.rows, schema, source, sources, latest)
        rejected = rejected_rows(failure)
        broken = pl.DataFrame({"line": chunk.broken_lines}, schema={"line": pl.String})
        rows += chunk.rows.height - below + broken.height
        valid += accepted.height
        skipped += below
        watermark = later_watermark(watermark, chunk_watermark)
        rules.update({_rule_name(rule): count for rule, count in failure.counts().items()})
        rules.update({BROKEN_LINE: broken.height} if broken.height else {})
        if pseudonym_key is not None:
            accepted, rejected = (pseudonymize_users(part, pseudonym_key) for part in (accepted, rejected))
            broken = broken.with_columns(pl.lit(REDACTED).alias("line"))
        _deduplicate(accepted, table).write_parquet(directory / "valid" / f"{number:06d}.parquet")
        _quarantined_rows(rejected, broken).write_parquet(directory / "quarantine" / f"{number:06d}.parquet")
        on_rows(chunk.rows.height)
    return StagedTable(source, directory, columns, rows, valid, skipped, dict(rules), watermark)


def rejected_rows(failure: dy.FailureInfo) -> pl.DataFrame:
    """Return the rows that broke a rule, with every value as text and the names of the rules."""
    details = failure.details()
    invalid = failure.invalid()
    rule_columns = [name for name in details.columns if name not in invalid.columns]
    names = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_rule_name(rule))) for rule in rule_columns]
    rules = pl.concat_str(names, separator=", ", ignore_nulls=True)
    return details.select(rules.alias(RULES), *(_as_text(name, dtype) for name, dtype in invalid.schema.items()))


def read_quarantine(lake: Lake, first_day: date, last_day: date) -> QuarantineCounts:
    """Count the quarantined events by rule and by the day of their own timestamp, `first_day` to `last_day`."""
    files = sorted((lake.directory / "quarantine").glob("*.parquet"))
    frames = [scan_files([file]) for file in files]
    events = [frame for frame in frames if EVENT in frame.collect_schema().names()]
    if not events:
        return QuarantineCounts((), 0)
    day = pl.col(TIMESTAMP).str.head(DAY_LENGTH).str.to_date("%Y-%m-%d", strict=False)
    day_in_range = pl.when(day.is_between(first_day, last_day)).then(day)
    first_rule = pl.col(RULES).str.split(", ").list.first()
    rows = pl.concat([frame.select(day_in_range.alias("day"), first_rule.alias("rule")) for frame in events])
    counts = rows.group_by("day", "rule").len().sort("day", "rule").collect()
    dated = counts.filter(pl.col("day").is_not_null())
    undated = counts.filter(pl.col("day").is_null())
    return QuarantineCounts(tuple(dated.rows()), int(undated["len"].sum()))


def _check(
    rows: pl.DataFrame, schema: type[dy.Schema], source: TableSource, sources: Sources, latest: datetime
) -> tuple[pl.DataFrame, dy.FailureInfo, Watermark | None, int]:
    """Map and check the rows of a chunk.

    Returns the rows that keep the rules, in the contract's columns; information on the others; the greatest
    watermark; and the number of rows skipped because their watermark is below the start watermark.
    """
    table, watermark = source.table, None
    try:
        due = rows
        if table.watermark is not None:
            check_watermark(rows.schema, table)
            due = rows_from(rows, table, source.start)
            watermark = greatest_watermark(due, table, latest)
        accepted, failure = schema.filter(map_rows(due, table, sources, source.earlier_columns), cast=True)
    except SourceError as error:
        raise SourceError(f"{source.display_name}: {error}") from None
    except pl.exceptions.PolarsError as error:
        reason = first_line(error)
        raise SourceError(
            f"{source.display_name}: columns of table {table.name!r} cannot be computed: {reason}"
        ) from None
    return accepted, failure, watermark, rows.height - due.height


def _deduplicate(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return the last row of each item or user; events are deduplicated when they enter the lake.

    The tables of items and users are later in memory as a whole, so a file with many rows for each is reduced here.
    """
    if table.kind == "events":
        return rows
    return rows.unique(TABLES[table.kind][1], keep="last", maintain_order=True)


def _rule_name(rule: str) -> str:
    """Return the readable name of a rule: `price_is_readable` for `price|dtype`."""
    column, _, check = rule.replace(UNREADABLE_TIME, f"{TIMESTAMP}|dtype").partition("|")
    return f"{column}_{RULE_NAMES.get(check, check)}" if check else column


def _quarantined_rows(rejected: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Return the rejected rows, followed by the broken lines in a column `line`."""
    return pl.concat([rejected, broken.with_columns(pl.lit(BROKEN_LINE).alias(RULES))], how="diagonal")


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.String)).list.join(">").alias(name)
    return pl.col(name).cast(pl.String)
