from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.pipeline.run import Run
from jobs.pipeline.variety import read_variety


def test_what_repeats_is_counted_in_the_first_ten_places(tmp_path: Path):
    (tmp_path / "lists").mkdir()
    items = [*"abcdefghijkl"]
    pl.DataFrame(
        {
            "item_id": items,
            "title": ["Milk", "milk.", "Oat", "Soy", *items[4:]],
            "product_type": ["milk", "milk", "milk", "oat", *[None] * 8],
        }
    ).write_parquet(tmp_path / "lists" / "catalogue.parquet")
    lists = {
        "ann": ["a", "b", "c", "d"],
        "bob": ["a", *items[3:], "b"],  # the second milk comes eleventh
        "cid": ["a", "c", "e"],
        "dan": [],
    }
    pl.DataFrame({"user_id": [*lists], "items": [*lists.values()]}).write_parquet(
        tmp_path / "lists" / "user_items.parquet"
    )
    found = read_variety(Run(tmp_path, datetime(2024, 1, 1, tzinfo=UTC)))
    assert found is not None
    assert (found.lists, found.two_of_type, found.more_of_type, found.same_title) == pytest.approx(
        (3, 2 / 3, 1 / 3, 1 / 3)
    )
    assert [(each.item_id, each.title) for each in found.most_listed[:2]] == [("a", "Milk"), ("c", "Oat")]
    assert [each.share for each in found.most_listed[:2]] == pytest.approx([1, 2 / 3])
