"""Attacks on a small shop of communities, as a library and as a command."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.experiments.attack_dataset import read_split_dataset
from jobs.experiments.attack_simulation import AttackResult, simulate_attacks
from jobs.progress import LogProgress
from recsys.anomaly.attacks import CLICK_BURST, RANDOM
from recsys.errors import SettingsError
from recsys.schema import ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Settings
from tests.commands import run_recsys
from tests.recsys.anomaly.graphs import draw_customers

USERS = 800


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a year of purchases, the last of each user as test data."""
    directory = tmp_path_factory.mktemp("split")
    graph = draw_customers(USERS, 200, 4, 12, seed=0)
    random = np.random.default_rng(0)
    times = random.poisson(0.7, graph.nnz) + 1  # customers come back for some items
    rows = np.repeat(np.repeat(np.arange(USERS), np.diff(graph.indptr)), times)
    items = np.repeat(graph.indices, times)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(days=float(day)) for day in random.random(len(rows)) * 300]
    events = pl.DataFrame(
        {USER_ID: [f"u{row}" for row in rows], ITEM_ID: [f"i{item}" for item in items], TIMESTAMP: moments}
    ).sort(TIMESTAMP)
    last = pl.int_range(pl.len(), dtype=pl.Int64).over(USER_ID) == pl.len().over(USER_ID) - 1
    events.filter(~last).write_parquet(directory / "train.parquet")
    events.filter(last).select(USER_ID, ITEM_ID).write_parquet(directory / "test.parquet")
    return directory


def simulate(split: Path, *kinds: str, share: float = 0.05) -> list[AttackResult]:
    settings = Settings()
    dataset = read_split_dataset(split, settings)
    return list(simulate_attacks(dataset, kinds, [share], [0], "item_knn", settings, LogProgress()))


@pytest.fixture(scope="module")
def results(split: Path) -> dict[str, AttackResult]:
    """The results of two attacks, measured once."""
    return {result.kind: result for result in simulate(split, CLICK_BURST, RANDOM)}


def test_the_pushed_item_is_detected_and_its_gain_removed(results: dict[str, AttackResult]) -> None:
    outcome = results[CLICK_BURST]
    assert (outcome.accounts, outcome.recall, outcome.precision, outcome.auc) == (40, 1.0, 1.0, 1.0)
    assert outcome.clean_flagged == 0
    assert outcome.hits_defended == outcome.hits_before
    assert outcome.ndcg_before > 0.1
    assert outcome.ndcg_defended == pytest.approx(outcome.ndcg_before, rel=0.02)


def test_profiles_of_random_items_are_found(results: dict[str, AttackResult]) -> None:
    outcome = results[RANDOM]
    assert outcome.recall >= 0.9
    assert outcome.precision >= 0.9


def test_the_same_attack_comes_to_the_same(split: Path, results: dict[str, AttackResult]) -> None:
    assert simulate(split, RANDOM) == [results[RANDOM]]


def test_a_share_is_no_percentage(split: Path) -> None:
    with pytest.raises(SettingsError, match=r"--share = 5: expected a number above 0, at most 1"):
        simulate(split, RANDOM, share=5)


def test_the_command_shows_a_table_and_writes_every_attack(split: Path, tmp_path: Path) -> None:
    out = tmp_path / "attacks.json"
    done = run_recsys(tmp_path, tmp_path, "attack", split, "--kind", CLICK_BURST, "--share", "0.05", "--json", out)
    assert done.returncode == 0, done.stderr
    assert "click_burst" in done.stdout
    (actual,) = json.loads(out.read_text())["attacks"]
    assert actual["recall"] == 1.0
    assert not (tmp_path / "lake").exists()
