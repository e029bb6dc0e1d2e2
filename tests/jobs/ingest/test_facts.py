"""Facts of items from several feeds are united, and what a later feed says of them counts."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.lake.lake import Lake
from recsys.availability import is_available
from recsys.settings import Sources, Table
from tests.ingests import ingest_files


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
            lake.merge_online_items(pl.DataFrame(row, schema=lake.items().collect_schema()), lake.last_ingest())

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
