"""`recsys archive`, and the commands that archive first."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from jobs.lake.lake import Lake
from jobs.scheduler.child_process import EXIT_BUSY
from jobs.scheduler.lock import job_lock
from jobs.scheduler.scheduler import JobName
from recsys.store.embedded import start_server
from recsys.store.keys import Keys

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEYS = Keys("recsys")


@pytest.fixture
def stream(data_directory: Path) -> Iterator[redis.Redis]:
    """A server whose stream has an event of now, and an entry that is none."""
    address = start_server(data_directory / "valkey")
    now = datetime.now(UTC).isoformat()
    event = {"event_id": "e1", "user_id": "ann", "item_id": "tea", "event": "view", "timestamp": now}
    with redis.Redis(address.host, address.port) as client:
        client.xadd(KEYS.events, {"event": json.dumps(event)}, id="1000-0")
        client.xadd(KEYS.events, {"event": "{"})
        yield client


@pytest.mark.usefixtures("stream")
def test_it_says_what_it_archived(recsys: Recsys, data_directory: Path) -> None:
    status = json.loads(recsys("status", "--json").stdout)["redis"]
    assert status["stream"]["entries"] == 2
    assert status["oldest_entry_seconds"] > 1e9
    assert "Stream of events: 2 entries wait to be archived, the oldest for " in recsys("status").stdout

    report = json.loads(recsys("archive", "--json").stdout)
    assert report.pop("seconds") > 0
    assert report == {
        "events": 1,
        "duplicates": 0,
        "impressions": 0,
        "items": 0,
        "flags": 0,
        "labels": 0,
        "identities": 0,
        "invalid": 1,
        "entries": 2,
        "erased": 0,
        "opted_out": 0,
        "erasures": 0,
    }
    assert Lake(data_directory / "lake").events().collect()["event_id"].to_list() == ["e1"]
    assert recsys("archive").stdout.startswith("Archived 0 entries in ")
    assert "Stream of events: 0 entries wait to be archived\n" in recsys("status").stdout


def test_a_nightly_run_archives_first(recsys: Recsys, stream: redis.Redis, data_directory: Path) -> None:
    ended = recsys("nightly")
    assert ended.returncode == 2  # one event is too little
    assert ended.stdout.startswith("Archived 2 entries in ")
    assert stream.xlen(KEYS.events) == 0
    assert Lake(data_directory / "lake").events().collect().height == 1


def test_the_trending_list_counts_what_came_online(recsys: Recsys, stream: redis.Redis) -> None:
    ended = recsys("trending")
    assert "no version is live" in ended.stderr
    assert stream.xlen(KEYS.events) == 0


def test_a_redis_that_does_not_answer_is_an_error_but_to_a_nightly_run(recsys: Recsys) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    alone = recsys("archive", RECSYS_REDIS_URL=nowhere)
    assert (alone.returncode, alone.stdout) == (2, "")
    assert alone.stderr.startswith("recsys: Redis at 127.0.0.1:1: ")
    nightly = recsys("nightly", RECSYS_REDIS_URL=nowhere)
    warning, *_, error = nightly.stderr.splitlines()
    assert "stream of events is not archived" in warning
    assert "Redis at 127.0.0.1:1" not in error


@pytest.mark.parametrize("job", [JobName.NIGHTLY, JobName.ARCHIVE])
def test_it_waits_for_a_nightly_run_and_for_itself(
    recsys: Recsys, stream: redis.Redis, data_directory: Path, job: JobName
) -> None:
    with job_lock(data_directory, job):
        ended = recsys("archive")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("recsys: archive: ")
        assert recsys("archive", "--scheduled").returncode == EXIT_BUSY
        assert recsys("trending", "--scheduled").returncode == 2
    assert stream.xlen(KEYS.events) == (2 if job == JobName.NIGHTLY else 0)
