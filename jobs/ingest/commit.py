"""Move the staged rows of an ingest into the lake: events, facts, quarantine, records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import structlog

from jobs.ingest.findings import event_findings
from jobs.ingest.source_records import (
    SourceRecord,
    quarantine_file,
    read_record,
    store_ingest,
    store_record,
)
from jobs.ingest.validation import StagedTable, one_of_each
from jobs.lake.event_partitions import CHANGED, CURRENT, KEPT_INGESTS, NEW, REMOVED, IngestOfEvents
from jobs.lake.event_writer import Days, scan_files
from jobs.lake.facts import last_values
from jobs.lake.lake import FACT_TABLES, Lake
from recsys.data.quality import SchemaChange
from recsys.errors import SourceError
from recsys.files import atomic_write
from recsys.schema import EVENT_ID, TIMESTAMP
from recsys.settings import Sources

log = structlog.get_logger(__name__)

MIN_ROWS_OF_SHARE = 100  # of a table, below which only a source of bad rows alone stops the ingest
ZONE_TOLERANCE = timedelta(days=1)  # that a corrected time zone may move the first and the last event
MIN_SPAN_OF_TOLERANCE = timedelta(days=7)  # of earlier events, so that a file of each day does not replace the last


@dataclass(frozen=True)
class TableCount:
    """The numbers of rows that one table read from one file or by its query, by their outcome."""

    file: str
    table: str
    kind: str
    rows: int
    accepted: int
    """New events in the lake; for items and users, the distinct ones that were read."""
    duplicates: int
    """Valid rows that the lake already had, or that were read twice."""
    quarantined: int
    rules: dict[str, int] = field(default_factory=dict[str, int])
    """Rule -> rows that broke it; a row may break several."""
    passed_over: int = 0
    """Rows of a file with a watermark below the one that the ingest starts from."""
    changed: int = 0
    """Events that the lake had with other values, which these rows replaced."""
    removed: int = 0
    """Events that an earlier reading of the source gave and this one does not."""
    schema_changes: tuple[SchemaChange, ...] = ()
    """Changes of all sources of the table; on the table's first count only."""
    notes: tuple[str, ...] = ()
    """How the source was read, where the settings do not say it, such as a detected encoding."""
    findings: tuple[str, ...] = ()
    """What may be wrong with the rows although they keep all rules; may name users."""


@dataclass(frozen=True)
class Reading:
    """One staged source, with its earlier reading."""

    staged: StagedTable
    earlier: SourceRecord | None
    days: Days | None
    """First and last day of its valid events."""
    is_replacing: bool
    """Whether its events replace those that it gave before."""

    @property
    def is_new(self) -> bool:
        """Return whether the source was not read before with this content and this mapping."""
        return self.earlier is None or self.earlier.fingerprint != self.staged.source.fingerprint


def check_readings(
    staged: Sequence[StagedTable], lake: Lake, sources: Sources, replaces_earlier: bool = False
) -> list[Reading]:
    """Compare staged sources with their earlier readings; with `replaces_earlier`, all of them replace those.

    Raises `SourceError` when a table has too many bad rows, which are then in quarantine, or a source too few rows.
    """
    readings = [_reading(part, lake, replaces_earlier) for part in staged]
    _check_bad_rows(readings, lake, sources)
    if not replaces_earlier:
        _check_row_numbers(readings, sources)
    return readings


def commit(readings: Sequence[Reading], lake: Lake, when: datetime, watermarks: dict[str, Any]) -> list[TableCount]:
    """Move the staged sources of one ingest into the lake, and return their counts.

    `watermarks` are those of the tables before the ingest, for undoing it. An ingest that changes nothing leaves no
    record and takes no number.
    """
    number = lake.last_ingest() + 1
    outcomes = _commit_events([part for part in readings if part.staged.table.kind == "events"], lake, number)
    outcomes |= _commit_facts([part for part in readings if part.staged.table.kind != "events"], lake, number)
    counts = [
        replace(_count(reading.staged, outcomes), findings=_findings(reading.staged, lake)) for reading in readings
    ]
    records = [
        replace(_record(reading, outcomes, number), findings=(*count.notes, *count.findings))
        for reading, count in zip(readings, counts, strict=True)
    ]
    changed = [
        (reading, record)
        for reading, record in zip(readings, records, strict=True)
        if reading.earlier is None or replace(record, ingest=reading.earlier.ingest) != reading.earlier
    ]
    for reading, record in changed:
        _write_quarantine(reading.staged, lake, number)
        store_record(lake, record)
        log.debug("source ingested", **asdict(replace(record, findings=())))
    for count in counts:
        for note in count.notes:
            log.warning("source read", file=count.file, table=count.table, note=note)
    if changed or any(count.changed for count in counts):
        before = {reading.staged.source.source: _stored(reading) for reading, _ in changed}
        state = {"records": before, "watermarks": watermarks}
        store_ingest(lake, number, when.isoformat(), state, [record for _, record in changed])
        lake.forget_undo(number - KEPT_INGESTS)
    return counts


