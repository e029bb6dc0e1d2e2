"""`recsys schedule` and the jobs it starts, by the command."""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.cli.status import print_status
from jobs.pipeline.run import COMPLETE, list_runs
from jobs.scheduler.history import AttemptOutcome, read_history
from jobs.scheduler.lock import LockHolder, lock_holder
from jobs.scheduler.scheduler import SCHEDULER
from jobs.status import read_status
from recsys.settings import load_settings
from recsys.store.embedded import start_server
from recsys.store.keys import TRENDING, Keys
from tests.commands import RECSYS
from tests.jobs.conftest import SHOP_SETTINGS
from tests.shop import DAYS, FIRST_DAY, UNAVAILABLE
from tests.waiting import wait_until

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEYS = Keys("recsys")
RISING = "item9"
SCHEDULED = """
[sources]
paths = ["{shop}"]
[schedule]
retries = 1
backoff_seconds = 0.2
stop_seconds = 5
"""


@pytest.fixture
def config(shop: Path, tmp_path: Path) -> Path:
    """Settings of a shop whose events end with the last midnight."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    later = midnight - (FIRST_DAY + timedelta(days=DAYS))
    events = pl.read_parquet(shop / "events.parquet")
    events.with_columns(pl.col("timestamp") + later).write_parquet(shop / "events.parquet")
    path = tmp_path / "scheduled.toml"
    path.write_text(SHOP_SETTINGS.format(repeat="allow") + SCHEDULED.format(shop=shop))
    return path


@pytest.fixture
def backend(data_directory: Path) -> Iterator[redis.Redis]:
    """A shop's client of the embedded server."""
    address = start_server(data_directory / "valkey")
    with redis.Redis(address.host, address.port, decode_responses=True) as client:
        yield client


@contextmanager
def lake_held(data_directory: Path) -> Generator[None]:
    """While it is, an ingest waits: a job that has begun does not end."""
    lock = data_directory / "lake" / ".lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(config: Path, data_directory: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "RECSYS_DIRECTORY": str(data_directory), **variables}
    return subprocess.Popen(
        [RECSYS, "--config", str(config), *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_failed_night_leaves_the_lists_of_the_last_one_live_and_trending_follows_the_hours(
    recsys: Recsys, config: Path, shop: Path, data_directory: Path, backend: redis.Redis
) -> None:
    now = datetime.now(UTC)
    first = recsys("--config", config, "nightly", "--as-of", f"{now - timedelta(days=1):%Y-%m-%d}")
    assert first.returncode == 0, first.stderr
    version = str(backend.get(KEYS.live))
    before = {key: backend.get(key) for key in backend.scan_iter(f"recsys:{version}:*", _type="STRING")}

    part = sorted((data_directory / "lake" / "events").rglob("*.parquet"))[0]
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    failed = recsys(
        *("--config", config, "schedule", "--once", "nightly"),
        RECSYS_LOG_FORMAT="json",
        RECSYS_SCHEDULE_RETRIES="0",
    )
    assert failed.returncode == 2
    output = [json.loads(line) for line in failed.stderr.splitlines() if line.startswith("{")]
    failure = next(line for line in output if line["event"] == "job failed")
    assert (failure["attempt"], failure["next_try_in_seconds"]) == (1, None)
    assert output[-1]["event"] == f"lists of version {version} stay live"
    assert failed.stderr.splitlines()[-1].startswith("recsys: nightly failed (attempt 1): ")
    assert backend.get(KEYS.live) == version
    assert {key: backend.get(key) for key in backend.scan_iter(f"recsys:{version}:*", _type="STRING")} == before

    part.write_bytes(whole)
    made_good = recsys("--config", config, "schedule", "--once", "nightly")
    assert made_good.returncode == 0, made_good.stderr
    today = f"{now:%Y%m%dT000000Z}"
    assert backend.get(KEYS.live) == today

    trending = KEYS.ranking(today, TRENDING)
    assert RISING not in str(backend.get(trending))
    columns = ["user_id", "item_id", "event", "timestamp"]
    bought = product(range(60), (RISING, UNAVAILABLE))
    rows = [(f"user{user}", item, "purchase", now - timedelta(minutes=user)) for user, item in bought]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(shop / "events_of_the_hour.parquet")
    done = recsys("--config", config, "schedule", "--once", "trending")
    assert done.returncode == 0, done.stderr
    assert str(backend.get(trending)).split()[0] == RISING
    assert UNAVAILABLE not in str(backend.get(trending)).split()

    status = json.loads(recsys("--config", config, "status", "--json").stdout)["schedule"]
    assert [(each["job"], each["run_id"], each["outcome"]) for each in status["attempts"]] == [
        ("nightly", today, "failed"),
        ("nightly", today, "succeeded"),
        ("trending", None, "succeeded"),
    ]
    assert list(status["due"]) == ["nightly", "trending", "archive", "retention"]
    assert status["scheduler"] is None
    print_status(read_status(load_settings(config, {"RECSYS_DIRECTORY": str(data_directory)}), now))


def wait_for_holder(data_directory: Path) -> LockHolder:
    """Return the process that runs the nightly job, once it has written who it is."""
    holder = LockHolder(None, None)

    def is_known() -> bool:
        nonlocal holder
        holder = lock_holder(data_directory, "nightly") or holder
        return holder.pid is not None

    wait_until(is_known)
    return holder


def test_a_stopped_night_is_made_up_and_never_done_twice_at_once(
    recsys: Recsys, config: Path, data_directory: Path
) -> None:
    due = datetime.now(UTC) - timedelta(minutes=2)
    times = {
        "RECSYS_SCHEDULE_NIGHTLY": f"{due.minute} {due.hour} * * *",
        "RECSYS_SCHEDULE_TRENDING": "",
        "RECSYS_SCHEDULE_ARCHIVE": "",
    }
    with lake_held(data_directory):
        scheduler = start(config, data_directory, "schedule", **times)
        wait_until(lambda: lock_holder(data_directory, "nightly") is not None)
        scheduler.send_signal(signal.SIGTERM)
        _, output = scheduler.communicate(timeout=60)
        assert scheduler.returncode == 0, output
        assert lock_holder(data_directory, "nightly") is None
        assert [each.outcome for each in read_history(data_directory)] == [AttemptOutcome.INTERRUPTED]

        scheduler = start(config, data_directory, "schedule", **times)
        child = wait_for_holder(data_directory)
        assert child.pid != scheduler.pid
        scheduler.send_signal(signal.SIGKILL)  # its child goes on
        scheduler.communicate()
        assert lock_holder(data_directory, SCHEDULER) is None

        by_hand = recsys("--config", config, "nightly")
        assert by_hand.returncode == 2
        assert by_hand.stderr.startswith(f"recsys: nightly: process {child.pid} has been running it since 20")
        assert by_hand.stderr.count("\n") == 1
        again = recsys("--config", config, "schedule", "--once", "nightly")
        assert again.returncode == 2
        assert again.stderr.splitlines()[-1].startswith("recsys: nightly skipped (attempt 1): nightly: process")
        outcomes = [each.outcome for each in read_history(data_directory)]
        assert outcomes == [AttemptOutcome.INTERRUPTED, AttemptOutcome.RUNNING, AttemptOutcome.SKIPPED]
    wait_until(lambda: lock_holder(data_directory, "nightly") is None)
    assert {each.scheduled for each in read_history(data_directory)[:2]} == {due.replace(second=0, microsecond=0)}
    assert [run.manifest()["status"] for run in list_runs(data_directory)] == [COMPLETE]
