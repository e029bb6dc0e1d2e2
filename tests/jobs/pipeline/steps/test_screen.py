"""Screened users: which are excluded, and that no model learns from them."""

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.lake.lake import Lake
from jobs.pipeline.steps.screen import LABELED_REASON, combine_verdicts, read_online_flags
from recsys.contract import Flags, Labels
from recsys.schema import EVENT_DTYPES
from recsys.store.embedded import server_status, stop_server
from tests.commands import run_recsys
from tests.shop import AS_OF, DAYS, FIRST_DAY, ITEMS

RUN = "20260411T000000Z"
SHOPPERS = 80
BOTS = 6

Recsys = Callable[..., subprocess.CompletedProcess[str]]
WriteSettings = Callable[[str], Path]


def verdicts(*rows: tuple[str, float, bool, list[str]]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "score": pl.Float64, "flagged": pl.Boolean, "reasons": pl.List(pl.String)}
    return pl.DataFrame(list(rows), schema, orient="row")


def labels(**of_users: str) -> pl.DataFrame:
    rows = [(user, label, FIRST_DAY) for user, label in of_users.items()]
    return pl.DataFrame(rows, pl.Schema(Labels), orient="row")


def test_analysts_have_the_last_word_and_then_whoever_flags():
    known = pl.DataFrame(
        {"user_id": list("abcdefg"), "events": range(1, 8)}, {"user_id": pl.String, "events": pl.UInt32}
    )
    result = verdicts(
        ("a", 90, True, ["fast"]),
        ("b", 95, True, ["fast"]),
        ("c", 10, False, []),
        ("d", 60, False, ["odd"]),
        ("e", 99, True, ["fast"]),
        ("f", 70, False, ["odd"]),
    )
    online = verdicts(("d", 85, True, ["burst"]), ("f", 88, True, ["burst", "odd"]), ("gone", 90, True, []))
    judged = combine_verdicts(known, result, labels(b="fine", c="bot", f="fine", missing="bot"), online, ["e"])
    rows = {row["user_id"]: row for row in judged.iter_rows(named=True)}
    assert {user: row["flagged"] for user, row in rows.items()} == {
        "a": True,
        "b": False,
        "c": True,
        "d": True,
        "e": False,
        "f": False,
    }
    shown = ("score", "source", "reasons", "events")
    assert [rows["a"][name] for name in shown] == [90, "nightly", ["fast"], 1]
    assert [rows["c"][name] for name in shown] == [100, "label", [LABELED_REASON], 3]
    assert [rows["d"][name] for name in shown] == [85, "online", ["burst", "odd"], 4]


