"""Undo an ingest: take back the rows that it gave, and restore those that it replaced."""

from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.ingest.source_records import (
    mark_undone,
    quarantine_file,
    read_ingests,
    read_record,
    restore_record,
)
from jobs.ingest.watermark import restore_watermarks
from jobs.lake.event_partitions import KEPT_INGESTS
from jobs.lake.lake import Lake
from recsys.errors import SourceError


@dataclass(frozen=True)
class UndoneIngest:
    """What undoing an ingest changed."""

    number: int
    sources: tuple[str, ...]
    """The sources that it had read."""
    partitions: int
    """Days and buckets of events that changed."""
    events: int
    """Events in the lake now, minus those before."""


def undo(lake: Lake, number: int) -> UndoneIngest:
    """Undo an ingest, whichever came after it.

    Events, items and users are as if it had not been, but for what later ingests changed. A watermark goes back
    only if no later ingest moved it. Raises `SourceError` for a number that is unknown, was undone, or is too old.
    """
    with lake.locked():
        ingests = {ingest["number"]: ingest for ingest in read_ingests(lake)}
        if number not in ingests:
            known = ", ".join(map(str, sorted(ingests)[-10:])) or "none"
            raise SourceError(f"ingest {number}: unknown or undone; the last ones are {known}")
        if number <= lake.last_ingest() - KEPT_INGESTS:
            raise SourceError(f"ingest {number}: too old; only the last {KEPT_INGESTS} can be undone")
        ingest = ingests[number]
        events_before = lake.count_events()
        partitions = lake.undo_writes(number, datetime.now(UTC))
        sources = tuple(record["source"] for record in ingest["sources"])
        for source in sources:
            record = read_record(lake, source)
            if record is not None and record.ingest == number:
                quarantine_file(lake, source).unlink(missing_ok=True)
                quarantine_file(lake, source, number).unlink(missing_ok=True)
                restore_record(lake, source, ingest["before"]["records"][source])
        later = {
            record["table"] for other in ingests.values() if other["number"] > number for record in other["sources"]
        }
        tables = {record["table"] for record in ingest["sources"]} - later
        restore_watermarks(lake, tables, ingest["before"]["watermarks"])
        mark_undone(lake, number)
        return UndoneIngest(number, sources, partitions, lake.count_events() - events_before)
