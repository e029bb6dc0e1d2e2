"""Groups of variants in a lake: facts that variants share, and events and items by group."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.settings import Sources, Table

LATEST = datetime(2024, 6, 1, tzinfo=UTC)
CATALOGUE = """sku,parent,name,shelf,maker,cost,left
S-L,shirt,,,,12,0
S-M,shirt,Shirt,Clothes > Tops,Åse,10,3
S-S,shirt,Small shirt,,,9,
TEA,,,Drinks,,2,
CUP,cup,Cup,,,,
"""
EVENTS = """who,sku
ann,S-L
ann,S-M
bob,shirt
bob,TEA
bob,gone
"""
ITEMS = Table(
    "catalogue",
    "items",
    "catalogue.csv",
    {
        "item_id": "sku",
        "group_id": "parent",
        "title": "name",
        "category": "shelf",
        "brand": "maker",
        "price": "cost",
        "stock": "left",
    },
)
ORDERS = Table(
    "orders",
    "events",
    "orders.csv",
    {"user_id": "who", "item_id": "sku", "event": "'purchase'", "timestamp": "'2024-05-01T12:00:00Z'"},
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    (tmp_path / "catalogue.csv").write_text(CATALOGUE)
    (tmp_path / "orders.csv").write_text(EVENTS)
    lake = Lake(tmp_path / "lake", buckets=2)
    ingest((str(tmp_path / "*.csv"),), Sources(tables=(ITEMS, ORDERS)), lake, LATEST)
    return lake


def rows(table: pl.LazyFrame, *columns: str) -> list[tuple[object, ...]]:
    return sorted(table.select(columns).collect().rows(), key=str)


def test_a_variant_takes_the_facts_that_it_lacks_from_its_group_but_no_price_and_no_stock(lake: Lake) -> None:
    tops = ["Clothes", "Tops"]
    assert lake.items().select("item_id", "title", "category", "brand", "price", "stock").collect().rows() == [
        ("CUP", "Cup", None, None, None, None),
        ("S-L", "Shirt", tops, "Åse", 12.0, 0.0),
        ("S-M", "Shirt", tops, "Åse", 10.0, 3.0),
        ("S-S", "Small shirt", tops, "Åse", 9.0, None),
        ("TEA", None, ["Drinks"], None, 2.0, None),
    ]
    stored = pl.read_parquet(lake.directory / "items.parquet")
    assert stored.filter(item_id="S-L")["title"].item() is None


def test_by_group_all_variants_are_one_item_with_the_lowest_price_that_is_available_if_one_is(lake: Lake) -> None:
    grouped = lake.by_group()
    assert rows(grouped.events(), "user_id", "item_id") == [
        ("ann", "S-L"),
        ("ann", "S-L"),
        ("bob", "S-L"),
        ("bob", "TEA"),
        ("bob", "gone"),
    ]
    assert rows(grouped.items(), "item_id", "group_id", "title", "price", "available", "stock") == [
        ("CUP", "cup", "Cup", None, True, None),
        ("S-L", "shirt", "Shirt", 9.0, True, None),
        ("TEA", None, None, 2.0, None, None),
    ]
    assert rows(grouped.by_item().events(), "item_id") == rows(lake.events(), "item_id")
    assert rows(grouped.items(at=LATEST), "item_id", "price") == [("CUP", None), ("S-L", 9.0), ("TEA", 2.0)]


def test_an_item_that_is_excluded_stands_for_no_group(lake: Lake) -> None:
    grouped = lake.excluding_items(pl.Series(["S-L"])).by_group()
    assert rows(grouped.events(), "item_id") == [("S-M",), ("S-M",), ("TEA",), ("gone",)]
    assert rows(grouped.items(), "item_id", "price") == [("CUP", None), ("S-M", 9.0), ("TEA", 2.0)]


def test_without_groups_nothing_is_replaced(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake").by_group()
    assert lake.group_items is None
    assert lake.items().collect().is_empty()
