"""Items that are no goods are in no model and no list."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.lake.lake import Lake
from jobs.lake.not_recommendable import (
    LeftOut,
    count_left_out,
    find_items,
    find_uncatalogued_items,
    open_recommendable_lake,
)
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.step_names import Until
from jobs.progress import LogProgress
from recsys.settings import Evaluation, Lists, Search, Settings
from tests.ingests import ingest_files, write_events
from tests.shop import AS_OF

LATER = datetime(2100, 1, 1, tzinfo=UTC)
ITEMS = """item_id,title,category
POST,Postage,Services
post-it,Notes,Office > Paper
gift1,Gift card 20,Cards
s1,Sample of (tea),Food > Samples
tea,Tea,Food
tea,,Food > New
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake", buckets=2)
    (tmp_path / "items.csv").write_text(ITEMS)
    ids = ("POST", "post-it", "tea", "M", "Manual")
    events = write_events(tmp_path / "events.csv", *({"item_id": item_id} for item_id in ids))
    ingest_files(lake, events, tmp_path / "items.csv")
    return lake


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["post"], ["POST"]),
        (["m", "man*"], ["M", "Manual"]),
        (["gift card ??"], ["gift1"]),
        (["samples"], ["s1"]),
        (["new"], ["tea"]),
        (["sample of (tea)"], ["s1"]),
        (["post?it", "services"], ["POST", "post-it"]),
        (["."], []),
    ],
)
def test_a_pattern_matches_the_id_the_title_or_a_level_of_the_category(
    lake: Lake, patterns: list[str], expected: list[str]
):
    found = find_items(lake, patterns)
    assert found.to_list() == expected
    rest = lake.excluding_items(found)
    kept = {"POST", "post-it", "tea", "M", "Manual", "gift1", "s1"} - set(expected)
    assert set(rest.events().collect()["item_id"]) | set(rest.items().collect()["item_id"]) == kept
    assert set(rest.items(at=datetime.fromisoformat("2024-05-01T00:00:00Z")).collect()["item_id"]) <= kept


def test_no_list_of_a_run_has_such_an_item(shop_lake: Path, tmp_path: Path):
    lake = Lake(shutil.copytree(shop_lake, tmp_path / "lake"))
    as_of = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")
    ghosts = [
        {
            "user_id": f"user{user}",
            "item_id": "ghost",
            "event": "purchase",
            "timestamp": f"2026-{month:02d}-20T10:00:00",
        }
        for user in range(60)
        for month in (1, 2, 3)
    ]
    ingest_files(lake, write_events(tmp_path / "events_of_ghosts.csv", *ghosts), latest=as_of)
    settings = Settings(
        directory=tmp_path,
        models=("popularity", "item_knn"),
        evaluation=Evaluation(validation_days=14, test_days=14),
        search=Search(max_trials=0),
        lists=Lists(not_recommendable=("item1*", "thing number 5"), never_show=("item2*",)),
    )
    run = advance_run(settings, as_of, Until.EVALUATE, LogProgress()).run
    popular = pl.read_parquet(run.directory / "lists" / "popular.parquet")
    listed = set(popular["items"].explode())
    shown = listed.copy()
    for name in ("user_items", "similar_items", "bought_with"):
        lists = pl.read_parquet(run.directory / "lists" / f"{name}.parquet")
        shown |= set(lists["items"].explode())
        listed |= set(lists["items"].explode()) | (set(lists["item_id"]) if "item_id" in lists.columns else set())
    hidden = {"item5", "ghost", *(item for item in listed if item.startswith("item1"))}
    assert len(listed) > 40
    assert not listed & hidden
    assert not any(item.startswith("item2") for item in shown)
    assert any(item.startswith("item2") for item in listed)  # models learn from them, and they have lists
    left_out = run.manifest()["left_out"]
    assert (left_out["uncatalogued_items"], left_out["uncatalogued_events"]) == (1, 180)
    assert "item5" not in set(open_recommendable_lake(settings, LATER).events().collect()["item_id"])


def test_items_of_events_must_be_in_the_catalogue_where_there_is_one(lake: Lake, tmp_path: Path):
    assert find_uncatalogued_items(lake, LATER).to_list() == ["M", "Manual"]
    without = Lake(tmp_path / "without")
    ingest_files(without, tmp_path / "events.csv")
    assert find_uncatalogued_items(without, LATER).is_empty()
    changes = pl.DataFrame({"item_id": ["tea"], "price": [2.0]})
    with without.locked():
        without.merge_online_items(changes, datetime(2026, 4, 1, tzinfo=UTC), 1)
    assert "tea" in set(without.items().collect()["item_id"])
    assert find_uncatalogued_items(without, LATER).is_empty()


def test_a_file_of_a_few_items_is_no_catalogue(lake: Lake, tmp_path: Path):
    rows = [{"item_id": item_id, "user_id": "other"} for item_id in ("M", "Manual")]
    ingest_files(lake, write_events(tmp_path / "events_more.csv", *rows))
    assert find_uncatalogued_items(lake, LATER).is_empty()


def test_what_is_left_out_is_counted(lake: Lake, tmp_path: Path):
    rows = [{"item_id": item_id, "quantity": 0, "event": "purchase"} for item_id in ("tea", "M")]
    ingest_files(
        lake, write_events(tmp_path / "events_empty.csv", *rows, {"item_id": "tea", "quantity": 0, "event": "view"})
    )
    left_out = lake.excluding_items(pl.Series(["POST", "M", "Manual"]))
    assert count_left_out(left_out, LATER) == LeftOut(1, 1, 2, 3, 2)
    assert count_left_out(left_out, datetime(2000, 1, 1, tzinfo=UTC)) == LeftOut(0, 0, 0, 0, 0)
