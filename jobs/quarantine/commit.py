"""Move rows that were read again from quarantine into the lake, as an ingest of its own.

What undoing it needs is on disk before any row leaves quarantine. A process that is killed leaves rows both in the
lake and in quarantine: they are the same events, so that the next retry adds nothing and finishes the work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from jobs.checks.quarantine import QuarantineFile
from jobs.ingest.commit import Outcomes, commit_events, count_rows, has_own_ids, make_record
from jobs.ingest.source_readings import SourceReading, compare_reading, valid_files, valid_rows
from jobs.ingest.source_records import SourceRecord, store_ingest, store_record
from jobs.ingest.validation import one_of_each
from jobs.lake.event_partitions import CURRENT, IDENTITY, KEPT_INGESTS, NEW
from jobs.lake.fact_tables import FACT_TABLES, read_fact_tables
from jobs.lake.facts import without_superseded
from jobs.lake.lake import Lake
from jobs.lake.quarantine_history import keep_quarantine
from jobs.quarantine.reading import Rereading
from recsys.files import atomic_write, copy_times, link_or_copy


def commit_rereadings(
    rereadings: Sequence[Rereading],
    listed: Sequence[QuarantineFile],
    lake: Lake,
    when: datetime,
    watermarks: Mapping[str, Any],
) -> int | None:
    """Move the rows that are good now into the lake; return the number of the ingest, None if nothing changes.

    `listed` are all files in quarantine; `watermarks` are those of the tables, which stay.
    """
    changed = [rereading for rereading in rereadings if rereading.is_changed]
    if not changed:
        return None
    number = lake.last_ingest() + 1
    readings = [_reading(rereading, lake) for rereading in changed]
    outcomes = commit_events([each for each in readings if each.staged.table.kind == "events"], lake, number)
    for position, (rereading, reading) in enumerate(zip(changed, readings, strict=True)):
        if reading.staged.table.kind != "events":
            outcomes |= _commit_facts(rereading, outcomes, lake, when, number, position)
    records: dict[str, SourceRecord] = {}
    for rereading, reading in zip(changed, readings, strict=True):
        earlier = records.get(rereading.record.source)
        records[rereading.record.source] = _record(rereading, reading, earlier, outcomes, lake, number)
    replaced = {rereading.file.path: rereading for rereading in changed}
    current = [_counts_after(file, replaced.get(file.path)) for file in listed]
    records = {source: _with_counts(record, current) for source, record in records.items()}

    keep_quarantine(lake.directory, number, replaced)
    before = {rereading.record.source: asdict(rereading.record) for rereading in changed}
    state = {"records": before, "watermarks": watermarks}
    replacing = [reading.staged.source.source for reading in readings if reading.is_replacing]
    store_ingest(lake, number, when.isoformat(), state, list(records.values()), replacing, is_retry=True)
    for record in records.values():
        store_record(lake, record)
    for path, rereading in replaced.items():
        _replace_quarantine(path, rereading)
    lake.forget_undo(number - KEPT_INGESTS)
    return number


def _reading(rereading: Rereading, lake: Lake) -> SourceReading:
    staged = rereading.staged
    if rereading.is_whole or staged.table.kind != "events":
        return compare_reading(staged, lake)
    if has_own_ids(staged):
        _drop_known_events(rereading, lake)
    return compare_reading(staged, lake)


def _drop_known_events(rereading: Rereading, lake: Lake) -> None:
    """Leave out events that the lake has, which later files may have corrected."""
    for file in valid_files(rereading.staged):
        rows = pl.read_parquet(file, glob=False)
        known = (
            lake.events().join(rows.lazy(), on=IDENTITY, how="semi").select(IDENTITY).collect(engine="streaming")
        )
        rows.join(known, on=IDENTITY, how="anti", maintain_order="left").write_parquet(file)


def _commit_facts(
    rereading: Rereading, outcomes: Outcomes, lake: Lake, when: datetime, number: int, position: int
) -> Outcomes:
    """Take the facts on items or users that no later ingest or online change gave."""
    staged = rereading.staged
    _, key = FACT_TABLES[staged.table.kind]
    tables = read_fact_tables(lake.directory, staged.table.kind)
    rows = one_of_each(valid_rows(staged), staged.table)
    own, since = staged.table.name, rereading.file.ingest or 0
    given = without_superseded(rows, tables, own, key, since, rereading.is_whole)
    new = given.join(tables[own], on=key, how="anti").height if own in tables else given.height
    lake.write_facts(staged.table.kind, own, given, when, number, position)
    source = staged.source.source
    return {(source, CURRENT): rows.height, (source, NEW): outcomes.get((source, NEW), 0) + new}


def _record(
    rereading: Rereading,
    reading: SourceReading,
    earlier: SourceRecord | None,
    outcomes: Outcomes,
    lake: Lake,
    number: int,
) -> SourceRecord:
    """Return the record of a source whose rows were read again; `earlier` counts those of another file of it."""
    if rereading.is_whole:
        count = count_rows(reading.staged, outcomes, lake)
        record = make_record(reading, outcomes, number)
        return replace(record, rows=reading.staged.rows, findings=(*count.notes, *count.findings))
    stored = earlier or rereading.record
    days = [day for day in (stored.first_day, stored.last_day, *(reading.days or ())) if day]
    new = outcomes.get((stored.source, NEW), 0) if earlier is None else 0
    return replace(
        stored,
        ingest=number,
        accepted=stored.accepted + new,
        first_day=min(days, default=None),
        last_day=max(days, default=None),
    )


def _counts_after(file: QuarantineFile, rereading: Rereading | None) -> QuarantineFile:
    return file if rereading is None else replace(file, rows=rereading.quarantined, rules=rereading.rules)


def _with_counts(record: SourceRecord, files: Sequence[QuarantineFile]) -> SourceRecord:
    """Return a record with the counts of all rows of its source that are in quarantine."""
    own = [file for file in files if f"{file.table}/{file.source}" == record.source]
    names = dict.fromkeys(rule for file in own for rule in file.rules)
    rules = {rule: sum(file.rules.get(rule, 0) for file in own) for rule in names}
    quarantined = sum(file.rows for file in own)
    duplicates = max(0, record.rows - record.accepted - quarantined)
    return replace(record, quarantined=quarantined, rules=rules, duplicates=duplicates)


def _replace_quarantine(path: Path, rereading: Rereading) -> None:
    if not rereading.quarantined:
        path.unlink(missing_ok=True)
        return
    copy_times(path, rereading.quarantine)
    with atomic_write(path) as temporary:
        link_or_copy(rereading.quarantine, temporary)
