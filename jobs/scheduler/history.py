"""The history of scheduled jobs: an append-only file with a JSON line for each start and each end of an attempt."""

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from jobs.scheduler.lock import lock_holder

TAIL_BYTES = 1 << 20  # read from the end of the file: several thousand attempts


class AttemptOutcome(StrEnum):
    """The outcome of an attempt; `RUNNING` until it ends."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job; `scheduled` is when it was due, `run_id` the run it works on, if there is one."""

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
    """Append an attempt in its current state to the history; it is on disk when this returns."""
    path = _path(directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(attempt), default=str).encode() + b"\n"
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        # A line that a crash cut short is kept, on a line of its own.
        is_torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        file.write(b"\n" + line if is_torn else line)
        file.flush()
        os.fsync(file.fileno())


def read_history(directory: Path) -> list[Attempt]:
    """Return the latest attempts in order of their start.

    An attempt without an end whose job is no longer running in any process was interrupted.
    """
    path = _path(directory)
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().splitlines()
    attempts = [attempt for attempt in map(_parse, lines) if attempt is not None]
    latest = {(attempt.job, attempt.started): attempt for attempt in attempts}
    ordered = sorted(latest.values(), key=lambda attempt: attempt.started)
    unfinished = {attempt.job: attempt.started for attempt in ordered if attempt.outcome == AttemptOutcome.RUNNING}
    running = {(job, started) for job, started in unfinished.items() if lock_holder(directory, job)}
    return [
        replace(attempt, outcome=AttemptOutcome.INTERRUPTED)
        if attempt.outcome == AttemptOutcome.RUNNING and (attempt.job, attempt.started) not in running
        else attempt
        for attempt in ordered
    ]


def _path(directory: Path) -> Path:
    return directory / "history" / "jobs.jsonl"


def _parse(line: bytes) -> Attempt | None:
    """Parse the attempt on a line; None if the line was cut short."""
    try:
        return ATTEMPT.validate_json(line)
    except ValidationError:
        return None
