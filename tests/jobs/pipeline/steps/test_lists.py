from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from jobs.pipeline.steps.lists import (
    write_bought_with_lists,
    write_history,
    write_similar_lists,
    write_user_lists,
)
from jobs.pipeline.steps.popular_lists import unlisted_items, write_popular_lists
from jobs.pipeline.steps.user_ranking import UserRanking
from jobs.progress import SilentTask
from recsys.data.interactions import Interactions, build_interactions
from recsys.ids import IdMap
from recsys.models.item_knn import ItemKnn, ItemKnnConfig
from recsys.models.popularity import Popularity
from recsys.ranking.list_limits import NO_LIMITS
from recsys.ranking.top_k import Exclusion
from recsys.settings import Lists
from tests.tables import make_items

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
LISTS = pl.List(pl.String)
# A user, an item, the hours before `AS_OF`, and what it is worth.
Event = tuple[str, str, int, float]


def interactions_from_pairs(events: list[Event]) -> Interactions:
    """Pairs of summed weight, and the events."""
    rows = [(user, item, AS_OF - timedelta(hours=age), weight) for user, item, age, weight in events]
    sequences = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "weight"], orient="row")
    pairs = sequences.group_by("user_id", "item_id").agg(confidence=pl.col("weight").sum())
    return build_interactions(pairs, sequences, AS_OF)


def test_every_user_has_a_list_in_order_of_id_however_short(tmp_path: Path):
    # Ann has had everything: no item is left for her, two are for bob and three for zoe, jug the most popular.
    items_by_user = {"zoe": ["tea"], "ann": ["cup", "jug", "pot", "tea"], "bob": ["tea", "jug"]}
    interactions = interactions_from_pairs(
        [(user, item, 0, 1.0) for user, items in items_by_user.items() for item in items]
    )
    model = Popularity().fit(interactions)
    ranking = UserRanking(model, interactions, Exclusion(interactions.user_items), NO_LIMITS, depth=5)
    write_user_lists(tmp_path, ranking, 5, SilentTask())
    table = pl.read_parquet(tmp_path / "user_items.parquet")
    assert table.schema == {"user_id": pl.String, "items": LISTS}
    assert table.rows() == [("ann", []), ("bob", ["cup", "pot"]), ("zoe", ["jug", "cup", "pot"])]


def test_history_is_what_is_excluded_the_latest_first(tmp_path: Path):
    # Ann came back to the cup, gave the pot back, and took jug and tea at one moment.
    interactions = interactions_from_pairs(
        [
            ("ann", "cup", 90, 1.0),
            ("ann", "pot", 50, 5.0),
            ("ann", "pot", 40, -5.0),
            ("ann", "tea", 30, 1.0),
            ("ann", "jug", 30, 1.0),
            ("ann", "cup", 1, 1.0),
            ("zoe", "tea", 7, 1.0),
        ]
    )
    write_history(tmp_path, interactions, Exclusion(interactions.user_items), 9, SilentTask())
    table = pl.read_parquet(tmp_path / "history.parquet")
    assert table.schema == {"user_id": pl.String, "items": LISTS}
    assert table.rows() == [("ann", ["cup", "jug", "tea", "pot"]), ("zoe", ["tea"])]

    write_history(tmp_path, interactions, Exclusion(interactions.user_items), 2, SilentTask())
    assert pl.read_parquet(tmp_path / "history.parquet").rows() == [("ann", ["cup", "jug"]), ("zoe", ["tea"])]

    write_history(tmp_path, interactions, Exclusion(), 9, SilentTask())
    table = pl.read_parquet(tmp_path / "history.parquet")
    assert (table.height, table.schema) == (0, {"user_id": pl.String, "items": LISTS})


def test_an_item_is_popular_in_each_of_its_categories(tmp_path: Path):
    interactions = interactions_from_pairs([("ann", "cup", 0, 1.0), ("bob", "cup", 0, 1.0), ("bob", "tea", 0, 1.0)])
    items = make_items(
        item_id=["cup", "tea"],
        category=[["Home", "Mugs"], ["Food"]],
        categories=[[["Home", "Mugs"], ["Sale"], ["Home"]], None],
    )
    popularity = Popularity().fit(interactions).item_popularity
    nothing = np.zeros(2, np.float32)
    write_popular_lists(tmp_path, popularity, nothing, interactions, items, nothing > 0, Lists())
    assert pl.read_parquet(tmp_path / "popular.parquet").rows()[2:] == [
        ("popular:Food", ["tea"]),
        ("popular:Home", ["cup"]),
        ("popular:Home>Mugs", ["cup"]),
        ("popular:Sale", ["cup"]),
    ]


