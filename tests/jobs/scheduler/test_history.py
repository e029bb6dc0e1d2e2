"""The history of jobs, and the lock that says whether one is running."""

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.scheduler.history import Attempt, AttemptOutcome, read_history, record_attempt
from jobs.scheduler.lock import job_lock, lock_holder
from recsys.errors import BusyError

DUE = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
BEGUN = Attempt("nightly", DUE, DUE, 1, "20260301T000000Z")
FILE = Path("history", "jobs.jsonl")

HOLDER = """
import sys, time
from pathlib import Path
from jobs.scheduler.lock import job_lock
with job_lock(Path(sys.argv[1]), "nightly"):
    print("holds", flush=True)
    time.sleep(60)
"""

WRITER = """
import sys
from datetime import datetime, timedelta, UTC
from pathlib import Path
from jobs.scheduler.history import Attempt, record_attempt
start = datetime(2026, 3, 1, tzinfo=UTC)
for number in range(int(sys.argv[2])):
    record_attempt(Path(sys.argv[1]), Attempt(sys.argv[3], start, start + timedelta(seconds=number), number, None))
    print(number, flush=True)
"""


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def holding(tmp_path: Path) -> "subprocess.Popen[str]":
    """Start a process that holds the lock of the nightly job."""
    process = python(HOLDER, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_a_job_is_done_by_one_process_and_free_when_that_is_killed(
    tmp_path: Path, holding: "subprocess.Popen[str]"
) -> None:
    owner = lock_holder(tmp_path, "nightly")
    assert owner is not None
    assert owner.pid == holding.pid
    assert owner.since is not None
    assert timedelta(0) < datetime.now(UTC) - owner.since < timedelta(minutes=1)
    message = rf"^nightly: process {holding.pid} has been running it since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC$"
    with pytest.raises(BusyError, match=message), job_lock(tmp_path, "nightly"):
        pytest.fail("two hold it")
    with job_lock(tmp_path, "trending"):
        assert lock_holder(tmp_path, "trending") is not None
    holding.send_signal(signal.SIGKILL)
    holding.communicate()
    assert lock_holder(tmp_path, "nightly") is None
    with job_lock(tmp_path, "nightly"):
        pass


def test_looking_who_does_a_job_keeps_nobody_from_it(tmp_path: Path) -> None:
    looker = python(
        "import sys\nfrom pathlib import Path\nfrom jobs.scheduler.lock import lock_holder\n"
        "print('looks', flush=True)\n"
        "while True: lock_holder(Path(sys.argv[1]), 'nightly')",
        tmp_path,
    )
    assert looker.stdout is not None
    looker.stdout.readline()
    with job_lock(tmp_path, "nightly"):
        pass
    try:
        for _ in range(300):
            with job_lock(tmp_path, "nightly"):
                pass
    finally:
        looker.kill()
        looker.communicate()


def test_an_ended_attempt_is_described_by_its_last_line(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    ended = replace(BEGUN, outcome=AttemptOutcome.FAILED, ended=DUE + timedelta(minutes=5), error="no\nluck: ü")
    later = replace(
        ended, started=DUE + timedelta(minutes=6), attempt=2, outcome=AttemptOutcome.SUCCEEDED, error=None
    )
    for attempt in (BEGUN, ended, later):
        record_attempt(tmp_path, attempt)
    assert read_history(tmp_path) == [ended, later]


def test_a_line_that_was_cut_short_costs_only_itself(tmp_path: Path) -> None:
    ended = replace(BEGUN, outcome=AttemptOutcome.SUCCEEDED, ended=DUE)
    record_attempt(tmp_path, ended)
    with (tmp_path / FILE).open("ab") as file:
        file.write((tmp_path / FILE).read_bytes()[:50])
    assert read_history(tmp_path) == [ended]
    later = replace(ended, started=DUE + timedelta(days=1))
    record_attempt(tmp_path, later)
    assert read_history(tmp_path) == [ended, later]


def test_what_never_ended_goes_on_or_was_interrupted(tmp_path: Path, holding: "subprocess.Popen[str]") -> None:
    again = replace(BEGUN, started=DUE + timedelta(minutes=1))
    skipped = replace(BEGUN, started=DUE + timedelta(minutes=2), outcome=AttemptOutcome.SKIPPED)
    for attempt in (BEGUN, again, skipped):
        record_attempt(tmp_path, attempt)
    outcomes = [attempt.outcome for attempt in read_history(tmp_path)]
    assert outcomes == [AttemptOutcome.INTERRUPTED, AttemptOutcome.RUNNING, AttemptOutcome.SKIPPED]
    holding.kill()
    holding.communicate()
    outcomes = [attempt.outcome for attempt in read_history(tmp_path)]
    assert outcomes == [AttemptOutcome.INTERRUPTED, AttemptOutcome.INTERRUPTED, AttemptOutcome.SKIPPED]


def test_writers_at_once_and_one_that_is_killed_lose_no_line(tmp_path: Path) -> None:
    writers = [python(WRITER, tmp_path, 100_000, "killed"), python(WRITER, tmp_path, 100, "whole")]
    output = writers[0].stdout
    assert output is not None
    assert [output.readline() for _ in range(20)] == [f"{number}\n" for number in range(20)]
    writers[0].kill()
    written = [*range(20), *(int(line) for line in output.read().splitlines() if line)]
    writers[1].communicate(timeout=60)
    writers[0].communicate()
    attempts = read_history(tmp_path)
    assert [each.attempt for each in attempts if each.job == "whole"] == list(range(100))
    assert {each.attempt for each in attempts if each.job == "killed"} >= set(written[:-1])
