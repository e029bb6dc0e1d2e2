"""Remove what is older than the settings keep it: events, impressions, quarantine, runs, lines of the audit log."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import structlog

from jobs.lake.event_writer import DATE, partition_files, scan_files
from jobs.lake.lake import IMPRESSIONS, Lake, open_lake
from jobs.pipeline.run import COMPLETE, list_runs
from recsys.errors import StoreError
from recsys.files import atomic_write
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.read import live_version

AUDIT_FILE: Final = "audit.jsonl"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Removed:
    """The numbers of what was removed, by kind."""

    events: int = 0
    impressions: int = 0
    """Items shown."""
    quarantine_files: int = 0
    runs: int = 0
    audit_lines: int = 0


def apply_retention(settings: Settings, now: datetime) -> Removed:
    """Remove what is older than `settings.retention` keeps it; a kind whose days are 0 stays.

    A whole file or directory goes at once, so that what is killed halfway is finished by the next call.
    """
    retention, lake, directory = settings.retention, open_lake(settings), settings.directory

    def before(days: float) -> datetime | None:
        return now - timedelta(days=days) if days else None

    with lake.locked():
        removed = Removed(
            _remove_days(partition_files(lake.directory / "events"), before(retention.event_days)),
            _remove_days(_impression_files(lake), before(retention.impression_days)),
            _remove_old_files(_quarantine_files(lake), before(retention.quarantine_days)),
            _remove_runs(settings, before(retention.run_days)),
            _remove_audit_lines(directory / AUDIT_FILE, before(retention.audit_days)),
        )
    log.info("old data removed", **removed.__dict__)
    return removed


def _remove_days(files: Iterable[Path], before: datetime | None) -> int:
    """Remove the files of whole days before a time, and their directories; return their number of rows."""
    if before is None:
        return 0
    first_kept, rows = before.astimezone(UTC).date(), 0
    for file in files:
        if date.fromisoformat(file.parent.name.removeprefix(f"{DATE}=")) < first_kept:
            rows += int(scan_files([file]).select(pl.len()).collect().item())
            file.unlink()
            if not any(file.parent.iterdir()):
                file.parent.rmdir()
    return rows


def _impression_files(lake: Lake) -> list[Path]:
    return sorted((lake.directory / IMPRESSIONS).glob(f"{DATE}=*/*.parquet"))


def _quarantine_files(lake: Lake) -> list[Path]:
    patterns = ("quarantine/**/*.parquet", "undo/*/quarantine/*.parquet")
    return [file for pattern in patterns for file in sorted(lake.directory.glob(pattern))]


def _remove_old_files(files: Iterable[Path], before: datetime | None) -> int:
    if before is None:
        return 0
    old = [file for file in files if file.stat().st_mtime < before.timestamp()]
    for file in old:
        file.unlink()
    return len(old)


def _remove_runs(settings: Settings, before: datetime | None) -> int:
    """Remove runs of times before a time, except the latest complete one and the one that is live."""
    if before is None:
        return 0
    runs = list_runs(settings.directory)
    complete = [run.id for run in runs if run.manifest()["status"] == COMPLETE]
    kept = {*complete[:1], _live_version(settings)}
    old = [run for run in runs if run.as_of < before and run.id not in kept]
    for run in old:
        hidden = run.directory.with_name(f".{run.id}.removed")
        run.directory.rename(hidden)
        shutil.rmtree(hidden)
    for hidden in (settings.directory / "runs").glob(".*.removed"):  # of a killed job
        shutil.rmtree(hidden)
    return len(old)


def _live_version(settings: Settings) -> str | None:
    """Return the live version; None if nothing is live, or Redis does not answer."""
    try:
        return live_version(connect(settings.redis, settings.directory), Keys(settings.redis.namespace))
    except StoreError:
        return None


def _remove_audit_lines(file: Path, before: datetime | None) -> int:
    """Remove the lines of actions before a time; lines that servers add meanwhile are kept."""
    if before is None or not file.exists():
        return 0
    removed = 0

    def is_kept(line: bytes) -> bool:
        try:
            return datetime.fromisoformat(json.loads(line)["time"]) >= before
        except (ValueError, LookupError, TypeError):
            return True

    with file.open("rb") as opened:
        lines = opened.read().splitlines(keepends=True)
        kept = [line for line in lines if is_kept(line)]
        removed = len(lines) - len(kept)
        if removed:
            with atomic_write(file) as temporary:
                temporary.touch(mode=0o600)
                temporary.write_bytes(b"".join(kept))
            _append_late_lines(file, opened.read)
    return removed


def _append_late_lines(file: Path, read: Callable[[], bytes]) -> None:
    """Append what was written to the earlier file after it had been read."""
    late = read()
    if late:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, late)
        finally:
            os.close(descriptor)
