"""The nightly run by its command: its files, resumed runs, repeated runs, and errors."""

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
import redis

from recsys.store.embedded import server_status
from tests.commands import RECSYS
from tests.jobs.conftest import FinishedNight
from tests.shop import AS_OF, DAYS, ITEMS, UNAVAILABLE, write_shop_events

RUN = "20260411T000000Z"
OUTPUTS = ("screen", "features", "evaluation", "models", "forecasts", "lists")

Recsys = Callable[..., subprocess.CompletedProcess[str]]
Nights = Callable[[str], FinishedNight]


def outputs(directory: Path) -> dict[str, str]:
    """Return the hash of every file that the steps of the run wrote, without the duration of the search."""
    run = directory / "runs" / RUN
    files = [file for name in OUTPUTS for file in (run / name).rglob("*") if file.is_file()]
    contents = {str(file.relative_to(run)): file.read_bytes() for file in files}
    contents["evaluation/search/search.json"] = re.sub(
        rb'"seconds": [0-9.e-]+', b"", contents["evaluation/search/search.json"]
    )
    return {name: sha256(content).hexdigest() for name, content in contents.items()}


def connect(directory: Path) -> redis.Redis:
    """A client as a shop's backend would make it."""
    status = server_status(directory / "valkey")
    assert status is not None
    return redis.Redis(status.address.host, status.address.port, decode_responses=True)


def user_lists(directory: Path) -> dict[str, list[str]]:
    """The lists of the run, by user."""
    return dict(pl.read_parquet(directory / "runs" / RUN / "lists" / "user_items.parquet").rows())


@pytest.mark.parametrize("repeat", ["allow", "exclude"])
def test_what_the_online_half_needs_reaches_redis(finished_night: Nights, repeat: str) -> None:
    night = finished_night(repeat)
    events = pl.read_parquet(night.shop / "events.parquet")
    backend = connect(night.directory)
    bought = pl.col("item_id").filter(pl.col("event") == "purchase").unique()
    seen = dict(events.group_by("user_id").agg(bought).rows())
    for user, items in seen.items():
        history = str(backend.get(f"recsys:{RUN}:history:{{{user}}}") or "").split()
        assert sorted(history) == sorted(items)
    own = events.filter(pl.col("user_id") == "user1").sort("timestamp")
    last = own.row(-1, named=True)
    if repeat == "exclude":
        last_bought = own.filter(event="purchase")["item_id"][-1]
        assert str(backend.get(f"recsys:{RUN}:history:{{user1}}")).split()[0] == last_bought
    profile = json.loads(str(backend.get(f"recsys:{RUN}:profile:{{user1}}")))
    assert profile["events"] == events.filter(pl.col("user_id") == "user1").height
    assert profile["last_at"] == last["timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")
    assert len(profile["categories"]) == 3
    assert "brands" not in profile

    catalogue = pl.read_parquet(night.directory / "runs" / RUN / "lists" / "catalogue.parquet")
    assert backend.hkeys(f"recsys:{RUN}:catalogue") == ["0"]
    available = catalogue.filter("available")["item_id"].to_list()
    popular = str(backend.get(f"recsys:{RUN}:popular")).split()  # limits move some items down
    assert (popular[0], sorted(popular)) == (available[0], sorted(available))
    assert catalogue.filter(~pl.col("available"))["item_id"].to_list() == [UNAVAILABLE]
    assert ("vector" in catalogue.columns) == (repeat == "exclude")
    with_others = [item for item in available if backend.exists(f"recsys:{RUN}:bought_together:{{{item}}}")]
    written = pl.read_parquet(night.directory / "runs" / RUN / "lists" / "bought_with.parquet")
    assert set(with_others) == set(written["item_id"]) - {UNAVAILABLE}