def _reading(staged: StagedTable, lake: Lake, replaces_earlier: bool) -> Reading:
    earlier = read_record(lake, staged.source.source)
    days = _days(staged) if staged.table.kind == "events" else None
    is_replacing = (
        earlier is not None
        and staged.table.kind == "events"
        and (replaces_earlier or _is_replacing(staged, earlier, days))
    )
    return Reading(staged, earlier, days, is_replacing)


def _is_replacing(staged: StagedTable, earlier: SourceRecord, days: Days | None) -> bool:
    """Return whether a source gives all that it gave before, corrected, rather than more of the same."""
    if staged.source.start is not None or staged.table.replaces == "never":
        return False
    if staged.table.replaces == "always" or (earlier.content and earlier.content == staged.source.content):
        return True
    if earlier.first_day is None or earlier.last_day is None:
        return True
    span = earlier.last_day - earlier.first_day
    tolerance = ZONE_TOLERANCE if span >= MIN_SPAN_OF_TOLERANCE else timedelta()
    if days and days[0] <= earlier.first_day + tolerance and days[1] >= earlier.last_day - tolerance:
        return True
    log.warning(
        'source has other events than before: they are added (replaces = "always" or --replace corrects them)',
        source=staged.source.display_name,
        earlier=f"{earlier.first_day} to {earlier.last_day}",
        now=f"{days[0]} to {days[1]}" if days else "none",
    )
    return False


def _days(staged: StagedTable) -> Days | None:
    """Return the first and the last day of the valid events of a source."""
    day = pl.col(TIMESTAMP).dt.date()
    first, last = _valid(staged).select(day.min().alias("first"), day.max().alias("last")).collect().row(0)
    return None if first is None else (first, last)


def _check_bad_rows(readings: Sequence[Reading], lake: Lake, sources: Sources) -> None:
    """Raise `SourceError` for a table with too many bad rows; its bad rows are written to quarantine."""
    for name in dict.fromkeys(reading.staged.table.name for reading in readings):
        parts = [reading.staged for reading in readings if reading.staged.table.name == name]
        table = parts[0].table
        limit = sources.max_bad_rows if table.max_bad_rows is None else table.max_bad_rows
        rows, valid = sum(part.rows for part in parts), sum(part.valid for part in parts)
        broken = next((part for part in parts if part.rows and not part.valid), None)
        is_within = rows < MIN_ROWS_OF_SHARE or rows - valid <= limit * rows
        if limit >= 1 or (is_within and broken is None):
            continue
        worst = broken or max(parts, key=lambda part: (part.rows - part.valid) / max(part.rows, 1))
        for part in parts:
            _write_quarantine(part, lake, None)
        rules = ", ".join(f"{rule} ({count:,})" for rule, count in Counter(worst.rules).most_common())
        raise SourceError(
            f"{worst.source.display_name}: {worst.rows - worst.valid:,} of {worst.rows:,} rows broke rules of "
            f"table {name!r}: {rules}; max_bad_rows = {limit:g} allows {limit:.0%} of a table. "
            f"The lake is unchanged; see the rows in {quarantine_file(lake, worst.source.source)}"
        )


def _check_row_numbers(readings: Sequence[Reading], sources: Sources) -> None:
    """Raise `SourceError` for a source that has much fewer rows than it had before."""
    for reading in readings:
        staged, earlier = reading.staged, reading.earlier
        limit = sources.min_rows if staged.table.min_rows is None else staged.table.min_rows
        if earlier is None or staged.source.start is not None or staged.rows >= limit * earlier.rows:
            continue
        raise SourceError(
            f"{staged.source.display_name}: {staged.rows:,} rows, {earlier.rows:,} at the last reading; "
            f"min_rows = {limit:g} expects {limit:.0%} of them. The lake is unchanged; `recsys ingest --replace` "
            "takes the rows as they are"
        )


def _commit_events(readings: Sequence[Reading], lake: Lake, number: int) -> dict[tuple[str, str], int]:
    """Write all events of an ingest; return the number of events by source and outcome."""
    if not readings:
        return {}
    files = [file for reading in readings for file in _valid_files(reading.staged)]
    replacing = {reading.staged.source.source: reading for reading in readings if reading.is_replacing}
    earlier_days = {
        name: (reading.earlier.first_day, reading.earlier.last_day)
        for name, reading in replacing.items()
        if reading.earlier and reading.earlier.first_day and reading.earlier.last_day
    }
    own_ids = frozenset(reading.staged.source.source for reading in readings if _has_own_ids(reading.staged))
    ingest = IngestOfEvents(number, frozenset(replacing))
    counts = lake.write_events(scan_files(files), ingest, earlier_days, own_ids).counts
    return {(source, outcome): rows for source, outcome, rows in counts.rows()}


