"""Ingest files and queries into the lake; bad rows go to quarantine, an unreadable source stops the ingest."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import chain

import structlog

from jobs.ingest.commit import TableCount, commit
from jobs.ingest.files import SkippedFile
from jobs.ingest.hidden_values import check_watermarks
from jobs.ingest.mapping import check_table
from jobs.ingest.plan import IngestPlan
from jobs.ingest.queries import resolve_connection
from jobs.ingest.schema_drift import update_columns
from jobs.ingest.source_readings import SourceReading, check_readings
from jobs.ingest.validation import StagedTable, stage
from jobs.ingest.watermark import later_watermark, store_watermark, stored_watermarks
from jobs.lake.fact_tables import ONLINE
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import opted_out_users
from jobs.lake.tombstones import read_tombstones
from recsys.data.quality import SchemaChange
from recsys.errors import SettingsError
from recsys.settings import Sources

log = structlog.get_logger(__name__)

MAX_LOGGED_FILES = 10
MAX_CLOCK_SKEW = timedelta(days=1)  # how far an event may lie ahead of the clock


def ingest(
    paths: tuple[str, ...],
    sources: Sources,
    lake: Lake,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
    queries: bool = True,
    full: bool = False,
    replaces_earlier: bool = False,
    on_skipped: Callable[[SkippedFile], None] = lambda _file: None,
    on_table: Callable[[StagedTable], None] = lambda _table: None,
    oldest: datetime | None = None,
) -> list[TableCount]:
    """Read every file under `paths`, and the query of every table, into the lake.

    Events later than `latest`, which is `MAX_CLOCK_SKEW` ahead of the clock, are quarantined; those before
    `oldest` are left out. All sources are read and checked before the first row enters the lake: if one cannot
    be read, or has too many bad rows (`SourceError`), the lake does not change. Reading the same source again
    has no effect; what it gave before is corrected by what it gives now, always with `replaces_earlier`. A
    table with a watermark is read from the end of its last ingest, minus its lateness, unless `full`; the new
    watermark is stored when the rows are in the lake. Files that are found and not read are logged, and passed
    to `on_skipped`. `on_table` gets the rows of each table and source once they are checked, before anything
    enters the lake.
    """
    check_tables(sources)
    if lake.pseudonyms is not None:
        check_watermarks(sources.tables)
    connections = {table.name: resolve_connection(table, sources) for table in sources.queries} if queries else {}
    plan = IngestPlan(sources, lake, full)
    with lake.locked() as scratch:
        tombstones, opted_out = read_tombstones(lake.directory), opted_out_users(lake.directory)
        staged: list[StagedTable] = []
        files = plan.file_sources(paths, scratch) if paths else ()
        for source in chain(files, plan.query_sources(connections, scratch)):
            directory = scratch / f"{len(staged):04d}"
            staged.append(
                stage(source, sources, latest, directory, on_rows, lake.pseudonyms, tombstones, opted_out, oldest)
            )
            on_table(staged[-1])
        _report_skipped(plan.skipped, on_skipped)
        now = latest - MAX_CLOCK_SKEW
        readings = check_readings(staged, lake, sources, replaces_earlier)
        changes = _update_schemas(readings, lake, now)
        counts = commit(readings, lake, now, stored_watermarks(lake))
        _store_watermarks(staged, plan)
    return [replace(count, schema_changes=tuple(changes.pop(count.table, ()))) for count in counts]


def _report_skipped(skipped: Sequence[SkippedFile], on_skipped: Callable[[SkippedFile], None]) -> None:
    for file in skipped[:MAX_LOGGED_FILES]:
        log.warning("file skipped", file=file.file, reason=file.reason)
    if len(skipped) > MAX_LOGGED_FILES:
        log.warning("more files skipped", files=len(skipped) - MAX_LOGGED_FILES)
    for file in skipped:
        on_skipped(file)


def check_tables(sources: Sources) -> None:
    """Raise `SettingsError` for a table that cannot be read, or whose name another one has."""
    names = [table.name for table in sources.tables]
    for table in sources.tables:
        check_table(table)
        if table.name == ONLINE:
            raise SettingsError(f"sources.tables.{ONLINE}: the lake keeps what is received online under this name")
        if names.count(table.name) > 1:
            raise SettingsError(f"sources.tables.{table.name}: two tables have this name")


def _update_schemas(readings: list[SourceReading], lake: Lake, when: datetime) -> dict[str, list[SchemaChange]]:
    """Store the columns of every source that was not read before, and return the changes by table."""
    new = [part.staged for part in readings if part.staged.table.query is not None or part.is_new]
    changes: dict[str, list[SchemaChange]] = {}
    for name in dict.fromkeys(part.table.name for part in new):
        parts = [part for part in new if part.table.name == name]
        has_inferred_types = any(part.source.has_inferred_types for part in parts)
        changes[name] = update_columns(lake, name, [part.schema for part in parts], has_inferred_types, when)
        for change in changes[name]:
            log.warning("source column changed", **asdict(change) | {"when": change.when.isoformat()})
    return changes


def _store_watermarks(staged: list[StagedTable], plan: IngestPlan) -> None:
    for name in dict.fromkeys(part.table.name for part in staged if part.table.watermark):
        parts = [part for part in staged if part.table.name == name]
        table = parts[0].table
        watermark = plan.last_watermark(table)
        for part in parts:
            watermark = later_watermark(watermark, part.watermark)
        if watermark is not None:
            store_watermark(plan.lake, table, plan.query_fingerprint(table), watermark)
