"""Category paths of a cell: text, lists and JSON, and the paths of several rows of an item."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from jobs.ingest.mapping import check_table, map_rows, map_source
from jobs.lake.lake import Lake
from jobs.lookup import ListLookup
from recsys.errors import SettingsError
from recsys.settings import ColumnMapping, Sources, Table
from recsys.store.keys import Keys
from tests.ingests import ingest_files

names = st.text("Aab ,\\", min_size=1, max_size=4).filter(lambda name: name.strip() and "\\" not in name)
path_lists = st.lists(
    st.lists(names.map(str.strip), min_size=1, max_size=3), max_size=4, unique_by=lambda path: tuple(path)
)


def table(columns: dict[str, ColumnMapping] | None = None, **settings: Any) -> Table:
    return Table("items", "items", "*", {"item_id": "item_id", **(columns or {"category": "path"})}, **settings)


def read_paths(cell: Any, items: Table | None = None) -> list[list[str]] | None:
    """Return the paths of one cell."""
    rows = pl.DataFrame({"item_id": ["a"], "path": [cell]})
    mapped = map_rows(rows, items or table(), Sources()).row(0, named=True)
    assert mapped["category"] == (mapped["categories"][0] if mapped["categories"] else None)
    return mapped["categories"]


@given(path_lists)
def test_paths_are_read_as_they_were_written(paths: list[list[str]]) -> None:
    """In text with escaped commas, in JSON, and in nested lists."""
    expected = paths or None
    text = ", ".join(" > ".join(name.replace(",", "\\,") for name in path) for path in paths)
    assert read_paths(text, table(category_list_separator=",")) == expected
    if paths:
        assert read_paths(json.dumps(paths)) == read_paths(paths) == expected
    assert read_paths(" > ".join(paths[0]) if paths else None) == (paths[:1] or None)


@pytest.mark.parametrize(
    ("cell", "settings", "expected"),
    [
        ("A > B, C > D", {}, [["A", "B, C", "D"]]),
        ("A > B | C | | A>B", {"category_list_separator": "|"}, [["A", "B"], ["C"]]),
        ("A/B>C;D", {"category_separator": "/", "category_list_separator": ";"}, [["A", "B>C"], ["D"]]),
        (" > , ", {"category_list_separator": ","}, None),
        (["A", "B"], {}, [["A", "B"]]),
        (["A > B", "C"], {}, [["A", "B"], ["C"]]),
        ('["A > B", "C"]', {}, [["A", "B"], ["C"]]),
        ('["A", "B"]', {}, [["A", "B"]]),
        ("[A] > B", {}, [["[A]", "B"]]),
        (["A", "B"], {"columns": {"categories": "path"}}, [["A"], ["B"]]),
        ("A > B", {"columns": {"category": ["path", "item_id"]}}, [["A > B", "a"]]),
    ],
)
def test_a_cell_is_one_path_or_several(cell: Any, settings: dict[str, Any], expected: list[list[str]]) -> None:
    columns = {name: tuple(to) if isinstance(to, list) else to for name, to in settings.pop("columns", {}).items()}
    assert read_paths(cell, table(columns, **settings)) == expected


def test_a_list_shows_all_categories_of_an_item(tmp_path: Path, valkey: redis.Redis) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item_id,category\ntea,Drinks > Tea\ntea,Sale\ncup,\n")
    lake = Lake(tmp_path / "lake", buckets=1)
    ingest_files(lake, file)
    items = ListLookup(valkey, Keys("recsys"), lake).describe_items(["cup", "tea"])
    assert [item.category for item in items] == [None, "Drinks > Tea, Sale"]


def test_levels_and_paths_have_different_separators() -> None:
    with pytest.raises(SettingsError, match="expected another separator than category_separator"):
        check_table(table(category_list_separator=" > "))


def test_cells_that_look_like_several_paths_are_counted_unless_they_are_split() -> None:
    cells = ["Men > Shirts, Women > Shirts", "Women > Hats", "Men > Hats, Caps > Red", None]
    rows = pl.DataFrame({"item_id": list("abcd"), "path": cells})
    counts = map_source(rows, table(), Sources()).counts
    assert counts.messages() == [
        "1 values of category look like several paths, as in A > B, C > D: category_list_separator splits them"
    ]
    assert map_source(rows, table(category_list_separator=","), Sources()).counts.messages() == []


def test_the_paths_of_all_rows_of_an_item_are_united(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("item_id,title,category\ntea,Tea,Drinks > Tea\ntea,,Sale\ncup,Cup,Home\ntea,,Drinks > Tea\n")
    lake = Lake(tmp_path / "lake", buckets=1)
    ingest_files(lake, file, sources=Sources(chunk_rows=2))
    expected = [
        ("cup", "Cup", ["Home"], [["Home"]]),
        ("tea", "Tea", ["Drinks", "Tea"], [["Drinks", "Tea"], ["Sale"]]),
    ]
    assert (
        lake.items().select("item_id", "title", "category", "categories").sort("item_id").collect().rows()
        == expected
    )

    # A later reading of the file says which paths the item has now.
    file.write_text("item_id,title,category\ntea,Tea,New\ncup,Cup,\n")
    ingest_files(lake, file)
    assert lake.items().select("item_id", "categories").sort("item_id").collect().rows() == [
        ("cup", [["Home"]]),
        ("tea", [["New"]]),
    ]
