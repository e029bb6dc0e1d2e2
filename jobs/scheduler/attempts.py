"""Run a job with retries: attempts in child processes, with back-off, each recorded in the history."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from jobs.pipeline.run import run_id
from jobs.scheduler.child_process import POLL_SECONDS, ChildResult, Stop, run_child
from jobs.scheduler.history import Attempt, AttemptOutcome, record_attempt
from recsys.errors import RecsysError
from recsys.settings import Schedule, Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.read import live_version

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """The command of a job; a dated job works on the run of the last midnight (UTC) before it was due."""

    name: str
    command: tuple[str, ...]
    dated: bool = False

    def as_of(self, due: datetime) -> datetime | None:
        """Return the `as_of` of the run that the job works on; None if it is not dated."""
        return due.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) if self.dated else None


def run_job(job: Job, due: datetime, settings: Settings, stop: Stop) -> Attempt:
    """Run a job until it succeeds, has no retries left, runs in another process, or `stop` is requested.

    Returns the last attempt; each one is recorded in the history. The outcome follows from the exit status of the
    job's process.
    """
    schedule = settings.schedule
    number = 0
    while True:
        number += 1
        attempt = _run_attempt(job, due, number, settings, stop)
        if attempt.outcome != AttemptOutcome.FAILED:
            return attempt
        wait = backoff_seconds(schedule, number) if number <= schedule.retries else None
        log.error("job failed", job=job.name, attempt=number, error=attempt.error, next_try_in_seconds=wait)
        if wait is None:
            log.error(_live_lists(settings, attempt.run_id), job=job.name)
            return attempt
        _sleep(wait, stop)
        if stop.requested:
            return attempt


def backoff_seconds(schedule: Schedule, attempt: int) -> float:
    """Return the seconds to wait after a failed attempt; attempts are counted from 1."""
    # The exponent is limited because 2.0 ** 1024 overflows.
    return min(schedule.backoff_seconds * 2.0 ** min(attempt - 1, 64), schedule.max_backoff_seconds)


def record_skipped(job: str, due: datetime, settings: Settings, reason: str) -> None:
    """Record that a job was due but was not started."""
    now = datetime.now(UTC)
    record_attempt(settings.directory, Attempt(job, due, now, 1, None, AttemptOutcome.SKIPPED, now, reason))
    log.warning("job skipped", job=job, reason=reason)


def _run_attempt(job: Job, due: datetime, number: int, settings: Settings, stop: Stop) -> Attempt:
    as_of = job.as_of(due)
    arguments = () if as_of is None else ("--as-of", as_of.isoformat())
    running = Attempt(job.name, due, datetime.now(UTC), number, None if as_of is None else run_id(as_of))
    record_attempt(settings.directory, running)
    log.info("job started", job=job.name, attempt=number, due=due.isoformat(), run=running.run_id)
    started = time.perf_counter()
    result = run_child((*job.command, *arguments), stop, settings.schedule.stop_seconds)
    attempt = replace(running, outcome=result.outcome, ended=datetime.now(UTC), error=result.error)
    record_attempt(settings.directory, attempt)
    _log_end(job.name, result, round(time.perf_counter() - started, 1))
    return attempt


def _log_end(job: str, result: ChildResult, seconds: float) -> None:
    if result.outcome == AttemptOutcome.SUCCEEDED:
        log.info("job succeeded", job=job, seconds=seconds)
    elif result.outcome == AttemptOutcome.SKIPPED:
        log.warning("job skipped", job=job, reason=result.error)
    elif result.outcome == AttemptOutcome.INTERRUPTED:
        log.warning("job interrupted", job=job, seconds=seconds)


def _live_lists(settings: Settings, run: str | None) -> str:
    """Return a log message that says which lists are live after a failure."""
    try:
        version = live_version(connect(settings.redis, settings.directory), Keys(settings.redis.namespace))
    except RecsysError as error:
        return f"live lists unknown: {error}"
    if version == run:
        return f"the run published its lists, version {version}, before it failed"
    return f"lists of version {version} stay live"


def _sleep(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop.requested:
        time.sleep(min(POLL_SECONDS, seconds))
