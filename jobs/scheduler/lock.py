"""One process at a time does a job: a lock that the kernel releases when its process dies."""

import fcntl
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from recsys.errors import BusyError

TRIES = 10  # someone who only looks holds the lock for a moment
WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class LockHolder:
    """The process that does a job; None where it has not yet said so."""

    pid: int | None
    since: datetime | None

    def __str__(self) -> str:
        if self.since is None:
            return "another process is doing it"
        return f"process {self.pid} is doing it since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def job_lock(directory: Path, job: str) -> Generator[None]:
    """Hold the job of this name in a data directory; raises `BusyError` with who holds it."""
    with _open(directory, job) as file:
        for _ in range(TRIES):
            if _take(file):
                break
            time.sleep(WAIT_SECONDS)
        else:
            raise BusyError(f"{job}: {_read(file)}")
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": datetime.now(UTC).isoformat()}, file)
        file.flush()
        yield


def lock_holder(directory: Path, job: str) -> LockHolder | None:
    """Who does the job now."""
    if not _path(directory, job).exists():
        return None
    with _open(directory, job) as file:
        return None if _take(file) else _read(file)


def _path(directory: Path, job: str) -> Path:
    return directory / "locks" / f"{job}.lock"


def _open(directory: Path, job: str) -> TextIOWrapper:
    path = _path(directory, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _take(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: TextIOWrapper) -> LockHolder:
    file.seek(0)
    try:
        found = json.loads(file.read())
        return LockHolder(found["pid"], datetime.fromisoformat(found["since"]))
    except json.JSONDecodeError:
        return LockHolder(None, None)  # taken this moment, not yet written
