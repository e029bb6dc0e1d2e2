"""Map, validate and deduplicate the rows of sources, quarantine invalid rows, and stage the result on disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import cast

import dataframely as dy
import polars as pl

from jobs.ingest.files import SCHEMAS
from jobs.ingest.formats.category_paths import join_paths
from jobs.ingest.formats.chunks import broken_line_frame, first_line, join_empty_start
from jobs.ingest.formats.fill_down import fill_down
from jobs.ingest.hidden_values import hide_lines, hide_rejected
from jobs.ingest.mapping import ROW, RULES, MappingCounts, map_source
from jobs.ingest.plan import TableSource
from jobs.ingest.watermark import Watermark, check_watermark, greatest_watermark, later_watermark, rows_from
from jobs.lake.event_writer import scan_files
from jobs.lake.fact_tables import FACT_TABLES
from jobs.lake.facts import first_values, last_values
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import without_opted_out
from jobs.lake.tombstones import NO_TOMBSTONES, Tombstones
from recsys.contract import events_schema
from recsys.data.quality import QuarantineCounts
from recsys.errors import SourceError
from recsys.pseudonyms import Pseudonyms, pseudonymize_rows
from recsys.schema import EVENT, SOURCE, TIMESTAMP
from recsys.settings import Sources, Table

DAY_LENGTH = len("2017-12-30")
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
    counts: MappingCounts
    """What the mapping did to the rows."""
    notes: tuple[str, ...] = ()
    """How the source was read, where that was not given."""
    time_format: str | None = None
    """The format of times: that of the table, or the order of day and month that the rows decided."""
    repeated: int = 0
    """Rejected rows that an earlier increment put into quarantine."""
    new_rules: dict[str, int] | None = None
    """Rule -> other rows that broke it; None if no row is repeated."""
    erased: int = 0
    """Rows of users who were erased since, which count nowhere else."""
    opted_out: int = 0
    """Events of users who have opted out, which count nowhere else."""
    expired: int = 0
    """Events older than the lake keeps them, which count nowhere else."""

    @property
    def given(self) -> int:
        """Return the number of all rows, those that are left out included."""
        return self.rows + self.erased + self.opted_out + self.expired

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
    pseudonyms: Pseudonyms | None = None,
    tombstones: Tombstones = NO_TOMBSTONES,
    opted_out: pl.Series | None = None,
    oldest: datetime | None = None,
) -> StagedTable:
    """Read, map and check a table source chunk by chunk, and write its rows into `directory`.

    Events later than `latest` break a rule. With `pseudonyms` no id of a user, a session or an event is written,
    and of rejected rows nothing that may contain one (`jobs.ingest.hidden_values`). Rows of users of `tombstones`,
    events of users who have `opted_out`, and events before `oldest` are left out. Raises `SourceError` when the
    source cannot be read or mapped.
    """
    table = source.table
    rules: Counter[str] = Counter()
    rows = valid = skipped = erased = refused = expired = 0
    watermark, columns, counts = None, pl.Schema(), MappingCounts()
    notes: dict[str, None] = {}
    for part in ("valid", "quarantine"):
        (directory / part).mkdir(parents=True)
    schema = events_schema(sources.event_weights, latest) if table.kind == "events" else SCHEMAS[table.kind]
    schema = cast(type[dy.Schema], type("NumberedRows", (schema,), {ROW: dy.UInt32()}))
    for number, chunk in enumerate(fill_down(join_empty_start(source.chunks), table)):
        columns = columns or chunk.rows.schema
        checked = _check(chunk.rows, schema, source, table, sources, latest, pseudonyms is None)
        table, accepted, rejected = checked.table, checked.accepted, checked.rejected
        broken = broken_line_frame(chunk.broken_lines)
        if pseudonyms is not None:
            accepted = pseudonymize_rows(accepted, pseudonyms)
            rejected, broken = hide_rejected(rejected, pseudonyms), hide_lines(broken)
        given = accepted.height + rejected.height + broken.height
        accepted = tombstones.without_erased(accepted)
        rejected, broken = tombstones.without_erased_texts(rejected), tombstones.without_erased_lines(broken)
        erased += given - accepted.height - rejected.height - broken.height
        wanted = without_opted_out(accepted, opted_out) if table.kind == "events" else accepted
        refused += accepted.height - wanted.height
        accepted = wanted
        if oldest is not None and table.kind == "events":
            accepted = wanted.filter(pl.col(TIMESTAMP) >= oldest)
            expired += wanted.height - accepted.height
        notes.update(dict.fromkeys(chunk.notes))
        rows += accepted.height + rejected.height + broken.height
        valid += accepted.height
        skipped += checked.skipped
        counts = counts.plus(checked.counts)
        watermark = later_watermark(watermark, checked.watermark)
        rules.update(rejected[RULES].str.split(", ").explode().drop_nulls())
        rules.update(broken[RULES].to_list())
        _staged_rows(accepted, source).write_parquet(directory / "valid" / f"{number:06d}.parquet")
        _quarantined_rows(rejected, broken).write_parquet(directory / "quarantine" / f"{number:06d}.parquet")
        on_rows(chunk.rows.height)
    return StagedTable(
        *(source, directory, columns, rows, valid, skipped, dict(rules), watermark, counts, tuple(notes)),
        time_format=table.time_format,
        erased=erased,
        opted_out=refused,
        expired=expired,
    )


def rejected_rows(failure: dy.FailureInfo) -> pl.DataFrame:
    """Return the rows that broke a rule, with every value as text and the names of the rules."""
    invalid = failure.invalid()
    return invalid.select(
        _broken_rules(failure), *(_as_text(name, dtype) for name, dtype in invalid.schema.items())
    )


def _broken_rules(failure: dy.FailureInfo) -> pl.Series:
    """Return the names of the rules that each invalid row broke, separated by commas."""
    if not len(failure):
        return pl.Series(RULES, [], pl.String)
    details = failure.details()
    columns = set(failure.invalid().columns)
    rule_columns = [name for name in details.columns if name not in columns]
    names = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_rule_name(rule))) for rule in rule_columns]
    rules = pl.concat_str(names, separator=", ", ignore_nulls=True)
    return details.select(rules.alias(RULES)).to_series()


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


@dataclass(frozen=True)
class _CheckedRows:
    """The rows of a chunk, in the contract's columns."""

    accepted: pl.DataFrame
    """Rows that keep the rules."""
    rejected: pl.DataFrame
    """The others, as text, with `RULES`."""
    counts: MappingCounts
    watermark: Watermark | None
    skipped: int
    """Rows with a watermark below the start watermark."""
    table: Table
    """The table, with what the rows decide about the format of those that follow."""