@pytest.mark.parametrize("repeat", ["allow", "exclude"])
def test_lists_reach_redis(finished_night: Nights, repeat: str) -> None:
    night = finished_night(repeat)
    events = pl.read_parquet(night.shop / "events.parquet")
    lists = user_lists(night.directory)
    assert set(lists) == set(events["user_id"])

    backend = connect(night.directory)
    version = backend.get("recsys:live")
    assert version == RUN
    bought = pl.col("item_id").filter(pl.col("event") == "purchase").unique()
    seen = dict(events.group_by("user_id").agg(bought).rows())
    for user, items in lists.items():
        assert backend.get(f"recsys:{version}:user:{{{user}}}") == " ".join(items)
        assert UNAVAILABLE not in items
        allowed = ITEMS - 1 if repeat == "allow" else ITEMS - len({*seen[user], UNAVAILABLE})
        assert len(items) == len(set(items)) == allowed
        if repeat == "exclude":
            assert not set(items) & set(seen[user])

    popular = str(backend.get(f"recsys:{version}:popular")).split()
    assert len(popular) == ITEMS - 1
    shelf = str(backend.get(f"recsys:{version}:popular:tools>shelf 2")).split()
    assert shelf == [item for item in popular if int(item[4:]) % 2 == 0 and int(item[4:]) % 5 == 2]
    assert str(backend.get(f"recsys:{version}:item:{{{popular[0]}}}")).split()[0] in popular
    manifest = json.loads((night.directory / "runs" / RUN / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert (night.directory / "runs" / RUN / "report" / "report.html").stat().st_size < 1_000_000


def test_a_finished_run_does_not_change(
    recsys: Recsys, finished_night: Nights, shop: Path, data_directory: Path
) -> None:
    night = finished_night("allow")
    night.copy(data_directory)
    before = outputs(night.directory)
    manifest = (data_directory / "runs" / RUN / "manifest.json").read_text()
    late = shop / "events_late.parquet"
    write_shop_events(late, 20, DAYS)
    again = recsys("--config", night.settings, "nightly", late, "--as-of", AS_OF)
    assert again.returncode == 0, again.stderr
    assert "was complete already" in again.stdout
    assert outputs(data_directory) == before
    assert (data_directory / "runs" / RUN / "manifest.json").read_text() == manifest

    other = recsys(
        "--config",
        finished_night("exclude").settings,
        "nightly",
        "--as-of",
        AS_OF,
        RECSYS_SOURCES_PATHS=f'["{shop}"]',
    )
    assert other.returncode == 2
    assert other.stderr.strip().endswith("give another --as-of, or remove the directory")
    assert "Traceback" not in other.stderr
    assert outputs(data_directory) == before


def test_nothing_after_as_of_changes_any_output(
    recsys: Recsys, finished_night: Nights, tmp_path: Path, data_directory: Path
) -> None:
    night = finished_night("allow")
    night.copy_lake(data_directory)
    later = tmp_path / "events_of_the_next_days.parquet"
    write_shop_events(later, DAYS, DAYS + 20)
    assert recsys("--config", night.settings, "ingest", later).returncode == 0
    done = recsys("--config", night.settings, "evaluate", "--as-of", AS_OF)
    assert done.returncode == 0, done.stderr
    assert outputs(data_directory) == outputs(night.directory)
    assert len(outputs(data_directory)) > len(OUTPUTS)


def test_buckets_change_no_list(
    recsys: Recsys, finished_night: Nights, shop_files: Path, data_directory: Path
) -> None:
    night = finished_night("allow")
    for command in (("ingest", shop_files), ("evaluate", "--as-of", AS_OF)):
        done = recsys("--config", night.settings, *command, RECSYS_LAKE_BUCKETS="3")
        assert done.returncode == 0, done.stderr
    assert user_lists(data_directory) == user_lists(night.directory)


def test_a_run_that_is_killed_again_and_again_resumes(
    recsys: Recsys, finished_night: Nights, data_directory: Path
) -> None:
    night = finished_night("allow")
    night.copy_lake(data_directory)
    run = data_directory / "runs" / RUN
    for step in ("features", "evaluation/validation/item_knn", "models/popularity"):
        process = subprocess.Popen(
            [RECSYS, "--config", str(night.settings), "nightly", "--as-of", AS_OF],
            env={**os.environ, "RECSYS_DIRECTORY": str(data_directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (run / step).is_dir():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (run / "report").exists()
    resumed = recsys("--config", night.settings, "nightly", "--as-of", AS_OF)
    assert resumed.returncode == 0, resumed.stderr
    assert outputs(data_directory) == outputs(night.directory)
    assert not list(run.rglob("*.partial"))


def test_a_failed_publish_is_made_up_for(recsys: Recsys, finished_night: Nights, data_directory: Path) -> None:
    night = finished_night("allow")
    night.copy_lake(data_directory)
    settings = night.settings
    nowhere = "redis://:secret@127.0.0.1:1/0"
    failed = recsys("--config", settings, "nightly", "--as-of", AS_OF, RECSYS_REDIS_URL=nowhere)
    assert failed.returncode == 2
    assert "127.0.0.1:1" in failed.stderr.splitlines()[-1]
    assert "secret" not in failed.stderr
    assert "Traceback" not in failed.stderr
    status = json.loads(recsys("--config", settings, "status", "--json").stdout)
    assert [run["status"] for run in status["runs"]] == ["failed"]

    written = outputs(data_directory)
    assert recsys("--config", settings, "nightly", "--as-of", AS_OF).returncode == 0
    assert outputs(data_directory) == written
    status = json.loads(recsys("--config", settings, "status", "--json").stdout)
    assert [run["status"] for run in status["runs"]] == ["complete"]
    assert [version["name"] for version in status["redis"]["versions"] if version["live"]] == [RUN]


def test_a_run_has_one_process_at_a_time(recsys: Recsys, finished_night: Nights, data_directory: Path) -> None:
    night = finished_night("allow")
    run = data_directory / "runs" / RUN
    run.mkdir(parents=True)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = recsys("--config", night.settings, "nightly", "--as-of", AS_OF)
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("another process is working on this run")


def test_a_metric_that_is_not_measured_is_one_line_before_any_work(
    recsys: Recsys, finished_night: Nights, data_directory: Path
) -> None:
    night = finished_night("allow")
    night.copy_lake(data_directory)
    failed = recsys("--config", night.settings, "train", "--as-of", AS_OF, RECSYS_EVALUATION_METRIC="ndcg")
    assert failed.returncode == 2
    assert "evaluation.metric = 'ndcg': expected one of recall@5" in failed.stderr
    assert "Traceback" not in failed.stderr
