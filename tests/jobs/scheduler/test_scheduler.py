"""The scheduler's loop, with triggers made for the tests and jobs in real processes."""

# APScheduler has no types.
# pyright: reportIncompatibleMethodOverride=false

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobs.scheduler.attempts import Job
from jobs.scheduler.child_process import Stop
from jobs.scheduler.history import Attempt, AttemptOutcome, read_history, record_attempt
from jobs.scheduler.lock import job_lock
from jobs.scheduler.scheduler import (
    SCHEDULER,
    CronTrigger,
    ScheduledJob,
    job_triggers,
    last_due_time,
    run_schedule,
    scheduled_jobs,
)
from recsys.cron import Cron
from recsys.errors import BusyError, SettingsError
from recsys.settings import Redis, Schedule, Settings
from tests.waiting import wait_until

NOWHERE = Redis(url="redis://127.0.0.1:1/0")
RETRIES = 1
INTERVAL = IntervalTrigger(seconds=0.3)  # pyright: ignore[reportArgumentType]


class At(BaseTrigger):
    """A trigger that is due at the given times."""

    def __init__(self, *times: datetime) -> None:
        self.times = times

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        return next((moment for moment in self.times if moment > (previous_fire_time or now)), None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    schedule = Schedule(retries=RETRIES, backoff_seconds=0.1, stop_seconds=5, misfire_grace_seconds=3_600)
    return Settings(directory=tmp_path / "var", redis=NOWHERE, schedule=schedule)


def schedule(trigger: BaseTrigger, code: str = "") -> list[ScheduledJob]:
    return [ScheduledJob(Job("nightly", (sys.executable, "-c", code)), trigger)]


def run_until(
    settings: Settings, jobs: list[ScheduledJob], condition: Callable[[], bool], patience: float = 20
) -> None:
    """Run the schedule until a condition holds."""
    stop, give_up_at = Stop(), time.monotonic() + patience

    def watch() -> None:
        while not condition() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        stop.requested = True

    watcher = threading.Thread(target=watch)
    watcher.start()
    run_schedule(settings, jobs, stop)
    watcher.join()


def outcomes(settings: Settings) -> list[AttemptOutcome]:
    return [each.outcome for each in read_history(settings.directory)]


def test_jobs_run_at_their_times_never_two_at_once(settings: Settings) -> None:
    jobs = schedule(INTERVAL, "import time; time.sleep(0.5)")
    run_until(settings, jobs, lambda: outcomes(settings).count(AttemptOutcome.SUCCEEDED) == 2)
    attempts = read_history(settings.directory)
    ran = [each for each in attempts if each.outcome == AttemptOutcome.SUCCEEDED]
    assert ran[0].ended is not None
    assert ran[0].ended < ran[1].started
    skipped = [each for each in attempts if each.outcome == AttemptOutcome.SKIPPED]
    assert skipped
    assert {each.error for each in skipped} == {"the previous run of the job has not ended"}
    assert all(0 <= (each.started - each.scheduled).total_seconds() < 5 for each in ran)


@pytest.mark.parametrize(
    ("earlier_attempts", "runs"),
    [
        ([], True),
        ([(AttemptOutcome.SUCCEEDED, 1)], False),
        ([(AttemptOutcome.SKIPPED, 1)], False),
        ([(AttemptOutcome.INTERRUPTED, 1)], True),
        ([(AttemptOutcome.RUNNING, 1)], True),
        ([(AttemptOutcome.FAILED, 1)], True),
        ([(AttemptOutcome.FAILED, 1), (AttemptOutcome.FAILED, RETRIES + 1)], False),
    ],
)
def test_a_time_that_nobody_was_there_for_is_made_up_at_the_start(
    settings: Settings, earlier_attempts: list[tuple[AttemptOutcome, int]], runs: bool
) -> None:
    due = datetime.now(UTC) - timedelta(minutes=30)
    earlier = due - timedelta(minutes=20)
    for number, (outcome, attempt) in enumerate(earlier_attempts):
        begun = due + timedelta(seconds=number)
        record_attempt(settings.directory, Attempt("nightly", due, begun, attempt, None, outcome, begun))
    record_attempt(settings.directory, Attempt("trending", due, due, 1, None, AttemptOutcome.SUCCEEDED, due))
    jobs = schedule(At(earlier, due, due + timedelta(days=1)))

    def made_up() -> list[Attempt]:
        return [each for each in read_history(settings.directory) if each.started > due + timedelta(minutes=1)]

    run_until(settings, jobs, lambda: any(each.ended for each in made_up()), patience=20 if runs else 0.4)
    assert [each.scheduled for each in made_up()] == ([due] if runs else [])


def test_what_is_too_late_waits_for_its_next_time(settings: Settings) -> None:
    due = datetime.now(UTC) - timedelta(hours=2)
    run_until(settings, schedule(At(due, due + timedelta(days=1))), lambda: bool(outcomes(settings)), patience=0.4)
    assert outcomes(settings) == []


def test_there_is_one_schedule_for_a_data_directory(settings: Settings) -> None:
    with (
        job_lock(settings.directory, SCHEDULER),
        pytest.raises(BusyError, match=r"^schedule: process \d+ has been running it"),
    ):
        run_schedule(settings, schedule(INTERVAL), Stop())


def test_the_failure_of_one_time_does_not_end_the_schedule(settings: Settings) -> None:
    settings = replace(settings, schedule=replace(settings.schedule, retries=0))
    jobs = schedule(INTERVAL, "import os; os.abort()")
    run_until(settings, jobs, lambda: outcomes(settings).count(AttemptOutcome.FAILED) == 2)
    failed = [each for each in read_history(settings.directory) if each.outcome == AttemptOutcome.FAILED]
    assert {each.error for each in failed} == {"its process was ended by SIGABRT"}


SCHEDULE = """
import sys
from pathlib import Path
from apscheduler.triggers.interval import IntervalTrigger
from jobs.scheduler.attempts import Job
from jobs.scheduler.child_process import stop_on_signals
from recsys.logs import configure_logging
from jobs.scheduler.scheduler import ScheduledJob, run_schedule
from recsys.settings import Schedule, Settings, Redis
schedule = Schedule(stop_seconds=5)
settings = Settings(directory=Path(sys.argv[1]), schedule=schedule, redis=Redis(url="redis://127.0.0.1:1/0"))
job = Job("nightly", (sys.executable, "-c", sys.argv[2]))
configure_logging("json")
with stop_on_signals() as stop:
    run_schedule(settings, [ScheduledJob(job, IntervalTrigger(seconds=0.3))], stop)
"""


def schedule_process(directory: Path, code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCHEDULE, directory, code], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_times_passed_asleep_count_as_one(tmp_path: Path) -> None:
    process = schedule_process(tmp_path, "")
    try:
        wait_until(
            lambda: (
                len(read_history(tmp_path)) >= 1 and read_history(tmp_path)[-1].outcome == AttemptOutcome.SUCCEEDED
            )
        )
        process.send_signal(signal.SIGSTOP)
        before = len(read_history(tmp_path))
        asleep = datetime.now(UTC)
        wait_until(lambda: datetime.now(UTC) - asleep > timedelta(seconds=1))
        awake = datetime.now(UTC)
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(read_history(tmp_path)) > before + 1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    due = [each.scheduled for each in read_history(tmp_path)]
    assert len(due) == len(set(due))
    assert len([moment for moment in due if asleep < moment <= awake]) <= 1


def test_an_interrupt_stops_the_schedule_and_its_job(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    process = schedule_process(tmp_path, f"import time; open({str(begun)!r}, 'w'); time.sleep(60)")
    wait_until(begun.exists)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert [each.outcome for each in read_history(tmp_path)] == [AttemptOutcome.INTERRUPTED]
    lines = [json.loads(line) for line in output.splitlines()]
    messages = [line["event"] for line in lines]
    assert messages[:2] == ["job scheduled", "job started"]
    assert sorted(messages[2:4]) == ["job interrupted", "schedule stopping"]
    assert messages[4:] == ["schedule stopped"]
    assert (lines[1]["job"], lines[1]["attempt"], lines[1]["level"]) == ("nightly", 1, "info")


def test_the_triggers_are_those_of_the_settings() -> None:
    now = datetime(2026, 7, 1, 12, 20, tzinfo=UTC)
    default = job_triggers(Schedule())
    assert {name: trigger.get_next_fire_time(None, now) for name, trigger in default.items()} == {
        "nightly": datetime(2026, 7, 2, 2, 30, tzinfo=UTC),
        "trending": datetime(2026, 7, 1, 13, 15, tzinfo=UTC),
        "archive": datetime(2026, 7, 1, 12, 30, tzinfo=UTC),
        "retention": datetime(2026, 7, 2, 3, 50, tzinfo=UTC),
    }
    berlin = job_triggers(Schedule(trending="", archive="", retention="", time_zone="Europe/Berlin"))
    assert {name: trigger.get_next_fire_time(None, now) for name, trigger in berlin.items()} == {
        "nightly": datetime(2026, 7, 2, 0, 30, tzinfo=UTC)
    }
    with pytest.raises(SettingsError, match="there is nothing to schedule"):
        scheduled_jobs(Settings(schedule=Schedule(nightly="", trending="", archive="", retention="")), None)


def test_the_last_time_it_was_due() -> None:
    trigger = CronTrigger(Cron.parse("15 * * * *"), ZoneInfo("UTC"))
    assert last_due_time(trigger, datetime(2026, 7, 1, 12, 20, tzinfo=UTC), 21_600) == datetime(
        2026, 7, 1, 12, 15, tzinfo=UTC
    )
    assert last_due_time(trigger, datetime(2026, 7, 1, 12, 15, tzinfo=UTC), 60) == datetime(
        2026, 7, 1, 12, 15, tzinfo=UTC
    )
    assert last_due_time(trigger, datetime(2026, 7, 1, 12, 20, tzinfo=UTC), 60) is None
