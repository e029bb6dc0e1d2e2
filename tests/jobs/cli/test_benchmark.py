"""`recsys benchmark` on splits small enough to work out by hand, and on a public one."""

import json
import math
import subprocess
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.experiments.benchmark import Protocol, read_split
from recsys.settings import Settings

Recsys = Callable[..., subprocess.CompletedProcess[str]]
Pairs = list[tuple[str, str]]

# a is had by 4 users, b by 3, c by 2, d by 1: the popular order is a b c d.
TRAIN: Pairs = (
    [(user, "a") for user in "1234"] + [(user, "b") for user in "123"] + [("1", "c"), ("2", "c"), ("3", "d")]
)


def write_pairs(path: Path, pairs: Pairs, **columns: list[Any]) -> None:
    """A file of a split."""
    users, items = zip(*pairs, strict=True)
    pl.DataFrame({"user_id": users, "item_id": items, **columns}).write_parquet(path)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A directory for a split, the train file in it."""
    directory = tmp_path / "split"
    directory.mkdir()
    write_pairs(directory / "train.parquet", TRAIN)
    return directory


class SameProcess(Executor):
    """Runs each call in the test's process."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **named))
        return future


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure models without the seconds that a new process takes to import everything."""
    monkeypatch.setattr("jobs.experiments.benchmark.ProcessPoolExecutor", SameProcess)


def measure(recsys: Recsys, split: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """The figures that the command writes, by model."""
    out = split / "out.json"
    done = recsys("benchmark", split, *arguments, "--json", out, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())["models"]


def test_repeats_allowed(recsys: Recsys, split: Path) -> None:
    # User 1 wants b (second of a b) and an item nobody had; user 4 wants a (first). User 9 has no history.
    write_pairs(split / "test.parquet", [("1", "b"), ("1", "never seen"), ("4", "a"), ("9", "a")])
    arguments = ("--model", "popularity", "--k", "2", "--repeat", "allow", "--unknown-items", "count")
    figures = measure(recsys, split, *arguments)["popularity"]
    second = 1 / math.log2(3)
    assert figures["recall@2"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["ndcg@2"] == pytest.approx((second / (1 + second) + 1) / 2)
    assert (figures["users"], figures["cold_users"]) == (2, 1)
    assert figures["fit_seconds"] >= 0
    assert figures["recommend_seconds"] >= 0
    assert figures["peak_memory_mb"] > 10


@pytest.mark.usefixtures("same_process")
def test_items_without_training_rows_are_dropped_and_told(recsys: Recsys, split: Path) -> None:
    # User 1 wants b, second of a b, and an item nobody had; user 2 wants only one that nobody had.
    write_pairs(split / "test.parquet", [("1", "b"), ("1", "new"), ("2", "new"), ("4", "a")])
    arguments = ("--model", "popularity", "--k", "2", "--repeat", "allow")
    figures = measure(recsys, split, *arguments)["popularity"]
    assert (figures["recall@2"], figures["users"]) == (1.0, 2)
    assert (figures["unknown_items"], figures["unknown_rows"]) == (1, 2)
    shown = recsys("benchmark", split, *arguments).stdout
    assert "2 test rows of 1 items without training rows: dropped" in shown
    counted = measure(recsys, split, *arguments, "--unknown-items", "count")["popularity"]
    assert (counted["recall@2"], counted["users"]) == (pytest.approx((1 / 2 + 0 + 1) / 3), 3)


def test_auto_chooses_on_validation_rows_of_trained_items(split: Path) -> None:
    write_pairs(split / "valid.parquet", [("4", "b"), ("4", "valid only")])
    write_pairs(split / "test.parquet", [("4", "c"), ("4", "valid only")])
    holdout = read_split(split, "holdout", Settings()).without_unknown_items()
    assert (holdout.validation["item_id"].to_list(), holdout.test["item_id"].to_list()) == (["b"], ["c"])


@pytest.mark.usefixtures("same_process")
def test_repeats_excluded(recsys: Recsys, split: Path) -> None:
    # User 1 had a b c, so only d is left: a hit. User 4 had a: gets b c, wants d and a (dropped, had before).
    write_pairs(split / "test.parquet", [("1", "d"), ("4", "d"), ("4", "a")])
    figures = measure(recsys, split, "--model", "popularity", "--k", "2", "--repeat", "exclude")["popularity"]
    assert figures["recall@2"] == pytest.approx((1 + 0) / 2)
    assert figures["ndcg@2"] == pytest.approx(1 / 2)


@pytest.mark.usefixtures("same_process")
def test_last_item_takes_validation_into_the_history(recsys: Recsys, split: Path) -> None:
    # With valid, c is as popular as b, and user 4 has had a and c: b comes first for user 4.
    write_pairs(split / "valid.parquet", [("4", "c")])
    write_pairs(split / "test.parquet", [("4", "b")])
    figures = measure(recsys, split, "--model", "popularity", "--k", "1", "--protocol", "last-item")["popularity"]
    assert figures["recall@1"] == 1
    held_out = measure(
        recsys, split, "--model", "popularity", "--k", "1", "--protocol", "holdout", "--repeat", "exclude"
    )
    assert held_out["popularity"]["recall@1"] == 1


PAIRS = [(f"user{user}", f"item{(user % 3) * 5 + place}") for place in range(4) for user in range(30)]
ORDERS = {
    "none": {},
    "position": {"position": [row // 30 for row in range(120)]},
    "timestamp": {"timestamp": [datetime(2026, 1, 1) + timedelta(days=row // 30) for row in range(120)]},
}


@pytest.mark.parametrize("columns", ORDERS)
@pytest.mark.parametrize("protocol", ["holdout", "last-item"])
def test_what_auto_chooses_by_is_held_out_of_the_training_rows(
    split: Path, columns: str, protocol: Protocol
) -> None:
    write_pairs(split / "train.parquet", PAIRS, **ORDERS[columns])
    write_pairs(split / "test.parquet", [(f"user{user}", f"item{(user % 3) * 5 + 4}") for user in range(30)])
    result = read_split(split, protocol, Settings())
    train, held = (set(rows.select("user_id", "item_id").rows()) for rows in (result.train, result.validation))
    assert train | held == set(PAIRS)
    assert not train & held
    assert result.history.height == len(PAIRS)
    if protocol == "last-item":
        assert result.validation["user_id"].n_unique() == result.validation.height == 30
    if columns == "timestamp" or (protocol, columns) == ("last-item", "position"):
        assert held == {(user, item) for user, item in PAIRS if int(item[4:]) % 5 == 3}


BASKETS = {"1": ("ab", "c", "d"), "2": ("a", "d"), "3": ("ab",)}
BASKET_ROWS = [
    (user, item, number)
    for user, baskets in BASKETS.items()
    for number, items in enumerate(baskets)
    for item in items
]


def write_baskets(split: Path) -> None:
    pairs = [(user, item) for user, item, _ in BASKET_ROWS]
    write_pairs(split / "train.parquet", pairs, basket=[number for *_, number in BASKET_ROWS])


def test_the_last_basket_of_a_user_with_an_earlier_one_is_held_out(split: Path) -> None:
    write_baskets(split)
    write_pairs(split / "test.parquet", [("1", "a")])
    result = read_split(split, "last-basket", Settings())
    assert result.validation.select("user_id", "item_id").rows() == [("1", "d"), ("2", "d")]
    for history, days in ((result.history, [2, 2, 1, 0, 1, 0, 0, 0]), (result.train, [1, 1, 0, 0, 0, 0])):
        ages = history.select(pl.col("timestamp").max() - pl.col("timestamp")).to_series()
        assert ages.to_list() == [timedelta(days=age) for age in days]


def test_of_the_numbers_of_baskets_and_positions_only_the_order_counts(split: Path) -> None:
    write_baskets(split)
    write_pairs(split / "test.parquet", [("1", "a")])
    rows, pairs = pl.read_parquet(split / "train.parquet"), [(user, item) for user, item, _ in BASKET_ROWS]
    days = read_split(split, "last-basket", Settings())
    numbers = [20_191_231, 20_200_101, 1_580_000_000]
    write_pairs(split / "train.parquet", pairs, basket=[numbers[number] for number in rows["basket"]])
    assert read_split(split, "last-basket", Settings()).history.equals(days.history)
    histories: list[pl.DataFrame] = []
    for factor in (1, 10**17):
        write_pairs(split / "train.parquet", pairs, position=[factor * row for row in range(len(pairs))])
        histories.append(read_split(split, "last-item", Settings()).history)
    assert histories[0].equals(histories[1])


@pytest.mark.usefixtures("same_process")
def test_the_next_basket_may_repeat_items(recsys: Recsys, split: Path) -> None:
    write_baskets(split)
    write_pairs(split / "test.parquet", [("1", "d"), ("2", "b"), ("3", "a"), ("3", "b")])
    arguments = ("--model", "up_cf", "--k", "2", "--protocol", "last-basket")
    assert measure(recsys, split, *arguments)["up_cf"]["recall@2"] == pytest.approx((0 + 0 + 1) / 3)
    assert measure(recsys, split, *arguments, "--repeat", "exclude")["up_cf"]["recall@2"] == pytest.approx(1)


@pytest.mark.usefixtures("same_process")
def test_auto_chooses_without_the_test_rows(recsys: Recsys, split: Path) -> None:
    # Each day, users buy another of five items, all of which are bought on every day.
    days = [
        [(f"user{user}", f"item{user % 3 * 5 + (user // 3 + day) % 5}") for user in range(30)] for day in range(5)
    ]
    write_pairs(split / "train.parquet", [pair for day in days[:4] for pair in day], **ORDERS["timestamp"])
    write_pairs(split / "test.parquet", days[4])
    candidates = {"RECSYS_MODELS": '["popularity", "item_knn"]'}
    figures = measure(recsys, split, "--k", "5", **candidates)["auto"]
    assert figures["chosen"] in ("popularity", "item_knn", "blend")
    write_pairs(split / "test.parquet", [(f"user{user}", "item0") for user in range(30)])
    again = measure(recsys, split, "--k", "5", **candidates)["auto"]
    assert (again["chosen"], again["weights"]) == (figures["chosen"], figures["weights"])


@pytest.mark.parametrize(
    ("name", "pairs", "arguments", "message"),
    [
        ("test.parquet", [("1", "a"), ("1", "b")], ("--protocol", "last-item"), "a user has several items"),
        ("test.parquet", [("1", "a")], ("--protocol", "last-basket"), "last-basket expects a column 'basket'"),
        ("test.parquet", [("1", "a")], ("--model", "magic"), "there is no model 'magic'"),
        ("valid.parquet", [("1", "a")], (), "test.parquet: cannot be read"),
    ],
)
def test_errors_are_reported_in_one_line(
    recsys: Recsys, split: Path, name: str, pairs: Pairs, arguments: tuple[str, ...], message: str
) -> None:
    write_pairs(split / name, pairs)
    done = recsys("benchmark", split, *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("same_process")
def test_a_missing_column_is_named(recsys: Recsys, split: Path) -> None:
    pl.DataFrame({"user": ["1"], "item_id": ["a"]}).write_parquet(split / "test.parquet")
    done = recsys("benchmark", split)
    assert done.returncode == 2
    assert "column 'user_id' is missing; the file has user, item_id" in done.stderr


DAMAGED: dict[str, tuple[str, dict[str, list[Any]], str, str]] = {
    "no rows": ("test", {"user_id": [], "item_id": []}, "holdout", "test.parquet: it has no rows"),
    "no id": (
        "train",
        {"user_id": ["1", None], "item_id": ["a", "b"]},
        "holdout",
        "'user_id' lacks a value in 1 of 2",
    ),
    "no time": (
        "train",
        {"timestamp": [datetime(2026, 1, 1), None]},
        "holdout",
        "'timestamp' lacks a value in 1 of 2",
    ),
    "a time of day": (
        "train",
        {"timestamp": [time(1), time(2)]},
        "holdout",
        "'timestamp' is Time; expected a date",
    ),
    "text as order": (
        "train",
        {"position": ["1", "2"]},
        "last-item",
        "'position' is String; expected whole numbers",
    ),
    "no numbers": ("train", {"basket": [1.0, 2.0]}, "last-basket", "'basket' is Float64; expected whole numbers"),
    "other columns": ("valid", {"position": [1, 2]}, "last-item", "valid.parquet: expected the columns of train"),
    "no user with history": ("test", {"user_id": ["7", "8"]}, "holdout", "no user with training rows has an item"),
    "nothing to choose by": ("valid", {"user_id": ["7", "8"]}, "holdout", "auto has no rows to choose by"),
}


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_split_is_one_line(recsys: Recsys, split: Path, name: str) -> None:
    file, columns, protocol, message = DAMAGED[name]
    write_pairs(split / "test.parquet", [("1", "d")])
    pl.DataFrame({"user_id": ["1", "2"], "item_id": ["a", "b"]} | columns).write_parquet(split / f"{file}.parquet")
    done = recsys("benchmark", split, "--protocol", protocol, RECSYS_MODELS='["popularity"]')
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_popularity_on_beauty(recsys: Recsys, shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "beauty.json"
    done = recsys(
        "benchmark",
        shared_data / "beauty",
        "-m",
        "popularity",
        "--k",
        "10",
        "--protocol",
        "last-item",
        "--unknown-items",
        "count",
        "--json",
        out,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["models"]["popularity"]
    assert figures["users"] == 22_363
    assert 0.008 < figures["recall@10"] < 0.02
