"""Records of sources and ingests in the lake: the latest reading of each source, and what each ingest changed."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jobs.lake.lake import Lake
from recsys.data.quality import SourceCounts
from recsys.files import load_json, write_json

READ_AGAIN = "remove it, and the next ingest reads the source again"


@dataclass(frozen=True)
class SourceRecord:
    """The latest reading of a source, with the counts of its rows; increments by watermark are added up."""

    source: str
    """Table and path of the file, or connection."""
    table: str
    file: str
    kind: str
    fingerprint: str
    """A hash of the content and the mapping."""
    content: str
    """A hash of the content of a file; empty for a query."""
    version: str
    """A hash of a remote file's version and the mapping."""
    ingest: int
    """The number of the ingest that read it."""
    rows: int
    accepted: int
    """Distinct valid events that no other source gave before; distinct items or users."""
    duplicates: int
    quarantined: int
    rules: dict[str, int] = field(default_factory=dict[str, int])
    """Rule -> rows that broke it; a row may break several."""
    passed_over: int = 0
    """Rows of a file below the watermark that the ingest started from."""
    findings: tuple[str, ...] = ()
    """How the latest reading was read, and what may be wrong with its rows."""
    first_day: date | None = None
    """Day of the first event."""
    last_day: date | None = None

    def plus(self, earlier: "SourceRecord") -> "SourceRecord":
        """Add the counts of earlier increments of the same source."""
        sums = {
            name: getattr(self, name) + getattr(earlier, name)
            for name in ("rows", "accepted", "duplicates", "quarantined", "passed_over")
        }
        rules = {
            rule: self.rules.get(rule, 0) + earlier.rules.get(rule, 0) for rule in {**earlier.rules, **self.rules}
        }
        days = [day for day in (self.first_day, earlier.first_day, self.last_day, earlier.last_day) if day]
        return replace(
            self, **sums, rules=rules, first_day=min(days, default=None), last_day=max(days, default=None)
        )


def read_records(lake: Lake) -> list[SourceRecord]:
    """Return the latest reading of every source, by name."""
    records = [load_json(file, _record, READ_AGAIN) for file in (lake.directory / "sources").glob("*.json")]
    return sorted(records, key=lambda record: (record.table, record.source))


def count_sources(lake: Lake) -> tuple[SourceCounts, ...]:
    """Return the counts of the latest reading of every source, by name."""
    return tuple(
        SourceCounts(
            name=f"{record.table} ({record.file})",
            rows_read=record.rows,
            accepted=record.accepted,
            duplicates=record.duplicates,
            quarantined=record.quarantined,
            rules=record.rules,
            findings=record.findings,
        )
        for record in read_records(lake)
    )


def read_record(lake: Lake, source: str) -> SourceRecord | None:
    """Return the latest reading of a source, None before the first."""
    file = _file(lake, source)
    return load_json(file, _record, READ_AGAIN) if file.exists() else None


def store_record(lake: Lake, record: SourceRecord) -> None:
    """Store the latest reading of a source."""
    write_json(_file(lake, record.source), asdict(record))


def quarantine_file(lake: Lake, source: str, ingest: int | None = None) -> Path:
    """Return the file of the rejected rows of a source: of its latest whole reading, or of one increment."""
    name = _file(lake, source).stem if ingest is None else f"{_file(lake, source).stem}-{ingest:06d}"
    return lake.directory / "quarantine" / f"{name}.parquet"


def stopped_file(lake: Lake, source: str) -> Path:
    """Return the file of the rejected rows because of which an ingest of a source stopped."""
    return lake.directory / "quarantine" / f"{_file(lake, source).stem}-stopped.parquet"


def store_ingest(
    lake: Lake,
    number: int,
    when: str,
    before: Mapping[str, Any],
    records: Sequence[SourceRecord],
    replacing: Collection[str] = (),
    is_retry: bool = False,
) -> None:
    """Store what an ingest read, with the records and watermarks that undoing it restores.

    The events of the sources `replacing` replaced their earlier ones. With `is_retry` it read rows in quarantine
    again, and moved no watermark.
    """
    sources = [asdict(record) for record in records]
    read = {"number": number, "when": when, "sources": sources, "replacing": sorted(replacing)}
    write_json(_ingest_file(lake, number), {**read, "before": before, "is_retry": is_retry})


def read_ingests(lake: Lake) -> list[dict[str, Any]]:
    """Return every ingest that was not undone, oldest first, with what `store_ingest` stored."""
    files = sorted((lake.directory / "ingests").glob("[0-9]*.json"))
    return [load_json(file, _ingest, _no_undo(file)) for file in files if not file.name.endswith(".undone.json")]


def replace_before(lake: Lake, ingest: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Replace the records and watermarks that undoing an ingest restores."""
    if before != ingest["before"]:
        write_json(_ingest_file(lake, ingest["number"]), {**ingest, "before": before})


def mark_undone(lake: Lake, number: int) -> None:
    """Keep the record of an ingest as one that was undone."""
    file = _ingest_file(lake, number)
    file.rename(file.with_suffix(".undone.json"))


def restore_record(lake: Lake, source: str, values: Mapping[str, Any] | None) -> None:
    """Restore an earlier reading of a source; None removes its record."""
    if values is None:
        _file(lake, source).unlink(missing_ok=True)
    else:
        store_record(lake, _record(values))


def _record(values: Mapping[str, Any]) -> SourceRecord:
    days = {name: date.fromisoformat(values[name]) for name in ("first_day", "last_day") if values[name]}
    return SourceRecord(**{**values, **days, "findings": tuple(values["findings"])})


def _ingest(values: dict[str, Any]) -> dict[str, Any]:
    """Return the record of an ingest; raises `LookupError` or `TypeError` for other values."""
    _ = int(values["number"]), datetime.fromisoformat(values["when"]), values["before"]["records"].items()
    _ = values["before"]["watermarks"].items(), [(each["source"], each["table"]) for each in values["sources"]]
    return values


def _no_undo(file: Path) -> str:
    return f"rename it to {file.stem}.undone.json, and the ingest can no longer be undone"


def _file(lake: Lake, source: str) -> Path:
    table = source.partition("/")[0]
    return lake.directory / "sources" / f"{table}-{hashlib.sha256(source.encode()).hexdigest()[:16]}.json"


def _ingest_file(lake: Lake, number: int) -> Path:
    return lake.directory / "ingests" / f"{number:06d}.json"
