"""Ingest files and queries into the lake; bad rows go to quarantine, an unreadable source stops the ingest."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import structlog

from jobs.ingest.mapping import check_table
from jobs.ingest.plan import IngestPlan
from jobs.ingest.queries import resolve_connection
from jobs.ingest.schema_drift import update_columns
from jobs.ingest.validation import StagedTable, stage
from jobs.ingest.watermark import later_watermark, store_watermark
from jobs.lake import Lake, scan_files
from recsys.data.quality import SchemaChange
from recsys.errors import SettingsError
from recsys.files import atomic_write, read_json, write_json
from recsys.settings import Sources

log = structlog.get_logger(__name__)

MAX_CLOCK_SKEW = timedelta(days=1)  # how far an event may lie ahead of the clock


@dataclass(frozen=True)
class TableCount:
    """The numbers of rows that one table read from one file or by its query, by their outcome."""

    file: str
    table: str
    kind: str
    rows: int
    accepted: int
    """New events in the lake; for items and users, the distinct ones written to the lake."""
    duplicates: int
    """Valid rows that the lake already had, or that were read twice."""
    quarantined: int
    rules: dict[str, int] = field(default_factory=dict[str, int])
    """Rule -> rows that broke it; a row may break several."""
    passed_over: int = 0
    """Rows of a file with a watermark below the one that the ingest starts from."""
    schema_changes: tuple[SchemaChange, ...] = ()
    """Changes of all sources of the table; on the table's first count only."""


def ingest(
    paths: tuple[str, ...],
    sources: Sources,
    lake: Lake,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
    queries: bool = True,
    full: bool = False,
) -> list[TableCount]:
    """Read every file under `paths`, and the query of every table, into the lake.

    Events later than `latest`, which is `MAX_CLOCK_SKEW` ahead of the clock, are quarantined. All sources are read
    and checked before the first row enters the lake: if one cannot be read (`SourceError`), the lake does not
    change. Reading the same source again has no effect. A table with a watermark is read from the end of its last
    ingest, minus its lateness, unless `full`; the new watermark is stored when the rows are in the lake.
    """
    _check_tables(sources)
    connections = {table.name: resolve_connection(table, sources) for table in sources.queries} if queries else {}
    plan = IngestPlan(sources, lake, full)
    with lake.locked() as scratch:
        staged: list[StagedTable] = []
        files = plan.file_sources(paths, scratch) if paths else ()
        for source in chain(files, plan.query_sources(connections, scratch)):
            directory = scratch / f"{len(staged):04d}"
            staged.append(stage(source, sources, latest, directory, on_rows, lake.pseudonym_key))
        changes = _update_schemas(staged, lake, latest - MAX_CLOCK_SKEW)
        counts = [_commit(part, lake) for part in staged]
        _store_watermarks(staged, plan)
    return [replace(count, schema_changes=tuple(changes.pop(count.table, ()))) for count in counts]


def ingest_history(lake: Lake) -> list[TableCount]:
    """Return the total counts of each file over all its ingests, and of each query by watermark, by table."""
    records = [read_json(record) for record in sorted((lake.directory / "ingests").glob("*.json"))]
    return [TableCount(**{name: value for name, value in record.items() if name != "state"}) for record in records]


def _check_tables(sources: Sources) -> None:
    names = [table.name for table in sources.tables]
    for table in sources.tables:
        check_table(table)
        if names.count(table.name) > 1:
            raise SettingsError(f"sources.tables.{table.name}: two tables have this name")


def _update_schemas(staged: list[StagedTable], lake: Lake, when: datetime) -> dict[str, list[SchemaChange]]:
    """Store the columns of every source that was not read before, and return the changes by table."""
    new = [part for part in staged if part.table.query is not None or not _record(part, lake).exists()]
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


def _commit(staged: StagedTable, lake: Lake) -> TableCount:
    """Move the staged rows into the lake and its quarantine, and record the counts."""
    table, fingerprint = staged.table, staged.source.fingerprint
    valid = scan_files(sorted((staged.directory / "valid").iterdir()))
    if table.kind == "events":
        accepted = lake.add_events(valid, fingerprint)
        all_accepted = lake.count_events_of_part(fingerprint)
    else:
        accepted = all_accepted = lake.upsert(table.kind, valid.collect())
    record = _record(staged, lake)
    _write_quarantine(staged, lake.directory / "quarantine" / f"{record.stem}.parquet")
    count = TableCount(
        file=staged.source.file,
        table=table.name,
        kind=table.kind,
        rows=staged.rows,
        accepted=accepted,
        duplicates=staged.valid - accepted,
        quarantined=staged.rows - staged.valid,
        rules=staged.rules,
        passed_over=staged.skipped,
    )
    # Fewer rows may be valid now than were accepted earlier, if an event name was removed from the settings.
    history = asdict(replace(count, accepted=all_accepted, duplicates=max(staged.valid - all_accepted, 0)))
    del history["schema_changes"]
    write_json(record, history | ({"state": staged.source.version} if staged.source.version else {}))
    log.debug("source ingested", **asdict(count))
    return count


def _record(staged: StagedTable, lake: Lake) -> Path:
    """Return the file that records the counts of a table source."""
    return lake.directory / "ingests" / f"{staged.table.name}-{staged.source.fingerprint}.json"


def _write_quarantine(staged: StagedTable, file: Path) -> None:
    """Write the rejected rows to `file`, or remove the file if there are none."""
    if staged.rows == staged.valid:
        file.unlink(missing_ok=True)
        return
    with atomic_write(file) as temporary:
        scan_files(sorted((staged.directory / "quarantine").iterdir())).sink_parquet(temporary)
