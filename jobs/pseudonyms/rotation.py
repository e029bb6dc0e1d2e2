"""Rotate the keys of pseudonyms: lake, quarantine and Redis go from former pseudonyms to the present ones.

Each step can be done again, and the files say what is done: a rotation that is killed goes on when it is run again.
Until it ends, lake and Redis say that they are on their way, and every other command and server refuses them.
"""

import fcntl
import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jobs.ingest.ingest import MAX_CLOCK_SKEW
from jobs.ingest.stream import archive
from jobs.lake.lake import Lake
from jobs.lake.pseudonym_key import (
    FILE,
    ROTATING,
    ROTATION_DIRECTORY,
    first_fingerprint,
    read_fingerprint,
    store_fingerprint,
    write_fingerprint,
)
from jobs.progress import Progress
from jobs.pseudonyms.lake_rewriting import DONE, rewrite_lake
from jobs.scheduler.lock import job_lock
from jobs.scheduler.scheduler import JobName
from recsys.errors import SettingsError
from recsys.files import read_json, write_json
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Settings
from recsys.store.client.connect import Client, connect
from recsys.store.keys import Keys
from recsys.store.pseudonym_key import check_store_unchanged, read_store_fingerprint, store_rotated, store_rotating
from recsys.store.pseudonym_rotation import move_users, plan_rotation

NOTICE_SECONDS: Final = 2.0
"""Time in which all servers notice that a rotation has begun, and refuse events."""
STATE: Final = "state.json"
PLAN: Final = "redis.jsonl"
NEW_LAKE: Final = "lake"
FORMER_LAKE: Final = "former_lake"


@dataclass(frozen=True)
class RotationResult:
    """What a rotation has done; no key and no event if all was done before."""

    moved: int = 0
    """Keys and entries of users in Redis."""
    events: int = 0
    """Events in the lake."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Rotation:
    """A rotation that has begun."""

    lake: Lake
    """The lake, with the pseudonyms that it is to have."""
    former: str
    """The fingerprint that it had."""
    added: Pseudonyms
    """What makes the new pseudonyms of the former ones."""
    directory: Path
    """Directory of what the rotation keeps until its end."""


def rotate(settings: Settings, progress: Progress, notice_seconds: float = NOTICE_SECONDS) -> RotationResult:
    """Take lake and Redis to the present pseudonyms; go on with a rotation that was killed.

    Servers notice within `notice_seconds`. Raises `SettingsError` if the lake has other pseudonyms than those of
    some of the first keys, and `BusyError` while a job runs.
    """
    started = time.perf_counter()
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    with _jobs_locked(settings.directory):
        rotation = _begin(settings, client, keys)
        if rotation is None:
            return RotationResult()
        _archive(rotation, settings, client, keys, notice_seconds)
        _write_new_lake(rotation, progress)
        plan = rotation.directory / PLAN
        moved = plan_rotation(client, keys, plan)
        with progress.task("move users in Redis", moved) as task:
            move_users(client, keys, plan, rotation.added, task.advance)
        _replace_lake(rotation)
        store_rotated(client, keys, rotation.lake.pseudonyms)
        (rotation.directory / STATE).unlink()  # from here on nothing is left to do
        shutil.rmtree(rotation.directory)
    return RotationResult(moved, rotation.lake.count_events(), time.perf_counter() - started)


@contextmanager
def _jobs_locked(directory: Path) -> Generator[None]:
    """Hold the locks of all jobs: none may read or write the lake meanwhile."""
    with ExitStack() as stack:
        for job in JobName:
            stack.enter_context(job_lock(directory, job))
        yield


def _begin(settings: Settings, client: Client, keys: Keys) -> Rotation | None:
    """Return the rotation to do, begun now or by an earlier process; None if there is none to do."""
    present = Pseudonyms.from_settings(settings)
    if present is None:
        raise SettingsError("pseudonym_key is not set: there are no pseudonyms to rotate")
    lake = Lake(settings.directory / "lake", settings.lake.buckets, present)
    directory = settings.directory / ROTATION_DIRECTORY
    state = directory / STATE
    fingerprint = str(read_json(state)) if state.exists() else read_fingerprint(lake.directory)
    if fingerprint is None:
        raise SettingsError(
            f"{lake.directory}: there is no lake yet: run `recsys archive` with the former key first"
        )
    if fingerprint == present.fingerprint():
        check_store_unchanged(client, keys, present)
        shutil.rmtree(directory, ignore_errors=True)
        return None
    added = _added_pseudonyms(present, fingerprint)
    if added is None:
        raise SettingsError(
            f"former_pseudonym_keys: {lake.directory} has other pseudonyms than those of some of these keys, "
            "the oldest first"
        )
    if not state.exists():
        _check_store(client, keys, present, fingerprint)
        write_json(state, fingerprint)
    return Rotation(lake, fingerprint, added, directory)


def _added_pseudonyms(present: Pseudonyms, fingerprint: str) -> Pseudonyms | None:
    """Return what makes the present pseudonyms of those with a fingerprint; None if it is not one of theirs."""
    count = present.count_of(fingerprint)
    if count:
        return Pseudonyms(present.keys[count:])
    if fingerprint == first_fingerprint(present.keys[0]):
        return Pseudonyms(present.keys, present.keys[1:])
    return None


def _check_store(client: Client, keys: Keys, present: Pseudonyms, fingerprint: str) -> None:
    """Raise `SettingsError` when Redis holds neither the pseudonyms of the lake nor those of an earlier version."""
    stored = read_store_fingerprint(client, keys)
    if stored not in (None, fingerprint, present.fingerprint()):
        raise SettingsError(f"{keys.pseudonyms}: Redis holds other pseudonyms than the lake")


def _archive(rotation: Rotation, settings: Settings, client: Client, keys: Keys, notice_seconds: float) -> None:
    """Tell the servers to take no more events, and move the stream into the lake under the former pseudonyms."""
    lake = rotation.lake
    if read_fingerprint(lake.directory) != rotation.former:
        return
    store_rotating(client, keys)
    time.sleep(notice_seconds)
    archive(replace(lake, former_fingerprint=rotation.former), settings.sources, client, keys, _latest())
    write_fingerprint(lake.directory, ROTATING)


def _latest() -> datetime:
    return datetime.now(UTC) + MAX_CLOCK_SKEW


def _write_new_lake(rotation: Rotation, progress: Progress) -> None:
    """Write the lake with the new pseudonyms beside the present one; its fingerprint says that it is whole."""
    source, target = rotation.lake.directory, rotation.directory / NEW_LAKE
    if (
        (target / FILE).exists()
        or read_fingerprint(source) != ROTATING
        or (rotation.directory / FORMER_LAKE).exists()
    ):
        return
    with (source / ".lock").open("w") as lock, progress.task("rewrite the lake") as task:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rewrite_lake(source, target, rotation.lake.buckets, rotation.added, task.advance)
        shutil.rmtree(target / DONE, ignore_errors=True)
        store_fingerprint(target, rotation.lake.pseudonyms)


def _replace_lake(rotation: Rotation) -> None:
    """Put the new lake in the place of the former one."""
    present, former, new = rotation.lake.directory, rotation.directory / FORMER_LAKE, rotation.directory / NEW_LAKE
    if not (new / FILE).exists():
        return
    if not former.exists():
        present.rename(former)
    new.rename(present)
