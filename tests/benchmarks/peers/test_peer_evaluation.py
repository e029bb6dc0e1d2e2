"""Other libraries' lists are measured as ours are: a split and lists small enough to work out by hand."""

import json
import math
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.benchmarks.peers.evaluation import PeerEvaluation, UnusableListsError
from tests.benchmarks.peers.task import COSTS, HISTORY, LISTS, USERS
from tests.benchmarks.watch import watch

Rows = list[tuple[int, ...]]

HISTORY_PAIRS: Rows = [(1, 10), (1, 20), (2, 10), (2, 30), (3, 20), (3, 40), (4, 10), (12, 10), (12, 20)]
# User 1 wants 30, 40 and an item nobody had, user 2 20, user 3 10, user 4 only what it had; 9 has no history.
TEST_PAIRS: Rows = [(1, 30), (1, 40), (1, 99), (2, 20), (3, 10), (4, 10), (9, 10)]


def write(path: Path, rows: Rows, *columns: str) -> Path:
    """Write a table of whole numbers."""
    pl.DataFrame(rows, schema=list(columns), orient="row").write_parquet(path)
    return path


@pytest.fixture
def evaluation(tmp_path: Path) -> PeerEvaluation:
    """An evaluation of lists of two."""
    write(tmp_path / "train.parquet", HISTORY_PAIRS, "user_id", "item_id")
    write(tmp_path / "test.parquet", TEST_PAIRS, "user_id", "item_id")
    return PeerEvaluation.read(tmp_path, 2, "holdout")


def measure(evaluation: PeerEvaluation, directory: Path, lists: Rows) -> dict[str, float]:
    """The metrics of a table of lists."""
    return evaluation.measure("peer", write(directory / LISTS, lists, "user_id", "item_id", "rank"))


def test_lists_get_the_figures_worked_out_by_hand(evaluation: PeerEvaluation, tmp_path: Path) -> None:
    # User 1 finds one of three in second place, user 2 its only one in first; user 3's stands third of two.
    # Only these three have relevant new items.
    figures = measure(evaluation, tmp_path, [(2, 20, 1), (1, 40, 2), (3, 10, 3), (2, 40, 2), (3, 30, 1)])
    second = 1 / math.log2(3)
    assert figures["recall@2"] == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert figures["ndcg@2"] == pytest.approx((second / (1 + second) + 1 + 0) / 3)
    assert figures["mrr@2"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_a_user_without_a_list_counts_with_zeros(evaluation: PeerEvaluation, tmp_path: Path) -> None:
    assert measure(evaluation, tmp_path, [(3, 10, 1)])["recall@2"] == pytest.approx(1 / 3)


def test_an_item_that_the_user_has_is_no_hit(evaluation: PeerEvaluation, tmp_path: Path) -> None:
    assert measure(evaluation, tmp_path, [(2, 10, 1), (2, 20, 2)])["mrr@2"] == pytest.approx(1 / 2 / 3)


@pytest.mark.parametrize(
    ("lists", "problem"),
    [
        ([(1, 30, 1), (1, 30, 2)], "2 rows of lists repeat"),
        ([(1, 30, 1), (1, 40, 1)], "2 rows of lists repeat"),
        ([(1, 99, 1)], "not part of the task"),
        ([(4, 20, 1)], "not part of the task"),
        ([(9, 10, 1)], "not part of the task"),
        ([(12, 30, 1)], "not part of the task"),
    ],
)
def test_lists_that_break_a_rule_are_not_measured(
    evaluation: PeerEvaluation, tmp_path: Path, lists: Rows, problem: str
) -> None:
    with pytest.raises(UnusableListsError, match=problem):
        measure(evaluation, tmp_path, lists)


def test_a_task_holds_the_history_and_the_users_to_rank_for(evaluation: PeerEvaluation, tmp_path: Path) -> None:
    evaluation.write_task(tmp_path)
    assert sorted(pl.read_parquet(tmp_path / HISTORY).rows()) == sorted(HISTORY_PAIRS)
    assert pl.read_parquet(tmp_path / USERS)["user_id"].to_list() == [1, 2, 3]


def test_the_script_of_a_peer_writes_lists_and_costs(evaluation: PeerEvaluation, tmp_path: Path) -> None:
    evaluation.write_task(tmp_path)
    script = [sys.executable, "-m", "tests.benchmarks.peers.implicit"]
    assert "cosine" in subprocess.run(script, check=True, capture_output=True, text=True).stdout.splitlines()
    ballast = b"x" * 500_000_000
    subprocess.run([*script, str(tmp_path), "cosine", "2"], check=True, capture_output=True)
    del ballast
    lists = pl.read_parquet(tmp_path / LISTS).sort("user_id", "rank")
    # 10 and 20 share two users, 10 and 30 one, 20 and 40 one: cosines 2/√12, 1/√4, 1/√3.
    # The second places of users 2 and 3, whom only one item is left for, are filled with what they have.
    assert lists.rows() == [(1, 40, 1), (1, 30, 2), (2, 20, 1), (2, 30, 2), (3, 10, 1), (3, 40, 2)]
    assert evaluation.measure("cosine", tmp_path / LISTS)["recall@2"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    costs = json.loads((tmp_path / COSTS).read_text())
    assert set(costs) == {"fit_seconds", "recommend_seconds", "peak_memory_mb"}
    assert 10 < costs["peak_memory_mb"] < 500  # that of the script, not of this process


def test_a_process_ends_at_its_limit_of_time_or_memory() -> None:
    slow = watch([sys.executable, "-c", "import time; time.sleep(60)"], most_seconds=0.6)
    assert slow.failed == "not done after 0.6 seconds"
    assert slow.seconds < 30
    large = [sys.executable, "-c", "import time; kept = b'x' * 300_000_000; time.sleep(60)"]
    assert watch(large, most_bytes=2**28, most_seconds=60).failed == "out of memory at 0.25 GB"
    assert watch([sys.executable, "-c", ""], most_bytes=2**30, most_seconds=60).failed is None
