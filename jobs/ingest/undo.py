"""Undo an ingest: take back the rows that it gave, and restore those that it replaced."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jobs.ingest.source_records import (
    mark_undone,
    quarantine_file,
    read_ingests,
    read_record,
    replace_before,
    restore_record,
)
from jobs.ingest.watermark import restore_watermarks, stored_watermarks
from jobs.lake.event_partitions import KEPT_INGESTS
from jobs.lake.lake import Lake
from jobs.lake.quarantine_history import restore_quarantine
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
    kept_watermarks: tuple[str, ...] = ()
    """Tables whose watermark a later ingest moved, so that only a full ingest reads the undone rows again."""
    is_retry: bool = False
    """Whether it had read rows in quarantine, which are there again."""


def undo(lake: Lake, number: int) -> UndoneIngest:
    """Undo an ingest, whichever came after it.

    Events, items and users are as if it had not been, but for what later ingests changed. A watermark goes back
    only if no later ingest moved it; else undoing that one takes it back too. Raises `SourceError` for a number
    that is unknown, was undone, or is too old.
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
        partitions = lake.undo_writes(number, datetime.now(UTC), _later_readings(number, ingests.values()))
        sources = tuple(record["source"] for record in ingest["sources"])
        for source in sources:
            record = read_record(lake, source)
            is_latest = record is not None and record.ingest == number
            is_restored = restore_quarantine(lake.directory, number, quarantine_file(lake, source).stem)
            if is_latest and not is_restored:  # an ingest of an earlier version, which kept no files
                quarantine_file(lake, source).unlink(missing_ok=True)
                quarantine_file(lake, source, number).unlink(missing_ok=True)
            if is_latest:
                restore_record(lake, source, ingest["before"]["records"][source])
        later = {table for other in ingests.values() if other["number"] > number for table in _tables(other)}
        restore_watermarks(lake, _tables(ingest) - later, ingest["before"]["watermarks"])
        for other in ingests.values():
            if other["number"] > number:
                replace_before(lake, other, _state_without(ingest, other, list(ingests.values())))
        mark_undone(lake, number)
        kept = sorted(_tables(ingest) & later & stored_watermarks(lake).keys())
        events, is_retry = lake.count_events() - events_before, bool(ingest.get("is_retry"))
        return UndoneIngest(number, sources, partitions, events, tuple(kept), is_retry)


def _later_readings(number: int, ingests: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the first ingest after one that read each source as a whole again."""
    later = [ingest for ingest in ingests if ingest["number"] > number]
    return {source: ingest["number"] for ingest in reversed(later) for source in ingest.get("replacing", ())}


def _tables(ingest: Mapping[str, Any]) -> set[str]:
    """Return the tables whose watermarks an ingest may have moved."""
    return set() if ingest.get("is_retry") else {record["table"] for record in ingest["sources"]}


def _state_without(
    undone: Mapping[str, Any], later: Mapping[str, Any], ingests: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the state that undoing a later ingest restores, without what the undone one gave to it."""
    between = [other for other in ingests if undone["number"] < other["number"] < later["number"]]
    tables = _tables(undone).difference(*map(_tables, between))
    earlier, state = undone["before"], later["before"]
    records = {
        source: earlier["records"][source] if record and record["ingest"] == undone["number"] else record
        for source, record in state["records"].items()
    }
    kept = {table: value for table, value in state["watermarks"].items() if table not in tables}
    restored = {table: value for table, value in earlier["watermarks"].items() if table in tables}
    return {"records": records, "watermarks": kept | restored}