@pytest.fixture(scope="module")
def visited_lake(shop_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's lake with the events of bots that buy one item and others; tests copy it."""
    home = tmp_path_factory.mktemp("visited")
    shutil.copytree(shop_lake, home / "lake")
    rows = [
        {
            "user_id": f"bot{bot}",
            "item_id": "item3" if step % 3 else f"item{(bot + step) % ITEMS}",
            "event": "purchase",
            "timestamp": FIRST_DAY + timedelta(days=day, hours=3, seconds=5 * step + bot),
        }
        for bot in range(BOTS)
        for day in range(0, DAYS, 4)
        for step in range(40)
    ]
    pl.DataFrame(rows).write_parquet(home / "events_of_bots.parquet")
    done = run_recsys(home, home, "ingest", home / "events_of_bots.parquet")
    assert done.returncode == 0, done.stderr
    return home / "lake"


def label_all(directory: Path) -> None:
    """Add labels of analysts: every customer is fine, and every bot a bot."""
    lake = Lake(directory / "lake")
    result = {f"user{n}": "fine" for n in range(SHOPPERS)} | {f"bot{n}": "bot" for n in range(BOTS)}
    with lake.locked():
        lake.upsert_labels(labels(**result))


def content(directory: Path, *steps: str) -> dict[str, bytes]:
    run = directory / "runs" / RUN
    files = [file for step in steps for file in (run / step).rglob("*") if file.is_file()]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def test_screened_users_change_no_list_and_get_the_popular_one(
    recsys: Recsys,
    write_settings: WriteSettings,
    shop_lake: Path,
    visited_lake: Path,
    tmp_path: Path,
    data_directory: Path,
):
    settings, without = write_settings("allow"), tmp_path / "without"
    try:
        for directory, lake in ((without, shop_lake), (data_directory, visited_lake)):
            shutil.copytree(lake, directory / "lake")
            label_all(directory)
        done = recsys("--config", settings, "nightly", "--as-of", AS_OF)
        assert done.returncode == 0, done.stderr
        done = recsys("--config", settings, "evaluate", "--as-of", AS_OF, directory=without)
        assert done.returncode == 0, done.stderr
    finally:
        stop_server(without / "valkey")
    steps = ("features", "models", "lists", "evaluation/validation", "evaluation/test")
    assert content(data_directory, *steps) == content(without, *steps)

    run = data_directory / "runs" / RUN
    screened = pl.read_parquet(run / "screen" / "users.parquet").filter("flagged")
    assert set(screened["user_id"]) == {f"bot{n}" for n in range(BOTS)}
    summary = json.loads((run / "screen" / "summary.json").read_text())
    assert (summary["screened_users"], summary["bots"], summary["fine"]) == (BOTS, BOTS, SHOPPERS)
    assert summary["screened_events"] == screened["events"].sum() == BOTS * 25 * 40
    compared = json.loads((run / "evaluation" / "unscreened" / "comparison.json").read_text())
    assert [one["metric"] for one in compared["metrics"]] == ["ndcg@20", "recall@20"]
    for one in compared["metrics"]:
        assert one["interval"][0] <= one["without"] - one["with_all"] <= one["interval"][1]
    assert "evaluation/unscreened" in json.loads((run / "manifest.json").read_text())["steps"]
    assert not (without / "runs" / RUN / "evaluation" / "unscreened").exists()
    assert 'id="screening"' in (run / "report" / "report.html").read_text()

    status = server_status(data_directory / "valkey")
    assert status is not None
    backend = redis.Redis(status.address.host, status.address.port, decode_responses=True)
    flag = json.loads(str(backend.get("recsys:flag:{bot1}")))
    assert (flag["source"], flag["score"], flag["reasons"]) == ("nightly", 100, [LABELED_REASON])
    lasts = datetime.fromisoformat(flag["until"]) - datetime.fromisoformat(flag["since"])
    assert lasts == timedelta(hours=36)
    assert backend.exists(f"recsys:{RUN}:user:{{bot1}}") == 0
    assert backend.exists("recsys:flag:{user1}") == 0


def test_in_shadow_mode_all_users_are_learned_from_and_none_is_flagged(
    recsys: Recsys, write_settings: WriteSettings, visited_lake: Path, data_directory: Path
):
    settings = write_settings("allow")
    shutil.copytree(visited_lake, data_directory / "lake")
    label_all(data_directory)
    done = recsys("--config", settings, "nightly", "--as-of", AS_OF, RECSYS_ANOMALIES_NIGHTLY="shadow")
    assert done.returncode == 0, done.stderr
    run = data_directory / "runs" / RUN
    assert pl.read_parquet(run / "screen" / "users.parquet")["flagged"].sum() == BOTS
    users = pl.read_parquet(run / "lists" / "user_items.parquet")["user_id"]
    assert {f"bot{n}" for n in range(BOTS)} <= set(users)
    assert not (run / "evaluation" / "unscreened").exists()
    status = server_status(data_directory / "valkey")
    assert status is not None
    assert redis.Redis(status.address.host, status.address.port).keys("recsys:flag:*") == []


def test_off_looks_for_nobody(recsys: Recsys, write_settings: WriteSettings, shop_lake: Path, data_directory: Path):
    shutil.copytree(shop_lake, data_directory / "lake")
    settings = write_settings("allow")
    done = recsys("--config", settings, "nightly", "--as-of", AS_OF, RECSYS_ANOMALIES_NIGHTLY="off")
    assert done.returncode == 0, done.stderr
    run = data_directory / "runs" / RUN
    assert not (run / "screen").exists()
    assert 'id="screening"' not in (run / "report" / "report.html").read_text()


def test_flags_of_the_last_days_count_and_those_in_shadow_do_not(tmp_path: Path):
    as_of = datetime(2026, 4, 11, tzinfo=UTC)
    ages = [
        ("a", 85, 1, False),
        ("a", 95, 2, False),
        ("b", 90, 1, True),
        ("c", 90, 91, False),
        ("d", 90, -1, False),
    ]
    rows = [(user, score, ["burst"], as_of - timedelta(days=age), shadow) for user, score, age, shadow in ages]
    lake = Lake(tmp_path / "lake")
    lake.write_days("flags", pl.DataFrame(rows, pl.Schema(Flags), orient="row"), "part")
    assert read_online_flags(lake, as_of).rows() == [("a", 95, True, ["burst"])]
    assert read_online_flags(Lake(tmp_path / "empty"), as_of).height == 0


def test_a_lake_without_users_reads_as_if_they_had_done_nothing(tmp_path: Path, shop: Path):
    lake = Lake(tmp_path / "lake", buckets=3)
    rows = pl.read_parquet(shop / "events.parquet").with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias("event_id")
    )
    with lake.locked():
        lake.add_online_events(pl.concat([pl.DataFrame(schema=EVENT_DTYPES), rows], how="diagonal_relaxed").lazy())
    left = lake.excluding(pl.Series(["user3", "nobody"]))
    expected = lake.events().filter(pl.col("user_id") != "user3").collect()
    assert left.events().collect().equals(expected)
    assert sum(left.events(bucket).collect().height for bucket in range(3)) == expected.height
    assert left == lake
