"""Job locks: one process at a time runs a job; the kernel releases the lock when its process dies."""

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

MAX_TRIES = 10  # a process that reads the holder has the lock for a moment
WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class LockHolder:
    """The process that runs a job; its fields are None until it has written them."""

    pid: int | None
    since: datetime | None

    def __str__(self) -> str:
        if self.since is None:
            return "another process is running it"
        return f"process {self.pid} has been running it since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@contextmanager
def job_lock(directory: Path, job: str) -> Generator[None]:
    """Hold the lock of a job in a data directory; raises `BusyError` with the process that holds it."""
    with _open(directory, job) as file:
        for _ in range(MAX_TRIES):
            if _acquire(file):
                break
            time.sleep(WAIT_SECONDS)
        else:
            raise BusyError(f"{job}: {_read(file)}")
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": datetime.now(UTC).isoformat()}, file)
        file.flush()
        yield


def lock_holder(directory: Path, job: str) -> LockHolder | None:
    """Return the process that runs the job now; None if there is none."""
    if not _path(directory, job).exists():
        return None
    with _open(directory, job) as file:
        return None if _acquire(file) else _read(file)


def _path(directory: Path, job: str) -> Path:
    return directory / "locks" / f"{job}.lock"


def _open(directory: Path, job: str) -> TextIOWrapper:
    path = _path(directory, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _acquire(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: TextIOWrapper) -> LockHolder:
    file.seek(0)
    try:
        content = json.loads(file.read())
        return LockHolder(content["pid"], datetime.fromisoformat(content["since"]))
    except json.JSONDecodeError:
        return LockHolder(None, None)  # acquired this moment, not yet written
