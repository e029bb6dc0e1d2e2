"""The status of an installation: its lake, runs, schedule and Redis."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from jobs.ingest.source_records import read_ingests
from jobs.lake.fact_tables import ONLINE
from jobs.lake.lake import Lake, open_lake
from jobs.pipeline.run import list_runs
from jobs.pipeline.step_names import PUBLISH
from jobs.scheduler.history import Attempt, read_history
from jobs.scheduler.lock import LockHolder, lock_holder
from jobs.scheduler.scheduler import SCHEDULER, job_triggers
from recsys.availability import is_available, is_valid
from recsys.errors import StoreError
from recsys.schema import CHANGED_ONLINE_AT, TIMESTAMP
from recsys.settings import Settings
from recsys.store.client.connect import connect, describe_server, store_errors, used_memory
from recsys.store.client.inspection import ServerState, read_server_states
from recsys.store.event_stream import StreamState, read_stream_state
from recsys.store.keys import Keys
from recsys.store.read import Version, versions

MAX_ATTEMPTS = 10


@dataclass(frozen=True)
class LakeStatus:
    """The numbers of rows in the lake, and the times of the first and last event."""

    events: int
    items: int
    users: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class CatalogueStatus:
    """The numbers of items by what they are now, and the time of the last change of each source."""

    items: int
    offered: int
    """Items that are available and valid."""
    unavailable: int
    outside_validity: int
    """Items that are available, but have not begun or have ended."""
    last_changes: Mapping[str, datetime | None]
    """Table, or `online` -> time of the last change; None if its ingest is not recorded."""


@dataclass(frozen=True)
class RunStatus:
    """A run and its progress."""

    run_id: str
    status: str
    error: str | None
    winner: str | None
    unmeasured: str | None
    """Why models were not measured, and when that is expected; None if they were."""
    seconds: float
    directory: Path


@dataclass(frozen=True)
class RedisStatus:
    """The Redis server that lists are served from."""

    address: str
    memory_bytes: int
    versions: list[Version]
    stream: StreamState
    oldest_entry_seconds: float | None
    """Age of the oldest entry of the stream, which waits to be archived; None for an empty stream."""
    problems: list[str]
    """What is wrong with the server or its data, in words."""


@dataclass(frozen=True)
class ScheduleStatus:
    """The scheduler, when each job is due next, and the latest attempts at jobs, oldest first."""

    scheduler: LockHolder | None
    due: dict[str, datetime]
    attempts: list[Attempt]


@dataclass(frozen=True)
class Status:
    """The status of all parts; `redis_error` is the reason if `redis` is None."""

    lake: LakeStatus
    catalogue: CatalogueStatus
    runs: list[RunStatus]
    redis: RedisStatus | None
    redis_error: str | None
    schedule: ScheduleStatus


def read_status(settings: Settings, now: datetime) -> Status:
    """Read the status of the lake, the runs and Redis; a Redis that does not answer is part of the status."""
    try:
        redis, redis_error = _redis(settings, now), None
    except StoreError as error:
        redis, redis_error = None, str(error)
    run_status = [_run(run.directory, run.manifest()) for run in list_runs(settings.directory)]
    lake = open_lake(settings)
    return Status(
        _lake(lake), read_catalogue_status(lake, now), run_status, redis, redis_error, _schedule(settings, now)
    )


def read_catalogue_status(lake: Lake, now: datetime) -> CatalogueStatus:
    """Count the items of the lake by what they are at `now`, and find the last change of each source."""
    counts = lake.items().select(
        pl.len(),
        offered=(is_available() & is_valid(now)).sum(),
        unavailable=(~is_available()).sum(),
        outside_validity=(is_available() & ~is_valid(now)).sum(),
    )
    times = {ingest["number"]: datetime.fromisoformat(ingest["when"]) for ingest in read_ingests(lake)}
    changes = {table: times.get(ingest) for table, ingest in sorted(lake.last_changes("items").items())}
    online = lake.online_changes()[CHANGED_ONLINE_AT].max()
    if isinstance(online, datetime):
        changes[ONLINE] = online
    items, offered, unavailable, outside_validity = counts.collect().row(0)
    return CatalogueStatus(items, offered, unavailable, outside_validity, changes)


def _lake(lake: Lake) -> LakeStatus:
    time = pl.col(TIMESTAMP)
    events, first, last = lake.events().select(pl.len(), first=time.min(), last=time.max()).collect().row(0)
    items, users = (table.select(pl.len()).collect().item() for table in (lake.items(), lake.users()))
    return LakeStatus(events, items, users, first, last)


def _run(directory: Path, manifest: dict[str, Any]) -> RunStatus:
    return RunStatus(
        run_id=manifest["run_id"],
        status=manifest["status"],
        error=manifest["error"],
        winner=manifest.get("winner"),
        unmeasured=manifest.get("unmeasured"),
        seconds=round(sum(step["seconds"] for step in manifest["steps"].values()), 1),
        directory=directory,
    )


def _redis(settings: Settings, now: datetime) -> RedisStatus:
    client = connect(settings.redis, settings.directory)
    keys = Keys(settings.redis.namespace)
    with store_errors(client):
        memory = used_memory(client)
    stream = read_stream_state(client, keys)
    age = max((now - stream.oldest).total_seconds(), 0.0) if stream.oldest else None
    known = versions(client, keys)
    problems = [problem for state in read_server_states(client) for problem in _server_problems(state)]
    if not any(version.live for version in known) and _has_published(settings):
        problems.append("no version is live, although one was published: run `recsys publish`")
    return RedisStatus(describe_server(client), memory, known, stream, age, problems)


def _server_problems(state: ServerState) -> Iterator[str]:
    if state.is_replica:
        yield f"{state.address} is a read replica, which takes no writes: set redis.url to its primary"
    if state.is_evicting:
        yield f"{state.address} removes lists and events when memory is full: maxmemory-policy is {state.policy}"


def _has_published(settings: Settings) -> bool:
    """Return whether a run has published its lists."""
    return any(PUBLISH in run.manifest()["steps"] for run in list_runs(settings.directory))


def _schedule(settings: Settings, now: datetime) -> ScheduleStatus:
    due = {
        name.value: trigger.get_next_fire_time(None, now)
        for name, trigger in job_triggers(settings.schedule).items()
    }
    attempts = read_history(settings.directory)[-MAX_ATTEMPTS:]
    return ScheduleStatus(lock_holder(settings.directory, SCHEDULER), due, attempts)
