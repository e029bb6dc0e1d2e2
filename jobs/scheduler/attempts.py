"""One job from its due time to its end: attempts in child processes, with back-off, each in the history."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from jobs.pipeline.run import run_id
from jobs.scheduler.child_process import POLL_SECONDS, Ended, Stop, run_child
from jobs.scheduler.history import Attempt, AttemptOutcome, record_attempt
from recsys.errors import RecsysError
from recsys.settings import Schedule, Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.read import live_version

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """What a job's process runs; a dated one works on the run of the last midnight in UTC before it was due."""

    name: str
    command: tuple[str, ...]
    dated: bool = False

    def as_of(self, due: datetime) -> datetime | None:
        """The moment of its run."""
        return due.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) if self.dated else None


def run_job(job: Job, due: datetime, settings: Settings, stop: Stop) -> Attempt:
    """Run a job until it succeeds, has had its retries, is being done by another process, or is to stop.

    Returns the last attempt; each is in the history. The job's process decides by its exit status.
    """
    schedule = settings.schedule
    number = 0
    while True:
        number += 1
        ended = _attempt(job, due, number, settings, stop)
        if ended.outcome != AttemptOutcome.FAILED:
            return ended
        wait = backoff(schedule, number) if number <= schedule.retries else None
        log.error("job failed", job=job.name, attempt=number, error=ended.error, next_try_in_seconds=wait)
        if wait is None:
            log.error(_what_stays(settings, ended.run_id), job=job.name)
            return ended
        _sleep(wait, stop)
        if stop.requested:
            return ended


def backoff(schedule: Schedule, attempt: int) -> float:
    """Seconds to wait after a failed attempt, counted from 1."""
    # 2.0 ** 1024 is no float any more.
    return min(schedule.backoff_seconds * 2.0 ** min(attempt - 1, 64), schedule.max_backoff_seconds)


def record_skipped(job: str, due: datetime, settings: Settings, reason: str) -> None:
    """Write down that a job was not begun."""
    now = datetime.now(UTC)
    record_attempt(settings.directory, Attempt(job, due, now, 1, None, AttemptOutcome.SKIPPED, now, reason))
    log.warning("job skipped", job=job, reason=reason)


def _attempt(job: Job, due: datetime, number: int, settings: Settings, stop: Stop) -> Attempt:
    as_of = job.as_of(due)
    dated = () if as_of is None else ("--as-of", as_of.isoformat())
    begun = Attempt(job.name, due, datetime.now(UTC), number, None if as_of is None else run_id(as_of))
    record_attempt(settings.directory, begun)
    log.info("job started", job=job.name, attempt=number, due=due.isoformat(), run=begun.run_id)
    started = time.perf_counter()
    ended = run_child((*job.command, *dated), stop, settings.schedule.stop_seconds)
    attempt = replace(begun, outcome=ended.outcome, ended=datetime.now(UTC), error=ended.error)
    record_attempt(settings.directory, attempt)
    _log_end(job.name, ended, round(time.perf_counter() - started, 1))
    return attempt


def _log_end(job: str, ended: Ended, seconds: float) -> None:
    if ended.outcome == AttemptOutcome.SUCCEEDED:
        log.info("job succeeded", job=job, seconds=seconds)
    elif ended.outcome == AttemptOutcome.SKIPPED:
        log.warning("job skipped", job=job, reason=ended.error)
    elif ended.outcome == AttemptOutcome.INTERRUPTED:
        log.warning("job interrupted", job=job, seconds=seconds)


def _what_stays(settings: Settings, run: str | None) -> str:
    """Which lists are served after a failure."""
    try:
        version = live_version(connect(settings.redis, settings.directory), Keys(settings.redis.namespace))
    except RecsysError as error:
        return f"no lists are known to be live: {error}"
    if version == run:
        return f"the run's own lists, version {version}, went live before it failed"
    return f"yesterday's lists of version {version} stay live"


def _sleep(seconds: float, stop: Stop) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stop.requested:
        time.sleep(min(POLL_SECONDS, seconds))
