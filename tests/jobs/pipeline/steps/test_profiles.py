import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.tables import feature_tables
from jobs.pipeline.steps.features import write_due_items, write_tables
from jobs.pipeline.steps.profiles import write_profiles
from recsys.contract import Users
from tests.tables import make_events, make_items

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
ITEMS = make_items(
    item_id=["tea", "cup", "jug", "oil", "nut"],
    category=[["Food", "Hot  drinks"], ["Home", 'The "best"'], ["Home"], ["Food", "Oil"], []],
    categories=[None, None, None, [["Food", "Oil"], ['The "best"']], None],
    brand=["Ben & Co", "Åse", None, "Zed", None],
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the feature tables of two buckets of users, and due items."""
    ann = make_events(
        [
            ("ann", "tea", "purchase", "2024-02-22T10:00:00Z"),
            ("ann", "tea", "purchase", "2024-02-28T10:00:00Z"),
            ("ann", "oil", "purchase", "2024-02-28T10:00:00Z"),
            ("ann", "oil", "view", "2024-02-28T11:00:00Z"),
            ("ann", "cup", "cart", "2024-02-29T23:59:59.900Z"),
            ("ann", "jug", "view", "2024-02-29T12:00:00Z"),
            ("bob", "nut", "view", "2023-01-01T00:00:00Z"),
        ],
        price=[1.0, 2.0, 0.5, None, None, None, None],
    )
    zoe = make_events(
        [
            ("zoe", "tea", "view", "2024-02-01T00:00:00Z"),
            ("zoe", "tea", "impression", "2024-02-02T00:00:00Z"),
        ]
    )
    users = pl.LazyFrame({"user_id": ["ann"], "attributes": ['{"age":30}']}, pl.Schema(Users))
    for tables in feature_tables([ann.lazy(), zoe.lazy()], ITEMS.lazy(), users, AS_OF, 30.0):
        write_tables(tmp_path / "features", tables)
    write_due_items(tmp_path / "features", ITEMS.lazy().head(0), AS_OF)
    return tmp_path


def read_profiles(run: Path) -> dict[str, str]:
    write_profiles(run, run, ITEMS, AS_OF)
    written = pl.read_parquet(run / "profiles.parquet")
    assert written.schema == {"user_id": pl.String, "items": pl.List(pl.String)}
    assert written["items"].list.len().to_list() == [1] * written.height
    return dict(zip(written["user_id"], written["items"].list.first(), strict=True))


def test_what_is_known_of_each_user(run: Path) -> None:
    profiles = read_profiles(run)
    ann = json.loads(profiles["ann"])
    assert (ann["schema"], ann["as_of"]) == (2, "2024-03-01T00:00:00Z")
    assert (ann["events"], ann["orders"], ann["orders_7d"], ann["purchase_lines_30d"]) == (6, 2, 1, 3)
    assert "orders_1d" not in ann  # a count that is 0
    assert (ann["last_at"], ann["last_order_at"]) == ("2024-02-29T23:59:59Z", "2024-02-28T10:00:00Z")
    assert (ann["tenure_days"], ann["recency_days"]) == (7.583, 1.583)
    assert (ann["spent"], ann["spend_trend"], ann["deal_affinity"], ann["return_rate"]) == (3.5, "steady", 0, 0)
    assert (ann["recency_score"], ann["frequency_score"], ann["lifecycle_stage"]) == (1, 1, "active")
    assert ann["categories"] == ["Food>Hot  drinks", "Food>Oil", 'The "best"']
    assert ann["brands"] == ["Ben & Co", "Zed", "Åse"]
    assert ann["category_affinity"][0]["path"] == "Food"
    assert sum(ann["hour_shares"]) == pytest.approx(1, abs=0.01)
    (due,) = ann["due_items"]
    assert due["item_id"] == "tea"
    assert due["due_at"] >= ann["as_of"]
    assert "attributes" not in ann
    bob = {"schema": 2, "as_of": "2024-03-01T00:00:00Z", "events": 1, "orders": 0, "lifecycle_stage": "prospect"}
    assert bob.items() <= json.loads(profiles["bob"]).items()
    zoe = json.loads(profiles["zoe"])
    assert (zoe["categories"], zoe["brands"]) == (["Food>Hot  drinks"], ["Ben & Co"])
    assert not any("null" in text for text in profiles.values())


def test_forecasts_are_part_of_a_profile_where_the_run_has_them(run: Path) -> None:
    (run / "forecasts").mkdir()
    propensity = [[{"path": ["Food", "Oil"], "probability": 0.12345}], None]
    forecasts = {
        "user_id": ["ann", "zoe"],
        "p_order_7d": [0.87654, None],
        "next_order_at": [datetime(2024, 3, 5, 12, tzinfo=UTC), None],
        "category_propensity": propensity,
    }
    pl.DataFrame(forecasts).write_parquet(run / "forecasts" / "user_forecasts.parquet")
    profiles = {user: json.loads(text) for user, text in read_profiles(run).items()}
    assert profiles["ann"]["p_order_7d"] == 0.877
    assert profiles["ann"]["next_order_at"] == "2024-03-05T12:00:00Z"
    assert profiles["ann"]["category_propensity"] == [{"path": "Food>Oil", "probability": 0.123}]
    assert not profiles["zoe"].keys() & forecasts.keys() - {"user_id"}
