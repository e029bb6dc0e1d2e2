"""Files and queries into the lake: rows that break a rule go to quarantine, an unreadable source stops it all."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import structlog

from jobs.ingest.connections import resolve_connection
from jobs.ingest.mapping import check_table
from jobs.ingest.plan import Request, file_readings, query_readings
from jobs.ingest.schema_drift import keep_columns
from jobs.ingest.validation import Staged, stage
from jobs.ingest.watermark import keep_watermark, later
from jobs.lake import Lake, scan_files
from recsys.data.quality import SchemaChange
from recsys.errors import SettingsError
from recsys.files import atomic_write, read_json, write_json
from recsys.settings import Sources

log = structlog.get_logger(__name__)

MAX_CLOCK_SKEW = timedelta(days=1)  # of the clock, that an event may be


@dataclass(frozen=True)
class TableCount:
    """What became of the rows that one table read from one file, or by its query."""

    file: str
    table: str
    kind: str
    rows: int
    accepted: int  # events new to the lake; items and users, each once, put over what was known of them
    duplicates: int  # valid, but there already, or twice in the file
    quarantined: int
    rules: dict[str, int] = field(default_factory=dict[str, int])  # rule broken -> rows; a row may break several
    passed_over: int = 0  # rows of a file that lie below the table's watermark
    schema_changes: tuple[SchemaChange, ...] = ()  # of all that the table read, told with its first count


def ingest(
    paths: tuple[str, ...],
    sources: Sources,
    lake: Lake,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
    queries: bool = True,
    full: bool = False,
) -> list[TableCount]:
    """Read every file under `paths`, and every table's query, into the lake; events later than `latest`, which is
    `MAX_CLOCK_SKEW` of the clock, are quarantined.

    All is read and checked before the first row enters the lake: when something cannot be read (`SourceError`), the
    lake is as it was. Reading the same again changes nothing. A table with a watermark is read from where its last
    ingest ended, less its lateness, unless `full`; where it ended is written down when its rows are in the lake.
    """
    _check_tables(sources)
    connections = {table.name: resolve_connection(table, sources) for table in sources.queries} if queries else {}
    request = Request(sources, lake, full)
    with lake.locked() as scratch:
        staged: list[Staged] = []
        of_files = file_readings(paths, request, scratch) if paths else ()
        for reading in chain(of_files, query_readings(connections, request, scratch)):
            staged.append(
                stage(reading, sources, latest, scratch / f"{len(staged):04d}", on_rows, lake.pseudonym_key)
            )
        changes = _keep_schemas(staged, lake, latest - MAX_CLOCK_SKEW)
        counts = [_commit(part, lake) for part in staged]
        _keep_watermarks(staged, request)
    return [replace(count, schema_changes=tuple(changes.pop(count.table, ()))) for count in counts]


def ingest_history(lake: Lake) -> list[TableCount]:
    """What every file ever taken in brought to the lake, all its ingests together, by table; of a query, what it
    brought from each watermark on.
    """
    records = [read_json(record) for record in sorted((lake.directory / "ingests").glob("*.json"))]
    return [TableCount(**{name: value for name, value in record.items() if name != "state"}) for record in records]


def _check_tables(sources: Sources) -> None:
    names = [table.name for table in sources.tables]
    for table in sources.tables:
        check_table(table)
        if names.count(table.name) > 1:
            raise SettingsError(f"sources.tables.{table.name}: two tables have this name")


def _keep_schemas(staged: list[Staged], lake: Lake, when: datetime) -> dict[str, list[SchemaChange]]:
    """Write down the columns of all that was not read before, a table at a time; what has changed, by table."""
    new = [part for part in staged if part.table.query is not None or not _record(part, lake).exists()]
    changes: dict[str, list[SchemaChange]] = {}
    for name in dict.fromkeys(part.table.name for part in new):
        parts = [part for part in new if part.table.name == name]
        guessed = any(part.reading.guessed for part in parts)
        changes[name] = keep_columns(lake, name, [part.schema for part in parts], guessed, when)
        for change in changes[name]:
            log.warning("a source's columns have changed", **asdict(change) | {"when": change.when.isoformat()})
    return changes


def _keep_watermarks(staged: list[Staged], request: Request) -> None:
    for name in dict.fromkeys(part.table.name for part in staged if part.table.watermark):
        parts = [part for part in staged if part.table.name == name]
        reached = request.reached(parts[0].table)
        for part in parts:
            reached = later(reached, part.watermark)
        if reached is not None:
            keep_watermark(request.lake, parts[0].table, request.mark(parts[0].table), reached)


def _commit(staged: Staged, lake: Lake) -> TableCount:
    """Move what was staged into the lake, its rejects into quarantine, and write down the counts."""
    table, mark = staged.table, staged.reading.fingerprint
    valid = scan_files(sorted((staged.directory / "valid").iterdir()))
    if table.kind == "events":
        accepted = lake.add_events(valid, mark)
        brought = lake.count_events_of_part(mark)
    else:
        accepted = brought = lake.upsert(table.kind, valid.collect())
    record = _record(staged, lake)
    _keep_rejects(staged, lake.directory / "quarantine" / f"{record.stem}.parquet")
    count = TableCount(
        file=staged.reading.file,
        table=table.name,
        kind=table.kind,
        rows=staged.rows,
        accepted=accepted,
        duplicates=staged.valid - accepted,
        quarantined=staged.rows - staged.valid,
        rules=staged.rules,
        passed_over=staged.passed_over,
    )
    # Fewer may be valid now than were once taken in: an event's name may have left the settings.
    history = asdict(replace(count, accepted=brought, duplicates=max(staged.valid - brought, 0)))
    del history["schema_changes"]
    write_json(record, history | ({"state": staged.reading.state} if staged.reading.state else {}))
    log.debug("ingested", **asdict(count))
    return count


def _record(staged: Staged, lake: Lake) -> Path:
    """Where the counts of a reading are kept."""
    return lake.directory / "ingests" / f"{staged.table.name}-{staged.reading.fingerprint}.json"


def _keep_rejects(staged: Staged, file: Path) -> None:
    """Write the rows that broke a rule to `file`; without any, it is not there."""
    if staged.rows == staged.valid:
        file.unlink(missing_ok=True)
        return
    with atomic_write(file) as aside:
        scan_files(sorted((staged.directory / "quarantine").iterdir())).sink_parquet(aside)
