"""Facts of items from several feeds are united, and what a later feed says of them counts."""

import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ingest.ingest import MAX_CLOCK_SKEW
from jobs.ingest.undo import undo
from jobs.lake.lake import Lake
from recsys.availability import is_available
from recsys.settings import Sources, Table
from tests.ingests import LATEST, KilledError, fail_at_rename, ingest_files


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", buckets=2)


def test_facts_of_two_tables_are_united_and_a_null_erases_nothing(lake: Lake, tmp_path: Path):
    catalogue = Table("catalogue", "items", "catalogue*", {"item_id": "sku", "title": "name", "price": "price"})
    stock = Table("stock", "items", "stock*", {"item_id": "sku", "available": "qty > 0", "title": "title"})
    sources = Sources(tables=(catalogue, stock))
    (tmp_path / "catalogue.csv").write_text("sku,name,price\ntea,Tea,2\nmug,Mug,\n")
    pl.DataFrame({"sku": ["tea", "mug"], "qty": [0, 3], "title": [None, None]}).cast(
        {"title": pl.String}
    ).write_parquet(tmp_path / "stock.parquet")
    for paths in ((tmp_path,), (tmp_path / "stock.parquet",), (tmp_path / "catalogue.csv",)):
        ingest_files(lake, *paths, sources=sources)
        assert lake.items().select("item_id", "title", "price", "available").collect().rows() == [
            ("mug", "Mug", None, True),
            ("tea", "Tea", 2.0, False),
        ]
    origins = lake.facts("items").filter(item_id="tea").row(0, named=True)
    assert (origins["title_given_by"], origins["available_given_by"]) == ("catalogue", "stock")


def test_a_repeated_catalogue_does_not_undo_a_change_made_online(lake: Lake, tmp_path: Path):
    feed = tmp_path / "items.jsonl"
    feed.write_text('{"item_id": "tea", "available": true}\n')
    ingest_files(lake, feed)

    def online(available: bool) -> None:
        row = [{"item_id": "tea", "available": available}]
        with lake.locked():
            change = pl.DataFrame(row, schema=lake.items().collect_schema())
            lake.merge_online_items(change, LATEST, lake.last_ingest())

    def is_available() -> bool:
        return lake.items().collect()["available"][0]

    online(available=False)
    ingest_files(lake, feed)
    assert not is_available()
    feed.write_text('{"item_id": "tea", "available": false}\n')
    ingest_files(lake, feed)
    feed.write_text('{"item_id": "tea", "available": true}\n')
    ingest_files(lake, feed)
    assert is_available()


def test_a_complete_feed_makes_unavailable_what_it_no_longer_holds(lake: Lake, tmp_path: Path):
    table = Table("catalogue", "items", "items*", {"item_id": "item_id", "title": "title"}, complete=True)
    feed = tmp_path / "items.csv"
    seen: list[list[tuple[str, bool]]] = []
    for held in (["mug", "tea"], ["tea"], ["mug", "tea"]):
        feed.write_text("item_id,title\n" + "".join(f"{item},{item}\n" for item in held))
        ingest_files(lake, feed, sources=Sources(tables=(table,)))
        seen.append(lake.items().select("item_id", is_available()).collect().rows())
    assert seen == [[("mug", True), ("tea", True)], [("mug", False), ("tea", True)], [("mug", True), ("tea", True)]]


def test_the_stock_of_one_feed_counts_where_a_complete_one_gives_no_availability(lake: Lake, tmp_path: Path):
    catalogue = Table("catalogue", "items", "items*", {"item_id": "item_id", "title": "title"}, complete=True)
    stock = Table("stock", "items", "stock*", {"item_id": "item_id", "stock": "qty", "valid_until": "last_day"})
    items, quantities = tmp_path / "items.csv", tmp_path / "stock.csv"
    seen: list[list[bool]] = []
    for held, quantity in (("mug,Mug\n", 0), ("mug,Mug\n", 3), ("", 2), ("mug,Mug\n", 0)):
        items.write_text(f"item_id,title\ntea,Tea\n{held}")
        quantities.write_text(f"item_id,qty,last_day\nmug,{quantity},2024-06-01\n")
        ingest_files(lake, tmp_path, sources=Sources(tables=(catalogue, stock)))
        seen.append(lake.items().sort("item_id").select(is_available()).collect()["available"].to_list())
    assert seen == [[False, True], [True, True], [False, True], [False, True]]
    assert lake.items().filter(item_id="mug").select("stock", "valid_until").collect().rows() == [
        (0.0, datetime(2024, 6, 1, tzinfo=UTC))
    ]


def test_an_export_of_variants_keeps_the_title_of_its_first_row(lake: Lake, tmp_path: Path):
    (tmp_path / "items.csv").write_text("item_id,title,price\nshirt,Shirt,20\nshirt,,22\nshirt,,25\n")
    ingest_files(lake, tmp_path / "items.csv")
    assert lake.items().select("title", "price").collect().rows() == [("Shirt", 20.0)]


