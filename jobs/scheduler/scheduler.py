"""The schedule: jobs at the times of their cron expressions, one of a kind at once."""

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
# A system that sleeps stops the clock by which APScheduler waits, so it is told to look at the time.
LOOK_SECONDS = 10.0
BEFORE_IS_NOT_DONE = "the one before it is not done yet"


class JobName(StrEnum):
    """The jobs, each the command of the same name."""

    NIGHTLY = "nightly"
    TRENDING = "trending"
    ARCHIVE = "archive"


class CronTrigger(BaseTrigger):
    """When a cron expression is due by the clock of a time zone."""

    def __init__(self, cron: Cron, zone: ZoneInfo) -> None:
        self._cron = cron
        self._zone = zone

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The next time after the previous one, or after now where there was none, in UTC."""
        return self._cron.next_after(previous_fire_time or now, self._zone)


@dataclass(frozen=True)
class ScheduledJob:
    """A job and when it is due."""

    job: Job
    trigger: BaseTrigger


def scheduled_jobs(settings: Settings, config: Path | None) -> list[ScheduledJob]:
    """The jobs that have a time in the settings; raises `SettingsError` where none has."""
    jobs = [
        ScheduledJob(create_job(name, config), trigger) for name, trigger in job_triggers(settings.schedule).items()
    ]
    if not jobs:
        raise SettingsError(
            "schedule.nightly, schedule.trending, schedule.archive = '': there is nothing to schedule"
        )
    return jobs


def create_job(name: JobName, config: Path | None) -> Job:
    """The job of a name; its process reads the settings again, from the same file."""
    given = () if config is None else ("--config", str(config))
    command = (sys.executable, "-P", "-m", "jobs.cli.app", *given, name.value, "--scheduled")
    return Job(name.value, command, dated=name == JobName.NIGHTLY)


def job_triggers(schedule: Schedule) -> dict[JobName, CronTrigger]:
    """When each job is due, those left out that never are."""
    given = {
        JobName.NIGHTLY: schedule.nightly,
        JobName.TRENDING: schedule.trending,
        JobName.ARCHIVE: schedule.archive,
    }
    zone = ZoneInfo(schedule.time_zone)
    return {name: CronTrigger(Cron.parse(text), zone) for name, text in given.items() if text}


def run_schedule(settings: Settings, jobs: list[ScheduledJob], stop: Stop) -> None:
    """Run jobs at their times until `stop` is requested; what they do then is ended.

    Times missed while jobs, or this process, could not run count as one. Raises `BusyError` where another
    process runs the schedule of this data directory.
    """
    with job_lock(settings.directory, SCHEDULER):
        scheduler = _scheduler(settings, jobs, stop)
        scheduler.start()
        for job in scheduler.get_jobs():
            log.info("job is due", job=job.id, at=job.next_run_time.isoformat(timespec="seconds"))
        looked = time.monotonic()
        while not stop.requested:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - looked > LOOK_SECONDS:
                scheduler.wakeup()
                looked = time.monotonic()
        log.info("schedule stops")
        scheduler.shutdown()
        log.info("schedule stopped")


def last_due_time(trigger: BaseTrigger, now: datetime, grace_seconds: int) -> datetime | None:
    """The last time the trigger was due, up to now, within the grace period."""
    found = None
    following = trigger.get_next_fire_time(None, now - timedelta(seconds=grace_seconds))
    while following is not None and following <= now:
        found, following = following, trigger.get_next_fire_time(following, now)
    return found


def _scheduler(settings: Settings, jobs: list[ScheduledJob], stop: Stop) -> BackgroundScheduler:
    # What it would log goes to our log, by the listeners.
    logging.getLogger("apscheduler").addHandler(logging.NullHandler())
    logging.getLogger("apscheduler").propagate = False
    grace = settings.schedule.misfire_grace_seconds
    scheduler = BackgroundScheduler(
        timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": grace}
    )
    scheduler.add_listener(partial(_on_skipped, settings=settings), EVENT_JOB_MAX_INSTANCES)
    scheduler.add_listener(_on_missed, EVENT_JOB_MISSED)
    scheduler.add_listener(_on_error, EVENT_JOB_ERROR)
    now, known = datetime.now(UTC), read_history(settings.directory)
    for timed in jobs:
        missed = _missed(timed, now, known, settings.schedule)
        first: dict[str, Any] = {} if missed is None else {"next_run_time": missed}
        work = partial(_work, timed, settings, stop)
        scheduler.add_job(work, timed.trigger, id=timed.job.name, **first)
    return scheduler


def _missed(timed: ScheduledJob, now: datetime, known: list[Attempt], schedule: Schedule) -> datetime | None:
    """The last time the job was due, where the history knows no end of it: it was not begun, or interrupted."""
    due = last_due_time(timed.trigger, now, schedule.misfire_grace_seconds)
    if due is None:
        return None
    ends = [each for each in known if each.job == timed.job.name and each.scheduled >= due]
    if any(each.outcome in (AttemptOutcome.SUCCEEDED, AttemptOutcome.SKIPPED) for each in ends):
        return None
    given_up = any(each.outcome == AttemptOutcome.FAILED and each.attempt > schedule.retries for each in ends)
    return None if given_up else due


def _work(timed: ScheduledJob, settings: Settings, stop: Stop) -> None:
    now = datetime.now(UTC)
    due = last_due_time(timed.trigger, now, settings.schedule.misfire_grace_seconds) or now
    run_job(timed.job, due, settings, stop)


def _on_skipped(event: Any, settings: Settings) -> None:
    record_skipped(event.job_id, event.scheduled_run_times[-1], settings, BEFORE_IS_NOT_DONE)


def _on_missed(event: Any) -> None:
    log.warning("job missed", job=event.job_id, due=event.scheduled_run_time.isoformat())


def _on_error(event: Any) -> None:
    log.error(
        "job could not be run", job=event.job_id, error=f"{type(event.exception).__name__}: {event.exception}"
    )
