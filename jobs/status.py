"""What an installation holds: lake, runs, live lists."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from jobs.lake import open_lake
from jobs.pipeline.run import list_runs
from jobs.scheduler.history import Attempt, read_history
from jobs.scheduler.lock import LockHolder, lock_holder
from jobs.scheduler.scheduler import SCHEDULER, job_triggers
from recsys.errors import StoreError
from recsys.schema import TIMESTAMP
from recsys.settings import Settings
from recsys.store.client.connect import connect, describe_server, store_errors
from recsys.store.event_stream import StreamState, read_stream_state
from recsys.store.keys import Keys
from recsys.store.publish.memory import used_memory
from recsys.store.read import Version, versions

SHOWN_ATTEMPTS = 10


@dataclass(frozen=True)
class LakeStatus:
    """What has been taken in."""

    events: int
    items: int
    users: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class RunStatus:
    """A run and how far it came."""

    run_id: str
    status: str
    error: str | None
    winner: str | None
    seconds: float
    directory: Path


@dataclass(frozen=True)
class RedisStatus:
    """The server that lists are served from."""

    address: str
    memory_bytes: int
    versions: list[Version]
    stream: StreamState
    oldest_entry_seconds: float | None
    """How long the first entry of the stream has waited to be archived."""


@dataclass(frozen=True)
class ScheduleStatus:
    """Who runs the schedule, when each job is due next, and the latest attempts at them, the last at the end."""

    scheduler: LockHolder | None
    due: dict[str, datetime]
    attempts: list[Attempt]


@dataclass(frozen=True)
class Status:
    """All of it; `redis_error` says why there is nothing of Redis."""

    lake: LakeStatus
    runs: list[RunStatus]
    redis: RedisStatus | None
    redis_error: str | None
    schedule: ScheduleStatus


def read_status(settings: Settings, now: datetime) -> Status:
    """Look at the lake, the runs and Redis; a Redis that does not answer is part of the status."""
    try:
        found, problem = _redis(settings, now), None
    except StoreError as error:
        found, problem = None, str(error)
    known = [_run(run.directory, run.manifest()) for run in list_runs(settings.directory)]
    return Status(_lake(settings), known, found, problem, _schedule(settings, now))


def _lake(settings: Settings) -> LakeStatus:
    lake = open_lake(settings)
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
    return RedisStatus(describe_server(client), memory, versions(client, keys), stream, age)


def _schedule(settings: Settings, now: datetime) -> ScheduleStatus:
    due = {
        name.value: trigger.get_next_fire_time(None, now)
        for name, trigger in job_triggers(settings.schedule).items()
    }
    attempts = read_history(settings.directory)[-SHOWN_ATTEMPTS:]
    return ScheduleStatus(lock_holder(settings.directory, SCHEDULER), due, attempts)