def test_of_a_log_of_prices_the_last_counts(lake: Lake, tmp_path: Path):
    table = Table("log", "items", "items*", {"item_id": "item_id", "title": "title", "price": "price"}, keep="last")
    (tmp_path / "items.csv").write_text("item_id,title,price\nshirt,Shirt,20\nshirt,,22\n")
    for chunk_rows in (1, 10):
        sources = Sources(tables=(table,), chunk_rows=chunk_rows)
        ingest_files(lake, tmp_path / "items.csv", sources=sources)
        assert lake.items().select("title", "price").collect().rows() == [("Shirt", 22.0)]


@pytest.mark.parametrize("order", list(permutations((1, 2, 3), 2)))
def test_what_one_ingest_gave_comes_back_by_no_undo_of_another(lake: Lake, tmp_path: Path, order: tuple[int, int]):
    feed = tmp_path / "items.csv"
    for number in (1, 2, 3):
        feed.write_text(f"item_id,title,price\ntea,Tea {number},{number}\n")
        ingest_files(lake, feed)
    for number in order:
        undo(lake, number)
    (left,) = {1, 2, 3} - set(order)
    assert lake.items().select("title", "price").collect().rows() == [(f"Tea {left}", float(left))]
    assert lake.prices()["price"].to_list() == [left]


def test_every_price_is_kept_with_its_time(lake: Lake, tmp_path: Path):
    feed = tmp_path / "items.csv"
    days = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    for day, price in zip(days, (2, 2, 3, 4), strict=True):
        feed.write_text(f"item_id,price\ntea,{price}\nmug,9\n")
        ingest_files(lake, feed, latest=day + MAX_CLOCK_SKEW)
    with lake.locked():
        change = pl.DataFrame([{"item_id": "tea", "price": 5.0}], schema=lake.items().collect_schema())
        lake.merge_online_items(change, days[3] + timedelta(hours=12), lake.last_ingest())

    def tea_at(moment: datetime | None) -> float:
        return lake.items(at=moment).filter(item_id="tea").collect()["price"][0]

    before, later = days[0] - timedelta(days=9), days[3] + timedelta(days=1)
    moments = [before, *days, later, None]
    assert [tea_at(moment) for moment in moments] == [2.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0]
    undo(lake, 2)
    assert [tea_at(moment) for moment in moments] == [2.0, 2.0, 2.0, 2.0, 4.0, 5.0, 5.0]
    assert lake.items(at=days[0]).collect().columns == lake.items().collect().columns


@pytest.mark.parametrize("step", range(1, 5))
def test_a_killed_ingest_of_a_catalogue_is_made_good_by_the_next(lake: Lake, tmp_path: Path, step: int):
    feed = tmp_path / "items.csv"
    feed.write_text("item_id,price\ntea,2\n")
    ingest_files(lake, feed)
    feed.write_text("item_id,price\ntea,3\n")
    with fail_at_rename(step), pytest.raises(KilledError):
        ingest_files(lake, feed)
    ingest_files(lake, feed)
    assert lake.items().collect()["price"].to_list() == [3.0]
    assert lake.prices()["price"].to_list() == [2.0, 3.0]


def test_an_item_whose_row_breaks_a_rule_counts_as_listed(lake: Lake, tmp_path: Path):
    table = Table("catalogue", "items", "items*", {"item_id": "item_id", "price": "price"}, complete=True)
    feed = tmp_path / "items.csv"
    for lines in ("tea,2\nmug,3\ncup,4\npot,5\n", "tea,2\nmug,dear\ncup,4,5\n"):
        feed.write_text(f"item_id,price\n{lines}")
        ingest_files(lake, feed, sources=Sources(tables=(table,), max_bad_rows=1))
    items = lake.items().select("item_id", "price", is_available()).collect().rows()
    assert items == [("cup", 4.0, True), ("mug", 3.0, True), ("pot", 5.0, False), ("tea", 2.0, True)]
    feed.write_text("item_id,price\ntea,2\nmug,3\ncup,4\npot,dear\n")
    ingest_files(lake, feed, sources=Sources(tables=(table,), max_bad_rows=1))
    assert lake.items().select(is_available()).collect()["available"].to_list() == [True] * 4


FEEDS = st.lists(st.dictionaries(st.sampled_from(["title", "price"]), st.integers(1, 3), min_size=1), max_size=4)


@given(FEEDS, st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_of_files_that_contradict_each_other_the_one_ingested_last_counts(
    feeds: list[dict[str, int]], random: Random
):
    with TemporaryDirectory() as name:
        lake, order = Lake(Path(name) / "lake"), list(range(len(feeds)))
        random.shuffle(order)
        said: dict[str, str] = {}
        for number in order:
            file = Path(name) / f"items-{number}.jsonl"
            texts = {column: str(value) for column, value in feeds[number].items()}
            file.write_text(json.dumps({"item_id": "tea"} | texts) + "\n")
            ingest_files(lake, file)
            said |= texts
            row = lake.items().collect().row(0, named=True)
            assert {column: str(row[column]).removesuffix(".0") for column in said} == said
