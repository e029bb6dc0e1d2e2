"""What became of scheduled jobs: a line of JSON when an attempt begins and one when it ends, only ever added."""

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from jobs.scheduler.lock import lock_holder

TAIL_BYTES = 1 << 20  # read of the end of the file, some thousand attempts


class AttemptOutcome(StrEnum):
    """How an attempt ended; `RUNNING` while it has not."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job; `scheduled` is when it was due, `run_id` the run it works on, where it has one."""

    job: str
    scheduled: datetime
    started: datetime
    attempt: int
    run_id: str | None
    outcome: AttemptOutcome = AttemptOutcome.RUNNING
    ended: datetime | None = None
    error: str | None = None


ATTEMPT = TypeAdapter(Attempt)


def record_attempt(directory: Path, attempt: Attempt) -> None:
    """Add the attempt as it now is to the history of a data directory; it is on disk when this returns."""
    path = _path(directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(attempt), default=str).encode() + b"\n"
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        # A line that a crash cut short stays as it is, on a line of its own.
        torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        file.write(b"\n" + line if torn else line)
        file.flush()
        os.fsync(file.fileno())


def read_history(directory: Path) -> list[Attempt]:
    """The latest attempts, the last to start at the end.

    One that never ended, and whose job nobody does any more, was interrupted.
    """
    path = _path(directory)
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().splitlines()
    known = [attempt for attempt in map(_parse, lines) if attempt is not None]
    last = sorted({(each.job, each.started): each for each in known}.values(), key=lambda each: each.started)
    unended = {each.job: each.started for each in last if each.outcome == AttemptOutcome.RUNNING}
    running = {(job, started) for job, started in unended.items() if lock_holder(directory, job)}
    return [
        replace(each, outcome=AttemptOutcome.INTERRUPTED)
        if each.outcome == AttemptOutcome.RUNNING and (each.job, each.started) not in running
        else each
        for each in last
    ]


def _path(directory: Path) -> Path:
    return directory / "history" / "jobs.jsonl"


def _parse(line: bytes) -> Attempt | None:
    """The attempt on a line, None where it was cut short."""
    try:
        return ATTEMPT.validate_json(line)
    except ValidationError:
        return None
