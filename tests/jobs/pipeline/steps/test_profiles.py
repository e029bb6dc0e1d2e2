import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from features.tables import feature_tables
from jobs.pipeline.steps.features import write_tables
from jobs.pipeline.steps.profiles import write_profiles
from recsys.contract import Users
from tests.tables import make_events, make_items

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)


def test_what_is_known_of_each_user(tmp_path: Path) -> None:
    items = make_items(
        item_id=["tea", "cup", "jug", "oil", "nut"],
        category=[["Food", "Hot  drinks"], ["Home", 'The "best"'], ["Home"], ["Food", "Oil"], []],
        categories=[None, None, None, [["Food", "Oil"], ['The "best"']], None],
        brand=["Ben & Co", "Åse", None, "Zed", None],
    )
    ann = make_events(
        [
            ("ann", "tea", "purchase", "2024-02-28T10:00:00Z"),
            ("ann", "oil", "purchase", "2024-02-28T10:00:00Z"),
            ("ann", "oil", "view", "2024-02-28T11:00:00Z"),
            ("ann", "cup", "cart", "2024-02-29T23:59:59.900Z"),
            ("ann", "jug", "view", "2024-02-29T12:00:00Z"),
            ("bob", "nut", "view", "2024-01-01T00:00:00Z"),
        ]
    )
    zoe = make_events(
        [
            ("zoe", "tea", "view", "2024-02-01T00:00:00Z"),
            ("zoe", "tea", "impression", "2024-02-02T00:00:00Z"),
        ]
    )
    for tables in feature_tables(
        [ann.lazy(), zoe.lazy()], items.lazy(), pl.LazyFrame(schema=pl.Schema(Users)), AS_OF, 30.0
    ):
        write_tables(tmp_path / "features", tables)
    write_profiles(tmp_path, tmp_path / "features", items)
    written = pl.read_parquet(tmp_path / "profiles.parquet")
    assert written.schema == {"user_id": pl.String, "items": pl.List(pl.String)}
    assert written["items"].list.len().to_list() == [1, 1, 1]
    profiles = dict(zip(written["user_id"], written["items"].list.first(), strict=True))
    assert profiles["ann"] == (
        '{"events":5,"purchases":1,"last_at":"2024-02-29T23:59:59Z",'
        '"categories":["Food>Oil","The \\"best\\"","Food>Hot  drinks"],"brands":["Zed","Ben & Co","Åse"]}'
    )
    assert profiles["bob"] == '{"events":1,"purchases":0,"last_at":"2024-01-01T00:00:00Z"}'
    assert json.loads(profiles["zoe"]) == {
        "events": 1,
        "purchases": 0,
        "last_at": "2024-02-01T00:00:00Z",
        "categories": ["Food>Hot  drinks"],
        "brands": ["Ben & Co"],
    }