def _check(
    rows: pl.DataFrame,
    schema: type[dy.Schema],
    source: TableSource,
    table: Table,
    sources: Sources,
    latest: datetime,
    shows_values: bool,
) -> _CheckedRows:
    """Map and check the rows of a chunk of a source by a table; an error names values only if `shows_values`."""
    watermark = None
    try:
        due = rows
        if table.watermark is not None:
            check_watermark(rows.schema, table)
            due = rows_from(rows, table, source.start)
            watermark = greatest_watermark(due, table, latest)
        mapped = map_source(due, table, sources, source.earlier_columns, source.numbers)
        accepted, failure = schema.filter(mapped.readable(), cast=True)
        rejected = mapped.rejected(failure.invalid()[ROW], _broken_rules(failure))
    except SourceError as error:
        raise SourceError(f"{source.display_name}: {error}") from None
    except pl.exceptions.PolarsError as error:
        reason = first_line(error) if shows_values else type(error).__name__
        raise SourceError(
            f"{source.display_name}: columns of table {table.name!r} cannot be computed: {reason}"
        ) from None
    return _CheckedRows(
        accepted.drop(ROW), rejected, mapped.counts, watermark, rows.height - due.height, mapped.table
    )


def _staged_rows(rows: pl.DataFrame, source: TableSource) -> pl.DataFrame:
    """Return events with their source, and one row for each item or user.

    The tables of items and users are later in memory as a whole, so a file with many rows for each is reduced here.
    """
    table = source.table
    if table.kind == "events":
        return rows.with_columns(pl.lit(source.source).alias(SOURCE))
    return one_of_each(rows, table)


def one_of_each(rows: pl.DataFrame | pl.LazyFrame, table: Table) -> pl.DataFrame:
    """Return one row for each item or user, with the first or last value of each column, as `table.keep` says."""
    values = last_values if table.watermark or table.keep == "last" else first_values
    return values(rows, FACT_TABLES[table.kind][1])


def _rule_name(rule: str) -> str:
    """Return the readable name of a rule: `price_is_readable` for `price|dtype`."""
    column, _, check = rule.replace(UNREADABLE_TIME, f"{TIMESTAMP}|dtype").partition("|")
    return f"{column}_{RULE_NAMES.get(check, check)}" if check else column


def _quarantined_rows(rejected: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Return the rejected rows, followed by the broken lines in columns `line` and `line_number`."""
    return pl.concat([rejected, broken], how="diagonal")


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.List):
        return join_paths(name)
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.String)).list.join(">").alias(name)
    return pl.col(name).cast(pl.String)