@pytest.mark.parametrize("block", [7, 4_096])
def test_history_of_many_users_is_their_excluded_items(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jobs.pipeline.steps.list_writing.BLOCK", block)
    generator = np.random.default_rng(0)
    drawn = zip(*(generator.integers(0, most, 3_000).tolist() for most in (200, 90, 500)), strict=True)
    interactions = interactions_from_pairs([(f"u{user}", f"i{item}", age, 1.0) for user, item, age in drawn])
    write_history(tmp_path, interactions, Exclusion(interactions.user_items), 1_000, SilentTask())
    listed = dict(pl.read_parquet(tmp_path / "history.parquet").rows())
    assert list(listed) == interactions.users.values.to_list()
    for row, items in enumerate(listed.values()):
        assert len(items) == len(set(items))
        assert set(items) == set(interactions.items.ids(interactions.user_items[row].indices))


def test_items_bought_with_another_are_those_that_may_be_shown(tmp_path: Path):
    rows = [
        ("cup", 1, "gone"),
        ("cup", 2, "tea"),
        ("cup", 3, "jug"),
        ("cup", 4, "pot"),
        ("jug", 1, "gone"),
        ("gone", 1, "cup"),
    ]
    table = pl.LazyFrame(rows, schema=["item_id", "rank", "other_item_id"], orient="row")
    items = make_items(item_id=["cup", "gone", "tea"], available=[True, False, None])
    write_bought_with_lists(tmp_path, table, items, AS_OF, 2)
    written = pl.read_parquet(tmp_path / "bought_with.parquet")
    assert written.schema == {"item_id": pl.String, "items": LISTS}
    assert written.rows() == [("cup", ["tea", "jug"]), ("gone", ["cup"])]


@pytest.mark.parametrize(
    ("facts", "is_listed"),
    [
        ({}, True),
        ({"available": False, "stock": 5.0}, False),
        ({"stock": 0.0}, False),
        ({"stock": 0.0, "available": True}, True),
        ({"stock": 0.5}, True),
        ({"valid_until": AS_OF}, False),
        ({"valid_until": AS_OF + timedelta(microseconds=1)}, True),
        ({"valid_from": AS_OF + timedelta(days=7)}, True),
        ({"valid_from": AS_OF + timedelta(days=7, microseconds=1)}, False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else " ".join(value) or "nothing",
)
def test_lists_hold_available_items_that_are_not_over_and_begin_within_a_week(
    facts: dict[str, object], is_listed: bool
) -> None:
    items = make_items(item_id=["cup"], **{name: [value] for name, value in facts.items()})
    ids = IdMap.from_ids(pl.Series(["cup", "jug"]))
    assert unlisted_items(ids, items, AS_OF).tolist() == [not is_listed, False]


def similar_lists(
    directory: Path, events: list[Event], similarity: Literal["cosine", "bm25"]
) -> dict[str, list[str]]:
    interactions = interactions_from_pairs(events)
    model = ItemKnn(ItemKnnConfig(similarity)).fit(interactions)
    write_similar_lists(directory, model, interactions, Exclusion(), 9, 3, SilentTask())
    return dict(pl.read_parquet(directory / "similar_items.parquet").rows())


@pytest.mark.parametrize("similarity", ["cosine", "bm25"])
def test_fewer_users_than_the_minimum_put_nothing_beside_a_popular_item(
    tmp_path: Path, similarity: Literal["cosine", "bm25"]
):
    """Two users with a thousand orders of the tea and the target; then a third with one."""
    pairs = [("tea", "cup"), ("tea", "pot"), ("jug", "pot")]
    shop = [(f"u{user}", item, 30, 1.0) for user in range(30) for item in pairs[user % 3]]
    pushed = [(user, item, 2, 1_000.0) for user in ("x", "y") for item in ("tea", "target")]
    before = similar_lists(tmp_path, shop, similarity)
    assert before["tea"]
    lists = similar_lists(tmp_path, [*shop, *pushed], similarity)
    assert {item: set(listed) for item, listed in lists.items()} == {
        "target": set(),
        **{item: set(listed) for item, listed in before.items()},
    }
    third = [("z", item, 2, 1.0) for item in ("tea", "target")]
    lists = similar_lists(tmp_path, [*shop, *pushed, *third], similarity)
    assert "target" in lists["tea"]
    assert lists["target"] == ["tea"]
