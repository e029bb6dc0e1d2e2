"""Test features of ten thousand events of a real shop against counts in plain Python."""

import csv
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from features.item_features import item_features
from features.user_profile import user_profile
from recsys.contract import Events, Items, Users

DATA = Path(__file__).parents[3] / "shared" / "data"
REES46 = DATA / "rees46" / "events.csv"
AS_OF = datetime(2019, 10, 1, 2, 30, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not REES46.exists(), reason=f"no sample of REES46 events at {REES46}")


@pytest.fixture(scope="module")
def lines() -> list[dict[str, str]]:
    with REES46.open(encoding="utf-8", newline="") as file:
        whole = [line for line in csv.DictReader(file) if line["user_session"]]
    return [line for line in whole if line["event_time"] < "2019-10-01 02:30:00 UTC"]


@pytest.fixture(scope="module")
def events(lines: list[dict[str, str]]) -> pl.LazyFrame:
    columns = [
        {
            "event_id": f"e{number}",
            "user_id": line["user_id"],
            "item_id": line["product_id"],
            "event": line["event_type"],
            "timestamp": datetime.strptime(line["event_time"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC),
            "price": float(line["price"]),
            "session_id": line["user_session"],
        }
        for number, line in enumerate(lines)
    ]
    return pl.DataFrame(columns, schema=Events.create_empty().schema).lazy()


@pytest.fixture(scope="module")
def items(lines: list[dict[str, str]]) -> pl.LazyFrame:
    paths = {line["product_id"]: line["category_code"] for line in lines}
    rows = [{"item_id": item, "category": path.split(".") if path else None} for item, path in paths.items()]
    return pl.DataFrame(rows, schema=Items.create_empty().schema).lazy()


def test_item_features_count_what_the_file_holds(lines, events, items):
    table = item_features(events, items, AS_OF, 7).collect(engine="streaming")
    counts = Counter(line["product_id"] for line in lines)
    assert dict(table.select("item_id", "events").rows()) == counts
    buyers = defaultdict(set)
    for line in lines:
        if line["event_type"] == "purchase":
            buyers[line["product_id"]].add(line["user_id"])
    bought = table.filter(pl.col("buyers") > 0)
    assert dict(bought.select("item_id", "buyers").rows()) == {item: len(users) for item, users in buyers.items()}


def test_profiles_count_what_the_file_holds(lines, events, items):
    users = Users.create_empty().lazy()
    table = user_profile(events, items, users, AS_OF, 7).collect(engine="streaming")
    assert dict(table.select("user_id", "events").rows()) == Counter(line["user_id"] for line in lines)
    sessions = Counter(user for user, _ in {(line["user_id"], line["user_session"]) for line in lines})
    assert dict(table.select("user_id", "sessions").rows()) == sessions
    spent = defaultdict(float)
    for line in lines:
        if line["event_type"] == "purchase":
            spent[line["user_id"]] += float(line["price"])
    known = table.drop_nulls("spent")
    assert dict(known.select("user_id", "spent").rows()) == pytest.approx(dict(spent))
    of_hours = table["hour_shares"].list.sum()
    assert of_hours.to_list() == pytest.approx([1] * table.height)