def _has_own_ids(staged: StagedTable) -> bool:
    """Return whether the source gives ids of events, which otherwise are hashes of the whole row."""
    mapped = staged.table.columns.get(EVENT_ID)
    return mapped is not None and (mapped != EVENT_ID or EVENT_ID in staged.schema)


def _commit_facts(readings: Sequence[Reading], lake: Lake, number: int) -> dict[tuple[str, str], int]:
    """Write the facts on items and users of an ingest, table by table; return the number of rows by source."""
    accepted: dict[tuple[str, str], int] = {}
    tables = {reading.staged.table.name: reading.staged.table for reading in readings}
    for position, table in enumerate(tables.values()):
        _, key = FACT_TABLES[table.kind]
        parts = [reading.staged for reading in readings if reading.staged.table.name == table.name]
        frames = [one_of_each(_valid(part), table) for part in parts]
        for part, frame in zip(parts, frames, strict=True):
            accepted[part.source.source, NEW] = accepted[part.source.source, CURRENT] = frame.height
        lake.write_facts(
            table.kind, table.name, last_values(pl.concat(frames), key), number, position, table.complete
        )
    return accepted


def _count(staged: StagedTable, outcomes: dict[tuple[str, str], int]) -> TableCount:
    source = staged.source.source
    accepted, changed, removed = (outcomes.get((source, outcome), 0) for outcome in (NEW, CHANGED, REMOVED))
    return TableCount(
        file=staged.source.file,
        table=staged.table.name,
        kind=staged.table.kind,
        rows=staged.rows,
        accepted=accepted,
        duplicates=staged.valid - accepted - changed,
        quarantined=staged.rows - staged.valid,
        changed=changed,
        removed=removed,
        rules=staged.rules,
        passed_over=staged.skipped,
        notes=(*staged.notes, *staged.counts.messages()),
    )


def _findings(staged: StagedTable, lake: Lake) -> tuple[str, ...]:
    return event_findings(_valid(staged), lake.items()) if staged.table.kind == "events" else ()


def _record(reading: Reading, outcomes: dict[tuple[str, str], int], number: int) -> SourceRecord:
    """Return the record of a reading; an increment adds up with what the source gave before."""
    staged, earlier = reading.staged, reading.earlier
    source = staged.source.source
    first_day, last_day = reading.days or (None, None)
    is_whole = reading.is_replacing or earlier is None or staged.table.kind != "events"
    accepted = outcomes.get((source, CURRENT if is_whole else NEW), 0)
    record = SourceRecord(
        source=staged.source.source,
        table=staged.table.name,
        file=staged.source.file,
        kind=staged.table.kind,
        fingerprint=staged.source.fingerprint,
        content=staged.source.content,
        version=staged.source.version,
        ingest=number,
        rows=staged.rows,
        accepted=accepted,
        duplicates=staged.valid - accepted,
        quarantined=staged.rows - staged.valid,
        rules=staged.rules,
        passed_over=staged.skipped,
        first_day=first_day,
        last_day=last_day,
    )
    if is_whole or earlier is None:
        return record
    return record.plus(earlier) if accepted or record.quarantined else earlier


def _stored(reading: Reading) -> dict[str, Any] | None:
    return None if reading.earlier is None else asdict(reading.earlier)


def _valid_files(staged: StagedTable) -> list[Path]:
    return sorted((staged.directory / "valid").iterdir())


def _valid(staged: StagedTable) -> pl.LazyFrame:
    return scan_files(_valid_files(staged))


def _write_quarantine(staged: StagedTable, lake: Lake, increment: int | None) -> None:
    """Write the rejected rows of a source's latest reading, or remove their file if there are none.

    An increment by watermark, the number of its ingest, has a file of its own beside those of earlier increments.
    """
    source, is_increment = staged.source.source, staged.source.start is not None
    file = quarantine_file(lake, source, increment if is_increment else None)
    if not is_increment:
        for earlier in file.parent.glob(f"{file.stem}-*.parquet"):
            earlier.unlink()
    if staged.rows == staged.valid:
        file.unlink(missing_ok=True)
        return
    with atomic_write(file) as temporary:
        scan_files(sorted((staged.directory / "quarantine").iterdir())).sink_parquet(temporary)
