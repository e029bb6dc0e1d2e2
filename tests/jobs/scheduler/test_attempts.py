"""One job with its retries, in real processes, and what it reports when it fails."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.scheduler.attempts import Job, backoff_seconds, run_job
from jobs.scheduler.child_process import Stop
from jobs.scheduler.history import AttemptOutcome, read_history
from recsys.settings import Redis, Schedule, Settings
from tests.waiting import wait_until

DUE = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
NOWHERE = Redis(url="redis://:secret@127.0.0.1:1/0")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    schedule = Schedule(retries=2, backoff_seconds=0.2, max_backoff_seconds=0.3, stop_seconds=0.5)
    return Settings(directory=tmp_path / "var", redis=NOWHERE, schedule=schedule)


def job(code: str, *arguments: object, dated: bool = False) -> Job:
    return Job("nightly", (sys.executable, "-c", code, *map(str, arguments)), dated)


FAILS_TWICE = """
import sys
from pathlib import Path
tries = Path(sys.argv[1])
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
print("a line", file=sys.stderr)
if tries.read_text() != "xxx":
    sys.exit(f"recsys: failed at {tries.read_text()}")
"""


def test_a_failed_job_is_tried_again(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    ended = run_job(job(FAILS_TWICE, tmp_path / "tries"), DUE, settings, Stop())
    assert time.monotonic() - started >= 0.2 + 0.3
    assert (ended.outcome, ended.attempt, ended.error) == (AttemptOutcome.SUCCEEDED, 3, None)
    attempts = read_history(settings.directory)
    assert [(each.attempt, each.outcome, each.error) for each in attempts] == [
        (1, AttemptOutcome.FAILED, "failed at x"),
        (2, AttemptOutcome.FAILED, "failed at xx"),
        (3, AttemptOutcome.SUCCEEDED, None),
    ]
    assert all(each.scheduled == DUE and each.ended is not None for each in attempts)
    shown = capsys.readouterr().err.splitlines()
    assert shown.count("a line") == 3
    assert "recsys: failed at xx" in shown


def test_a_job_that_keeps_failing_is_given_up(settings: Settings) -> None:
    ended = run_job(job("import sys; sys.exit(4)"), DUE, settings, Stop())
    assert (ended.outcome, ended.attempt) == (AttemptOutcome.FAILED, 3)
    assert {each.error for each in read_history(settings.directory)} == {"its process ended with status 4"}


def test_the_wait_doubles_up_to_the_longest() -> None:
    schedule = Schedule(backoff_seconds=60, max_backoff_seconds=300)
    assert [backoff_seconds(schedule, attempt) for attempt in (1, 2, 3, 4, 5, 5_000)] == [
        60,
        120,
        240,
        300,
        300,
        300,
    ]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL"),
        ("raise ValueError('no number')", "ValueError: no number"),
        ("import sys; sys.stderr.write('recsys: half a line'); sys.exit(2)", "recsys: half a line"),
    ],
)
def test_a_crash_is_reported(tmp_path: Path, code: str, error: str) -> None:
    settings = Settings(directory=tmp_path, redis=NOWHERE, schedule=Schedule(retries=0))
    ended = run_job(job(code), DUE, settings, Stop())
    assert (ended.outcome, ended.error) == (AttemptOutcome.FAILED, error.removeprefix("recsys: "))


@pytest.mark.parametrize(
    ("due", "as_of", "run"),
    [
        ("2026-03-01T02:30:00+00:00", "2026-03-01T00:00:00+00:00", "20260301T000000Z"),
        ("2026-03-01T02:30:00+09:00", "2026-02-28T00:00:00+00:00", "20260228T000000Z"),
        ("2026-03-01T23:30:00-05:00", "2026-03-02T00:00:00+00:00", "20260302T000000Z"),
    ],
)
def test_a_dated_job_works_on_the_run_of_the_last_midnight_before_it_was_due(
    tmp_path: Path, settings: Settings, due: str, as_of: str, run: str
) -> None:
    arguments = tmp_path / "arguments"
    writes = job("import sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))", arguments, dated=True)
    ended = run_job(writes, datetime.fromisoformat(due), settings, Stop())
    assert arguments.read_text() == f"--as-of {as_of}"
    assert ended.run_id == run


STUBBORN = """
import signal, subprocess, sys, time
from pathlib import Path
worker = subprocess.Popen(["sleep", "60"])
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path(sys.argv[1]).write_text(str(worker.pid))
time.sleep(60)
"""


def is_running(process_id: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", process_id], capture_output=True, text=True).stdout
    return not state.startswith("Z") and state != ""


def stop_when(stop: Stop, condition: Callable[[], bool]) -> None:
    def wait() -> None:
        wait_until(condition, 30)
        stop.requested = True

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize(("manner", "minimum"), [("stubborn", 0.5), ("docile", 0.0)])
def test_a_stop_ends_the_job_and_what_it_started(
    tmp_path: Path, settings: Settings, manner: str, minimum: float
) -> None:
    begun, stop = tmp_path / "begun", Stop()
    stop_when(stop, lambda: begun.exists() and begun.read_text() != "")
    ended = run_job(job(STUBBORN, begun, manner), DUE, settings, stop)
    assert ended.outcome == AttemptOutcome.INTERRUPTED
    assert ended.ended is not None
    seconds = (ended.ended - ended.started).total_seconds()
    assert minimum < seconds < 10
    assert [each.outcome for each in read_history(settings.directory)] == [AttemptOutcome.INTERRUPTED]
    wait_until(lambda: not is_running(begun.read_text()), 10)


def test_a_stop_ends_the_wait_for_a_retry(tmp_path: Path) -> None:
    settings = Settings(directory=tmp_path, redis=NOWHERE, schedule=Schedule(backoff_seconds=600))
    stop, started = Stop(), time.monotonic()
    stop_when(stop, lambda: any(each.outcome == AttemptOutcome.FAILED for each in read_history(tmp_path)))
    ended = run_job(job("import sys; sys.exit(1)"), DUE, settings, stop)
    assert (ended.outcome, ended.attempt) == (AttemptOutcome.FAILED, 1)
    assert time.monotonic() - started < 30


def test_a_password_is_not_shown(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    run_job(job("import sys; sys.exit(1)"), DUE, settings, Stop())
    output = capsys.readouterr()
    assert "secret" not in output.err + output.out + (settings.directory / "history" / "jobs.jsonl").read_text()
