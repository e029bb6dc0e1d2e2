"""Nightly runs of shops with little history: lists are published, and what was measured is told truthfully."""

import html
import json
import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis

from jobs.pipeline.step_names import PLAN, SEARCH
from tests.commands import run_recsys

AS_OF = datetime(2026, 4, 11)
RUN = "20260411T000000Z"
SETTINGS = """
repeat = "allow"
models = ["popularity", "item_knn", "repurchase"]
[evaluation]
folds = 3
relevant_events = {relevant}
[search]
max_trials = 0
"""
SHORT = "the history has {}, and a measurement needs 4 days. The run of 14 April 2026 is the first that can measure"
FEW_USERS = "a relevant item in it (an item, by {}), and a measurement needs 3 such users."

Nightly = Callable[..., subprocess.CompletedProcess[str]]


def write_events(
    shop: Path, days: int, events: int, users: int = 50, items: int = 20, views: float = 0.4, seconds: int = 86_400
) -> None:
    """Write events of the `days` before `AS_OF`, each in the first `seconds` of its day."""
    shop.mkdir()
    generator = np.random.default_rng(0)
    user = np.arange(events) % users
    ages = [timedelta(days=days - number * days // events) for number in range(events)]
    second = generator.integers(seconds, size=events)
    pl.DataFrame(
        {
            "user_id": [f"user{number}" for number in user],
            "item_id": [f"item{number}" for number in (user * 7 + generator.integers(12, size=events)) % items],
            "event": np.where(generator.random(events) < views, "view", "purchase"),
            "timestamp": [AS_OF - age + timedelta(seconds=int(s)) for age, s in zip(ages, second, strict=True)],
        }
    ).write_parquet(shop / "events.parquet")


@pytest.fixture
def nightly(tmp_path: Path, valkey: redis.Redis) -> Nightly:
    """Runs a nightly run of the shop's files, published to the shared Valkey."""
    address = valkey.connection_pool.connection_kwargs
    (tmp_path / "recsys.toml").write_text(SETTINGS.format(relevant="[]"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        url = f"redis://{address['host']}:{address['port']}"
        return run_recsys(tmp_path, tmp_path / "var", *arguments, RECSYS_REDIS_URL=url)

    return run


def read_report(directory: Path) -> tuple[list[str], list[str]]:
    """Return the leading sentences of the run's report, and the ids of its sections."""
    page = (directory / "var" / "runs" / RUN / "report" / "report.html").read_text()
    leads = re.findall(r'<p class="lead[^"]*">(.*?)</p>', page)
    return [html.unescape(lead) for lead in leads], re.findall(r'<section id="(\w+)"', page)


def popular(valkey: redis.Redis) -> list[str]:
    """Return the published popular list."""
    listed = valkey.get(f"recsys:{RUN}:popular")
    assert isinstance(listed, bytes)
    return listed.decode().split()


@pytest.mark.parametrize(
    ("shop", "relevant", "reason"),
    [
        ({"days": 1, "events": 1, "users": 1, "items": 1}, "", SHORT.format("1 day")),
        ({"days": 1, "events": 150}, "", SHORT.format("1 day")),
        ({"days": 1, "events": 150, "seconds": 1}, "", SHORT.format("1 day")),
        ({"days": 7, "events": 40, "users": 1}, "", FEW_USERS.format("purchase")),
        (
            {"days": 7, "events": 40, "users": 1, "views": 1.0},
            "",
            FEW_USERS.format("any event of positive weight"),
        ),
        ({"days": 30, "events": 400, "views": 0.99}, "purchase", FEW_USERS.format("purchase")),
    ],
    ids=["one event", "one day", "one second", "one user", "one user who only views", "almost only views"],
)
def test_a_shop_that_cannot_be_measured_gets_lists(
    nightly: Nightly, valkey: redis.Redis, tmp_path: Path, shop: dict[str, float], relevant: str, reason: str
) -> None:
    write_events(tmp_path / "shop", **shop)  # pyright: ignore[reportArgumentType]
    names = f"[{relevant!r}]" if relevant else "[]"
    (tmp_path / "recsys.toml").write_text(SETTINGS.format(relevant=names))
    done = nightly("nightly", "shop", "--as-of", f"{AS_OF:%Y-%m-%d}")
    assert done.returncode == 0, done.stderr
    assert "Nothing was measured yet: " in done.stdout
    items = set(pl.read_parquet(tmp_path / "shop" / "events.parquet")["item_id"])
    assert set(popular(valkey)) == items
    manifest = json.loads((tmp_path / "var" / "runs" / RUN / "manifest.json").read_text())
    assert manifest["winner"] == "item_knn"
    assert reason in manifest["unmeasured"]
    assert SEARCH not in manifest["steps"]

    leads, sections = read_report(tmp_path)
    assert leads[0] == manifest["unmeasured"]
    assert leads[1].startswith("The lists of item_knn are published, by a fixed rule")
    assert {"data", "examples", "run"} <= set(sections)
    assert not {"models", "users", "catalogue", "search", "time"} & set(sections)
    status = nightly("status")
    assert f"Run {RUN}: Nothing was measured yet: " in status.stdout


@pytest.mark.parametrize(
    ("shop", "validation", "test", "folds"),
    [
        ({"days": 7, "events": 300, "items": 1}, 2, 1, 3),
        ({"days": 30, "events": 600}, 8, 7, 2),
    ],
    ids=["one week of one item", "one month"],
)
def test_windows_shrink_with_the_history(
    nightly: Nightly,
    valkey: redis.Redis,
    tmp_path: Path,
    shop: dict[str, int],
    validation: int,
    test: int,
    folds: int,
) -> None:
    write_events(tmp_path / "shop", **shop)
    done = nightly("nightly", "shop", "--as-of", f"{AS_OF:%Y-%m-%d}")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "var" / "runs" / RUN
    used = json.loads((run / PLAN / "plan.json").read_text())["used"]
    assert used == {"validation_days": validation, "test_days": test, "folds": folds}
    assert json.loads((run / "manifest.json").read_text())["unmeasured"] is None
    leads, sections = read_report(tmp_path)
    assert leads[2].startswith(f"The history has only {shop['days']} days, and the windows take at most 50% of it")
    assert leads[2] in done.stdout.replace("\n", " ")
    assert {"models", "time", "users", "catalogue"} <= set(sections)
    page = (run / "report" / "report.html").read_text()
    first_test_day = AS_OF - timedelta(days=test)
    assert f"{first_test_day.day} April 2026 to 10 April 2026" in page
    assert popular(valkey)


def test_without_any_event_before_the_run_nothing_is_published(nightly: Nightly, tmp_path: Path) -> None:
    write_events(tmp_path / "shop", days=1, events=5)
    empty = nightly("nightly", "--as-of", "2026-04-11")
    assert (empty.returncode, empty.stderr.splitlines()[-1]) == (
        2,
        "recsys: there are no events to recommend from: ingest events first",
    )
    early = nightly("nightly", "shop", "--as-of", "2026-04-10")
    assert early.returncode == 2
    assert early.stderr.splitlines()[-1].startswith("recsys: no event is before 2026-04-10 00:00; the first is at")
