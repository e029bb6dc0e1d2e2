"""Run jobs at the times of their cron expressions, each job in one process at a time."""

# APScheduler has no types.
# pyright: reportIncompatibleMethodOverride=false

import logging
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from jobs.scheduler.attempts import Job, record_skipped, run_job
from jobs.scheduler.child_process import POLL_SECONDS, Stop
from jobs.scheduler.history import Attempt, AttemptOutcome, read_history
from jobs.scheduler.lock import job_lock
from recsys.cron import Cron
from recsys.errors import SettingsError
from recsys.settings import Schedule, Settings

log = structlog.get_logger(__name__)

SCHEDULER = "schedule"
# APScheduler waits by a clock that stops while the system sleeps, so it is woken up to check the time.
WAKEUP_SECONDS = 10.0
PREVIOUS_IS_RUNNING = "the previous run of the job has not ended"


class JobName(StrEnum):
    """The scheduled jobs; each runs the command of its name."""

    NIGHTLY = "nightly"
    TRENDING = "trending"
    ARCHIVE = "archive"
    RETENTION = "retention"


class CronTrigger(BaseTrigger):
    """A trigger of APScheduler for a cron expression in a time zone."""

    def __init__(self, cron: Cron, zone: ZoneInfo) -> None:
        self._cron = cron
        self._zone = zone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next time (UTC) after the previous one; after now if there was none."""
        return self._cron.next_after(previous_fire_time or now, self._zone)


@dataclass(frozen=True)
class ScheduledJob:
    """A job and its times."""

    job: Job
    trigger: BaseTrigger


def scheduled_jobs(settings: Settings, config: Path | None) -> list[ScheduledJob]:
    """Return the jobs with a time in the settings; raises `SettingsError` when there are none."""
    jobs = [
        ScheduledJob(create_job(name, config), trigger) for name, trigger in job_triggers(settings.schedule).items()
    ]
    if not jobs:
        raise SettingsError(
            "schedule.nightly, schedule.trending, schedule.archive, schedule.retention = '': "
            "there is nothing to schedule"
        )
    return jobs


def create_job(name: JobName, config: Path | None) -> Job:
    """Create the job of a name; its process reads the settings again from the same file."""
    options = () if config is None else ("--config", str(config))
    command = (sys.executable, "-P", "-m", "jobs.cli.app", *options, name.value, "--scheduled")
    return Job(name.value, command, dated=name == JobName.NIGHTLY)


def job_triggers(schedule: Schedule) -> dict[JobName, CronTrigger]:
    """Return the trigger of each job that has a time."""
    expressions = {
        JobName.NIGHTLY: schedule.nightly,
        JobName.TRENDING: schedule.trending,
        JobName.ARCHIVE: schedule.archive,
        JobName.RETENTION: schedule.retention,
    }
    zone = ZoneInfo(schedule.time_zone)
    return {name: CronTrigger(Cron.parse(text), zone) for name, text in expressions.items() if text}


def run_schedule(settings: Settings, jobs: list[ScheduledJob], stop: Stop) -> None:
    """Run jobs at their times until `stop` is requested, which ends running jobs too.

    Several times missed while a job or this process could not run count as one. Raises `BusyError` when another
    process runs the schedule of this data directory.
    """
    with job_lock(settings.directory, SCHEDULER):
        scheduler = _create_scheduler(settings, jobs, stop)
        scheduler.start()
        for job in scheduler.get_jobs():
            log.info("job scheduled", job=job.id, at=job.next_run_time.isoformat(timespec="seconds"))
        last_wakeup = time.monotonic()
        while not stop.requested:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - last_wakeup > WAKEUP_SECONDS:
                scheduler.wakeup()
                last_wakeup = time.monotonic()
        log.info("schedule stopping")
        scheduler.shutdown()
        log.info("schedule stopped")


def last_due_time(trigger: BaseTrigger, now: datetime, grace_seconds: int) -> datetime | None:
    """Return the last time before or at `now` when the trigger was due, within the grace period."""
    last = None
    following = trigger.get_next_fire_time(None, now - timedelta(seconds=grace_seconds))
    while following is not None and following <= now:
        last, following = following, trigger.get_next_fire_time(following, now)
    return last


def _create_scheduler(settings: Settings, jobs: list[ScheduledJob], stop: Stop) -> BackgroundScheduler:
    # The listeners replace APScheduler's own log messages.
    logging.getLogger("apscheduler").addHandler(logging.NullHandler())
    logging.getLogger("apscheduler").propagate = False
    grace = settings.schedule.misfire_grace_seconds
    scheduler = BackgroundScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": grace}
    )
    scheduler.add_listener(partial(_on_skipped, settings=settings), EVENT_JOB_MAX_INSTANCES)
    scheduler.add_listener(_on_missed, EVENT_JOB_MISSED)
    scheduler.add_listener(_on_error, EVENT_JOB_ERROR)
    now, attempts = datetime.now(UTC), read_history(settings.directory)
    for scheduled in jobs:
        missed = _missed_time(scheduled, now, attempts, settings.schedule)
        first: dict[str, Any] = {} if missed is None else {"next_run_time": missed}
        work = partial(_work, scheduled, settings, stop)
        scheduler.add_job(work, scheduled.trigger, id=scheduled.job.name, **first)
    return scheduler


def _missed_time(
    scheduled: ScheduledJob, now: datetime, attempts: list[Attempt], schedule: Schedule
) -> datetime | None:
    """Return the last time the job was due, if it was not started then or was interrupted."""
    due = last_due_time(scheduled.trigger, now, schedule.misfire_grace_seconds)
    if due is None:
        return None
    due_attempts = [
        attempt for attempt in attempts if attempt.job == scheduled.job.name and attempt.scheduled >= due
    ]
    if any(attempt.outcome in (AttemptOutcome.SUCCEEDED, AttemptOutcome.SKIPPED) for attempt in due_attempts):
        return None
    has_given_up = any(
        attempt.outcome == AttemptOutcome.FAILED and attempt.attempt > schedule.retries for attempt in due_attempts
    )
    return None if has_given_up else due


def _work(scheduled: ScheduledJob, settings: Settings, stop: Stop) -> None:
    now = datetime.now(UTC)
    due = last_due_time(scheduled.trigger, now, settings.schedule.misfire_grace_seconds) or now
    run_job(scheduled.job, due, settings, stop)


def _on_skipped(event: Any, settings: Settings) -> None:
    record_skipped(event.job_id, event.scheduled_run_times[-1], settings, PREVIOUS_IS_RUNNING)


def _on_missed(event: Any) -> None:
    log.warning("job missed its time", job=event.job_id, due=event.scheduled_run_time.isoformat())


def _on_error(event: Any) -> None:
    log.error(
        "job crashed in the scheduler",
        job=event.job_id,
        error=f"{type(event.exception).__name__}: {event.exception}",
    )
