"""Remove what is older than the settings keep it: events, impressions, quarantine, runs, lines of the audit log."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import structlog

from jobs.audit import ROTATED_PREFIX, rotate_audit_log
from jobs.lake.event_writer import DATE, partition_files, scan_files
from jobs.lake.lake import IMPRESSIONS, Lake, open_lake
from jobs.pipeline.run import COMPLETE, list_runs, locked_runs
from recsys.audit.log import AuditLog
from recsys.errors import BusyError, StoreError
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.read import versions

REMOVED_SUFFIX: Final = ".removed"

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
    """Actions in rotated audit logs."""


def apply_retention(settings: Settings, now: datetime) -> Removed:
    """Remove what is older than `settings.retention` keeps it; a kind whose days are 0 stays.

    A whole file or directory goes at once, so that what is killed halfway is finished by the next call.
    """
    retention, lake = settings.retention, open_lake(settings)
    for hidden in (
        *settings.directory.glob(f".*{REMOVED_SUFFIX}"),
        *settings.directory.glob(f"runs/.*{REMOVED_SUFFIX}"),
    ):
        shutil.rmtree(hidden)  # of a killed job

    def before(days: float) -> datetime | None:
        return now - timedelta(days=days) if days else None

    with lake.locked():
        removed = Removed(
            _remove_days(partition_files(lake.directory / "events"), before(retention.event_days)),
            _remove_days(_impression_files(lake), before(retention.impression_days)),
            _remove_old_files(_quarantine_files(lake), before(retention.quarantine_days)),
            _remove_runs(settings, before(retention.run_days)),
            _remove_audit_logs(settings, retention.audit_days, now),
        )
    log.info("old data removed", **removed.__dict__)
    return removed


def first_kept_day(days: float, now: datetime) -> datetime | None:
    """Return the midnight (UTC) from which events are kept for some days; None for 0 days, which keep all."""
    if not days:
        return None
    return (now - timedelta(days=days)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


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
    """Remove runs of times before a time, except the latest complete one and the one that is live.

    While a process works on a run, or Redis does not say which is live, all runs stay until the next call.
    """
    if before is None:
        return 0
    runs = list_runs(settings.directory)
    complete = [run.id for run in runs if run.manifest()["status"] == COMPLETE]
    try:
        with locked_runs(settings.directory):
            kept = {*complete[:1], _live_version(settings)}
            old = [run for run in runs if run.as_of < before and run.id not in kept]
            for run in old:
                _remove_directory(run.directory)
    except (BusyError, StoreError) as error:
        log.warning("old runs are not removed yet", reason=str(error))
        return 0
    return len(old)


def _live_version(settings: Settings) -> str | None:
    """Return the live version, None if nothing is live; raises `StoreError` if Redis does not answer."""
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    return next((version.name for version in versions(client, keys) if version.live), None)


def _remove_audit_logs(settings: Settings, days: float, now: datetime) -> int:
    """Remove rotated logs whose newest action is older; return their number of lines.

    The log that is written to is rotated once its first action has half of that age, as no line can be removed from
    the middle of its chain.
    """
    if not days:
        return 0
    first = next(AuditLog(settings.directory).lines(), None)
    if first is not None and first.time < now - timedelta(days=days / 2):
        rotate_audit_log(settings)
    removed = 0
    for directory in sorted(settings.directory.glob(f"{ROTATED_PREFIX}*/")):
        times = [line.time for line in AuditLog(directory).lines()]
        if not times or max(times) < now - timedelta(days=days):
            removed += len(times)
            _remove_directory(directory)
    return removed


def _remove_directory(directory: Path) -> None:
    """Remove a directory, which is hidden first: one that was removed in part would look damaged."""
    hidden = directory.with_name(f".{directory.name}{REMOVED_SUFFIX}")
    directory.rename(hidden)
    shutil.rmtree(hidden)
