"""Move the staged rows of an ingest into the lake: events, facts, quarantine, records."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import polars as pl
import structlog

from jobs.ingest.formats.chunks import LINE_TEXT
from jobs.ingest.ids import event_findings
from jobs.ingest.source_readings import SourceReading, rejected_rows, valid_files, valid_rows, write_quarantine
from jobs.ingest.source_records import (
    SourceRecord,
    store_ingest,
    store_record,
)
from jobs.ingest.validation import StagedTable, one_of_each
from jobs.lake.event_partitions import CHANGED, CURRENT, KEPT_INGESTS, NEW, REMOVED, IngestOfEvents
from jobs.lake.event_writer import scan_files
from jobs.lake.fact_tables import FACT_TABLES
from jobs.lake.facts import last_values
from jobs.lake.lake import Lake
from recsys.data.quality import SchemaChange
from recsys.schema import EVENT_ID

log = structlog.get_logger(__name__)

FACTS_CHANGED = "facts changed"
Outcomes = dict[tuple[str, str], int]  # source and outcome -> rows; of facts, whether any of their table changed


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
    erased: int = 0
    """Rows of users who were erased since, which are left out and count nowhere else."""
    opted_out: int = 0
    """Events of users who have opted out, which are left out and count nowhere else."""
    expired: int = 0
    """Events older than the lake keeps them, which are left out and count nowhere else."""


def commit(
    readings: Sequence[SourceReading], lake: Lake, when: datetime, watermarks: dict[str, Any]
) -> list[TableCount]:
    """Move the staged sources of one ingest into the lake, and return their counts.

    `watermarks` are those of the tables before the ingest, for undoing it. An ingest that changes nothing leaves no
    record and takes no number.
    """
    number = lake.last_ingest() + 1
    outcomes = commit_events([part for part in readings if part.staged.table.kind == "events"], lake, number)
    outcomes |= _commit_facts([part for part in readings if part.staged.table.kind != "events"], lake, when, number)
    counts = [count_rows(reading.staged, outcomes, lake) for reading in readings]
    records = [
        replace(make_record(reading, outcomes, number), findings=(*count.notes, *count.findings))
        for reading, count in zip(readings, counts, strict=True)
    ]
    effective = [
        (reading, record)
        for reading, record in zip(readings, records, strict=True)
        if _has_effect(reading, record, outcomes)
    ]
    for reading, record in effective:
        write_quarantine(reading.staged, lake, number)
        store_record(lake, record)
        log.debug("source ingested", **asdict(replace(record, findings=())))
    for count in counts:
        for note in count.notes:
            log.warning("source read", file=count.file, table=count.table, note=note)
    if effective:
        before = {reading.staged.source.source: _stored(reading) for reading, _ in effective}
        state = {"records": before, "watermarks": watermarks}
        replacing = [reading.staged.source.source for reading, _ in effective if reading.is_replacing]
        store_ingest(lake, number, when.isoformat(), state, [record for _, record in effective], replacing)
        lake.forget_undo(number - KEPT_INGESTS)
    return counts


def _has_effect(reading: SourceReading, record: SourceRecord, outcomes: Outcomes) -> bool:
    """Return whether a source changed the lake, or its own record."""
    if reading.earlier is None or replace(record, ingest=reading.earlier.ingest) != reading.earlier:
        return True
    return any(outcomes.get((record.source, outcome), 0) for outcome in (NEW, CHANGED, REMOVED, FACTS_CHANGED))


def commit_events(readings: Sequence[SourceReading], lake: Lake, number: int) -> Outcomes:
    """Write all events of an ingest; return the number of events by source and outcome."""
    if not readings:
        return {}
    files = [file for reading in readings for file in valid_files(reading.staged)]
    replacing = {reading.staged.source.source: reading for reading in readings if reading.is_replacing}
    earlier_days = {
        name: (reading.earlier.first_day, reading.earlier.last_day)
        for name, reading in replacing.items()
        if reading.earlier and reading.earlier.first_day and reading.earlier.last_day
    }
    own_ids = frozenset(reading.staged.source.source for reading in readings if has_own_ids(reading.staged))
    ingest = IngestOfEvents(number, frozenset(replacing))
    counts = lake.write_events(scan_files(files), ingest, earlier_days, own_ids).counts
    return {(source, outcome): rows for source, outcome, rows in counts.rows()}


def has_own_ids(staged: StagedTable) -> bool:
    """Return whether the source gives ids of events, which otherwise are hashes of the whole row."""
    mapped = staged.table.columns.get(EVENT_ID)
    return mapped is not None and (mapped != EVENT_ID or EVENT_ID in staged.schema)


def _commit_facts(readings: Sequence[SourceReading], lake: Lake, when: datetime, number: int) -> Outcomes:
    """Write the facts on items and users of an ingest, table by table; return the number of rows by source."""
    outcomes: Outcomes = {}
    tables = {reading.staged.table.name: reading.staged.table for reading in readings}
    for position, table in enumerate(tables.values()):
        _, key = FACT_TABLES[table.kind]
        parts = [reading.staged for reading in readings if reading.staged.table.name == table.name]
        frames = [one_of_each(valid_rows(part), table) for part in parts]
        given = last_values(pl.concat(frames), key)
        is_complete = table.complete and not any(part.source.is_increment for part in parts)
        unreadable = _unreadable_keys(parts, key, lake) if is_complete else None
        is_changed = lake.write_facts(
            table.kind, table.name, given, when, number, position, is_complete, unreadable
        )
        for part, frame in zip(parts, frames, strict=True):
            outcomes[part.source.source, CURRENT] = frame.height
            outcomes[part.source.source, FACTS_CHANGED] = int(is_changed)
    return outcomes


def _unreadable_keys(parts: Sequence[StagedTable], key: str, lake: Lake) -> pl.Series:
    """Return the items of rows that broke a rule; a line that is no row may be of every known item in it."""
    known = lake.items().select(key).collect().to_series()
    found = [known.clear()]
    for part in parts:
        rejected = rejected_rows(part)
        names = rejected.collect_schema().names()
        if key in names:
            found.append(rejected.select(pl.col(key).drop_nulls()).collect().to_series())
        lines = rejected.select(pl.col(LINE_TEXT).drop_nulls()).collect().to_series()
        if lines.len() and known.len():
            found.append(
                lines.str.extract_many(known.implode(), overlapping=True).explode().drop_nulls().alias(key)
            )
    return pl.concat(found).unique()


def count_rows(staged: StagedTable, outcomes: Outcomes, lake: Lake) -> TableCount:
    """Return the numbers of rows of a staged source by their outcome."""
    source, is_events = staged.source.source, staged.table.kind == "events"
    accepted = outcomes.get((source, NEW if is_events else CURRENT), 0)
    changed, removed = (outcomes.get((source, outcome), 0) for outcome in (CHANGED, REMOVED))
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
        findings=event_findings(valid_rows(staged), lake.items()) if is_events else (),
        erased=staged.erased,
        opted_out=staged.opted_out,
        expired=staged.expired,
    )


def make_record(reading: SourceReading, outcomes: Outcomes, number: int) -> SourceRecord:
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
        duplicates=staged.valid - accepted + staged.repeated,
        quarantined=staged.rows - staged.valid - staged.repeated,
        rules=staged.rules if staged.new_rules is None else staged.new_rules,
        passed_over=staged.skipped,
        first_day=first_day,
        last_day=last_day,
    )
    if is_whole or earlier is None:
        return record
    return record.plus(earlier) if accepted or record.quarantined else earlier


def _stored(reading: SourceReading) -> dict[str, Any] | None:
    return None if reading.earlier is None else asdict(reading.earlier)
