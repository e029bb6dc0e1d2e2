"""The demo's whole path on some households of the real data, by its command."""

import json
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.demo.complete_journey import demo_directory
from recsys.store.embedded import server_status
from tests.commands import run_recsys
from tests.demo import HOUSEHOLDS_APART, DemoRun


@pytest.fixture(scope="module")
def demo(demo_run: DemoRun) -> tuple[Path, str]:
    """Return the data directory after the demo, and what the demo printed."""
    return demo_run.directory, demo_run.output


@pytest.fixture(scope="module")
def backend(demo: tuple[Path, str]) -> redis.Redis:
    """A client as a shop's backend would make it."""
    status = server_status(demo[0] / "valkey")
    assert status is not None
    return redis.Redis(status.address.host, status.address.port, decode_responses=True)


def test_it_says_what_it_did(demo: tuple[Path, str]) -> None:
    directory, printed = demo
    manifest = json.loads((directory / "runs" / "20180101T000000Z" / "manifest.json").read_text())
    assert manifest["winner"] in ("repurchase", "buy_again", "blend", "ranker")  # what is bought again is most
    assert f"{manifest['winner']} *" in printed
    assert "Published version 20180101T000000Z" in printed
    assert printed.count("recommended now") == 3
    assert "redis-cli -h 127.0.0.1" in printed


def test_every_household_has_a_list(backend: redis.Redis) -> None:
    households = (
        pl.scan_parquet(demo_directory() / "transactions.parquet")
        .filter(pl.col("household_id") % HOUSEHOLDS_APART == 0)
        .select(pl.col("household_id").unique())
        .collect()["household_id"]
    )
    version = backend.get("recsys:live")
    lists = [str(backend.get(f"recsys:{version}:user:{{{household}}}")).split() for household in households]
    assert len(lists) > 50
    assert {len(items) for items in lists} == {100}
    bought = pl.read_parquet(demo_directory() / "transactions.parquet", columns=["product_id"])
    assert {item for items in lists for item in items} <= set(bought["product_id"].unique().cast(pl.String))


def test_habits_come_back(demo: tuple[Path, str]) -> None:
    """Repeats are allowed at the grocer, so most first items of lists were bought by the household before."""
    directory, _ = demo
    lists = pl.read_parquet(directory / "runs" / "20180101T000000Z" / "lists" / "user_items.parquet")
    had = pl.read_parquet(directory / "lake" / "events" / "**" / "*.parquet").select("user_id", "item_id").unique()
    first = lists.with_columns(pl.col("items").list.head(5)).explode("items")
    known = first.join(had, left_on=["user_id", "items"], right_on=["user_id", "item_id"], how="semi")
    assert known.height > 0.8 * first.height


def test_lookups_by_command(demo: tuple[Path, str], backend: redis.Redis) -> None:
    directory, _ = demo
    version = backend.get("recsys:live")
    popular = str(backend.get(f"recsys:{version}:popular")).split()

    unknown = json.loads(run_recsys(directory, directory, "recommend", "nobody", "-n", "4", "--json").stdout)
    assert (unknown["source"], [item["item_id"] for item in unknown["items"]]) == ("popular", popular[:4])
    similar = json.loads(run_recsys(directory, directory, "similar", popular[0], "--json").stdout)
    assert len(similar["items"]) == 10
    assert popular[0] not in [item["item_id"] for item in similar["items"]]
    missing = run_recsys(directory, directory, "similar", "no-such-item")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("recsys: item 'no-such-item' has no list")


def test_the_report_is_whole(demo: tuple[Path, str]) -> None:
    report = demo[0] / "runs" / "20180101T000000Z" / "report" / "report.html"
    text = report.read_text()
    winner = json.loads((report.parent.parent / "manifest.json").read_text())["winner"]
    assert report.stat().st_size < 1_000_000
    assert f"{winner} is published" in text
    assert text.count("<svg") >= 4
    assert 'src="http' not in text


def test_a_second_demo_changes_nothing(demo: tuple[Path, str]) -> None:
    directory, _ = demo
    source = directory.parent.parent / "slice"
    again = run_recsys(directory.parent.parent, directory.parent, "demo", "--data", source)
    assert again.returncode == 0, again.stderr
    assert "was complete already" in again.stdout
