"""`recsys erase`, `export` and `retention` in careless hands."""

import fcntl
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.lake.lake import Lake
from jobs.lake.tombstones import FILE, KEY_FILE, erasures_directory
from jobs.pipeline.run import COMPLETE, MANIFEST
from recsys.files import write_json
from recsys.store.keys import EVENT_FIELD, Keys
from tests.event_stream import EVENT, append
from tests.ingests import write_events
from tests.jobs.conftest import Recsys

EARLY = "20240501T000000Z"


@pytest.fixture
def erased_lake(recsys: Recsys, data_directory: Path, tmp_path: Path, valkey_url: str) -> Path:
    """The lake of two users, one of whom was erased."""
    write_events(tmp_path / "events.csv", {"user_id": "ann"}, {"user_id": "bob"})
    for arguments in (("ingest", tmp_path / "events.csv"), ("erase", "ann")):
        done = recsys(*arguments, RECSYS_REDIS_URL=valkey_url)
        assert done.returncode == 0, done.stderr
    return data_directory / "lake"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (KEY_FILE, Path.unlink),
        (KEY_FILE, lambda file: file.write_text("")),
        (KEY_FILE, lambda file: file.write_text("zz")),
        (FILE, Path.unlink),
    ],
)
def test_nobody_who_was_erased_comes_back_when_the_key_or_the_tombstones_are_lost(
    recsys: Recsys,
    erased_lake: Path,
    tmp_path: Path,
    valkey_url: str,
    name: str,
    damage: Callable[[Path], object],
) -> None:
    file = erasures_directory(erased_lake) / name
    damage(file)
    before = file.read_bytes() if file.exists() else None
    (receipt,) = (erasures_directory(erased_lake) / "receipts").glob("*.json")
    append(redis.Redis.from_url(valkey_url), EVENT_FIELD, {**EVENT, "user_id": "ann"})
    commands = [("ingest", tmp_path / "events.csv"), ("erase", "bob"), ("archive",)]
    commands += [("erase", "--verify", receipt)] if name == KEY_FILE else []
    for arguments in commands:
        done = recsys(*arguments, RECSYS_REDIS_URL=valkey_url)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), (arguments, done.stderr)
        assert str(file) in done.stderr
        assert "restore it from a backup" in done.stderr
    assert (file.read_bytes() if file.exists() else None) == before
    assert set(Lake(erased_lake).events().collect()["user_id"]) == {"bob"}


def test_an_export_replaces_no_directory(recsys: Recsys, tmp_path: Path, valkey_url: str) -> None:
    kept = tmp_path / "exports" / "precious"
    kept.parent.mkdir()
    kept.touch()
    done = recsys("export", "ann", "--out", kept.parent, RECSYS_REDIS_URL=valkey_url)
    assert (done.returncode, "expected a file, not a directory" in done.stderr) == (2, True)
    assert kept.exists()


def test_a_file_of_users_may_begin_with_a_byte_order_mark(
    recsys: Recsys, erased_lake: Path, tmp_path: Path, valkey_url: str
) -> None:
    users = tmp_path / "users.txt"
    users.write_bytes(b"\xef\xbb\xbfbob\r\n\r\nnobody\r\n")
    done = recsys("erase", "--file", users, RECSYS_REDIS_URL=valkey_url)
    assert done.returncode == 0, done.stderr
    assert Lake(erased_lake).events().collect().is_empty()
    unknown = recsys("erase", "nobody", RECSYS_REDIS_URL=valkey_url)
    assert "Nothing of them was found" in unknown.stdout


@pytest.mark.parametrize("reason", ["a run is at work", "Redis is down", None])
def test_retention_leaves_runs_while_it_does_not_know_which_is_live(
    recsys: Recsys, data_directory: Path, valkey_url: str, reason: str | None
) -> None:
    client, keys = redis.Redis.from_url(valkey_url), Keys("recsys")
    runs = [data_directory / "runs" / name for name in (EARLY, "20240502T000000Z", "20240503T000000Z")]
    for run in runs:
        as_of = datetime.strptime(run.name, "%Y%m%dT%H%M%S%z")
        write_json(run / MANIFEST, {"as_of": as_of.isoformat(), "status": COMPLETE})
    client.set(keys.live, EARLY)
    client.hset(keys.versions, EARLY, "1714521600000000")
    url = "redis://127.0.0.1:1" if reason == "Redis is down" else valkey_url
    with (runs[0] / ".lock").open("w") as lock:
        if reason == "a run is at work":
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = recsys("retention", "--json", RECSYS_RETENTION_RUN_DAYS="30", RECSYS_REDIS_URL=url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] == (1 if reason is None else 0)
    assert [run.exists() for run in runs] == [True, reason is not None, True]


def test_an_erasure_does_not_make_quarantine_younger(
    recsys: Recsys, data_directory: Path, tmp_path: Path, valkey_url: str
) -> None:
    users = ({"user_id": user, "timestamp": "never"} for user in ("ann", "bob"))
    write_events(tmp_path / "events.csv", *users)
    recsys("ingest", tmp_path / "events.csv", RECSYS_SOURCES_MAX_BAD_ROWS="1", RECSYS_REDIS_URL=valkey_url)
    (file,) = (data_directory / "lake" / "quarantine").rglob("*.parquet")
    early = (datetime.now(UTC) - timedelta(days=40)).timestamp()
    os.utime(file, (early, early))
    assert recsys("erase", "ann", RECSYS_REDIS_URL=valkey_url).returncode == 0
    assert pl.read_parquet(file)["user_id"].to_list() == ["bob"]
    done = recsys("retention", "--json", RECSYS_RETENTION_QUARANTINE_DAYS="30", RECSYS_REDIS_URL=valkey_url)
    assert json.loads(done.stdout)["quarantine_files"] == 1
