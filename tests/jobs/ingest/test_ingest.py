"""An ingest takes each row in once, and records what every file brought."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.contract import Events, Items, Users
from recsys.errors import SettingsError
from recsys.settings import Sources, Table
from tests.ingests import LATEST, hash_lake, ingest_files, latest_counts, write_events
from tests.queries import CONTRACT


def test_a_file_in_the_columns_of_the_contract_needs_no_mapping(lake: Lake, tmp_path: Path):
    file = write_events(
        tmp_path / "events.csv",
        {"event_id": "e1", "price": 2.5, "quantity": 3, "session_id": "s1", "ip": "10.0.0.1", "user_agent": "a, b"},
        {"event_id": "e2", "user_id": "bob", "event": "rating", "timestamp": "2024-05-02 08:00:00", "value": 4.5},
    )
    assert ingest_files(lake, file) == [TableCount("events.csv", "events", "events", 2, 2, 0, 0)]
    events = lake.events().collect()
    assert events.schema == pl.Schema(Events)
    first, second = events.sort("event_id").to_dicts()
    assert first == {
        "event_id": "e1",
        "user_id": "ann",
        "item_id": "tea",
        "event": "view",
        "timestamp": datetime(2024, 5, 1, 10, tzinfo=UTC),
        "value": None,
        "price": 2.5,
        "quantity": 3.0,
        "session_id": "s1",
        "ip": "10.0.0.1",
        "user_agent": "a, b",
    }
    assert (second["user_id"], second["event"], second["value"], second["price"]) == ("bob", "rating", 4.5, None)


def test_items_and_users_are_read_beside_events(lake: Lake, tmp_path: Path):
    write_events(tmp_path / "events.csv", {})
    items = [
        {"item_id": 7, "title": "Tea", "category": ["Food", "Tea"], "available": True, "created_at": "2020-01-02"}
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    pl.DataFrame({"user_id": ["ann"], "attributes": [{"age": "30s"}]}).write_parquet(tmp_path / "users.parquet")
    counts = ingest_files(lake, tmp_path)
    assert [(count.kind, count.accepted) for count in counts] == [("events", 1), ("items", 1), ("users", 1)]
    assert lake.items().collect_schema() == pl.Schema(Items)
    assert lake.items().select("item_id", "title", "category", "available", "created_at").collect().row(0) == (
        "7",
        "Tea",
        ["Food", "Tea"],
        True,
        datetime(2020, 1, 2, tzinfo=UTC),
    )
    assert lake.users().collect_schema() == pl.Schema(Users)
    assert lake.users().collect().row(0) == ("ann", '{"age":"30s"}')


def test_facts_on_an_item_are_united_within_a_file_and_across_files(lake: Lake, tmp_path: Path):
    (tmp_path / "items-1.csv").write_text("item_id,title\ntea,Tee\nmug,Mug\ntea,Tea\n")
    (tmp_path / "items-2.csv").write_text("item_id,price\nmug,3\n")
    for chunk_rows in (1, 100):
        fresh = Lake(lake.directory / str(chunk_rows))
        first, second = ingest_files(fresh, *sorted(tmp_path.glob("*.csv")), sources=Sources(chunk_rows=chunk_rows))
        assert (first.accepted, first.duplicates, second.accepted) == (2, 1, 1)
        items = fresh.items().select("item_id", "title", "price").collect().rows()
        assert items == [("mug", "Mug", 3.0), ("tea", "Tee", None)]


def test_a_table_that_does_not_fit_the_contract_is_refused_before_any_file_is_read(lake: Lake, tmp_path: Path):
    sources = Sources(tables=(Table("log", "events", "*", {"user_id": "u"}),))
    with pytest.raises(SettingsError, match=r"sources\.tables\.log\.columns: 'item_id' is missing"):
        ingest_files(lake, tmp_path / "missing.csv", sources=sources)
    assert not lake.directory.exists()


def test_rows_are_counted_while_they_are_read(lake: Lake, tmp_path: Path):
    seen: list[int] = []
    file = write_events(tmp_path / "events.csv", *({"item_id": f"i{number}"} for number in range(5)))
    ingest((str(file),), Sources(), lake, LATEST, seen.append)
    assert sum(seen) == 5


def test_a_lake_may_lie_under_any_name(tmp_path: Path):
    lake = Lake(tmp_path / "[shop]*=1" / "lake")
    file = write_events(tmp_path / "events.csv", {"item_id": "a"}, {"item_id": "a b"})
    ingest_files(lake, file)
    (count,) = ingest_files(lake, file)
    assert (count.accepted, count.duplicates, count.quarantined) == (0, 1, 1)
    assert lake.events().collect().height == 1


def test_the_same_row_twice_is_one_event(lake: Lake, tmp_path: Path):
    (count,) = ingest_files(
        lake, write_events(tmp_path / "events.csv", {"price": "1"}, {"price": "1.0"}, {"price": "2"})
    )
    assert (count.rows, count.accepted, count.duplicates) == (3, 2, 1)


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_of_events_with_one_id_in_a_file_the_last_counts(lake: Lake, tmp_path: Path, chunk_rows: int):
    rows = [{"event_id": "e1", "item_id": f"i{number}"} for number in range(20)]
    file = write_events(tmp_path / "events.csv", *rows)
    (count,) = ingest_files(lake, file, sources=Sources(chunk_rows=chunk_rows))
    assert (count.accepted, count.duplicates) == (1, 19)
    assert lake.events().collect()["item_id"].to_list() == ["i19"]


def test_an_event_that_another_file_brought_is_a_duplicate(lake: Lake, tmp_path: Path):
    monday = write_events(tmp_path / "events-1.csv", {"item_id": "a"}, {"item_id": "b"})
    week = write_events(tmp_path / "events-2.csv", {"item_id": "b"}, {"item_id": "c"}, {"item_id": "a"})
    first, second = ingest_files(lake, monday, week)
    assert (first.accepted, first.duplicates) == (2, 0)
    assert (second.accepted, second.duplicates) == (1, 2)
    assert sorted(lake.events().collect()["item_id"]) == ["a", "b", "c"]


def test_a_copy_under_another_name_brings_nothing_new(lake: Lake, tmp_path: Path):
    rows: list[dict[str, str]] = [{"item_id": "a"}, {"item_id": "a b"}]
    first, second = ingest_files(
        lake, write_events(tmp_path / "events-1.csv", *rows), write_events(tmp_path / "events-2.csv", *rows)
    )
    assert (first.accepted, second.accepted) == (1, 0)
    assert {count.file: count.accepted for count in latest_counts(lake)} == {"events-1.csv": 1, "events-2.csv": 0}


def test_the_same_files_again_change_no_byte_of_the_lake(lake: Lake, tmp_path: Path):
    days = [
        {"timestamp": f"2024-05-{day:02d}", "item_id": item} for day in range(1, 9) for item in ("a", "b", "a b")
    ]
    sources = tmp_path / "exports"
    sources.mkdir()
    write_events(sources / "events.csv", *days)
    (sources / "items.jsonl").write_text('{"item_id": "a", "category": ["x"]}\n{"item_id": "a", "price": 2}\n')
    (sources / "users.csv").write_text("user_id\nann\nb b\n")
    first = ingest_files(lake, sources)
    before = hash_lake(lake)
    second = ingest_files(lake, sources)
    assert hash_lake(lake) == before
    assert [count.accepted for count in first] == [16, 1, 1]
    assert second[0] == replace(first[0], accepted=0, duplicates=16)
    assert latest_counts(lake) == first


def test_a_later_file_brings_what_is_new_and_leaves_other_days_alone(lake: Lake, tmp_path: Path):
    ingest_files(lake, write_events(tmp_path / "events-1.csv", {"item_id": "a"}))
    before = hash_lake(lake)
    tomorrow = {"item_id": "b", "timestamp": "2024-05-02T10:00:00"}
    (count,) = ingest_files(lake, write_events(tmp_path / "events-2.csv", tomorrow))
    assert count.accepted == 1
    assert before.items() <= hash_lake(lake).items()


def test_events_that_lay_in_the_future_come_in_when_their_time_has_come(lake: Lake, tmp_path: Path):
    file = write_events(
        tmp_path / "events.csv", {"item_id": "a"}, {"item_id": "b", "timestamp": "2024-05-01T20:00:00"}
    )
    noon, midnight = datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)
    (early,) = ingest_files(lake, file, latest=noon)
    assert (early.accepted, early.rules) == (1, {"timestamp_is_in_range": 1})
    (late,) = ingest_files(lake, file, latest=midnight)
    assert (late.accepted, late.duplicates, late.quarantined) == (1, 1, 0)
    assert sorted(lake.events().collect()["item_id"]) == ["a", "b"]
    assert latest_counts(lake) == [replace(late, accepted=2, duplicates=0)]
    assert not list((lake.directory / "quarantine").iterdir())


def test_the_history_tells_what_each_table_and_file_brought(lake: Lake, tmp_path: Path):
    ingest_files(lake, write_events(tmp_path / "events-1.csv", {"item_id": "a"}, {"item_id": "a b"}))
    ingest_files(lake, write_events(tmp_path / "events-2.csv", {"item_id": "a"}, {"item_id": "b"}))
    history = sorted(latest_counts(lake), key=lambda count: count.file)
    assert history == [
        TableCount("events-1.csv", "events", "events", 2, 1, 0, 1, {"item_id_is_an_id": 1}),
        TableCount("events-2.csv", "events", "events", 2, 1, 1, 0, {}),
    ]


def test_events_whose_name_is_no_longer_known_are_taken_back(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"event": "wishlist"}, {"event": "view"})
    ingest((str(file),), Sources(weights={"wishlist": 2.0}), lake, LATEST)
    (again,) = ingest_files(lake, file)
    assert (again.accepted, again.duplicates, again.removed, again.rules) == (0, 1, 1, {"event_is_known": 1})
    assert latest_counts(lake) == [replace(again, accepted=1, duplicates=0, removed=0)]
    assert lake.events().collect()["event"].to_list() == ["view"]


def test_a_lake_that_took_nothing_in_has_no_history(lake: Lake):
    assert latest_counts(lake) == []


def test_no_table_has_the_name_of_what_is_received_online(lake: Lake):
    with pytest.raises(SettingsError, match=r"^sources\.tables\.online: "):
        ingest((), Sources(tables=(Table("online", "items", "*", {"item_id": "sku"}),)), lake, LATEST)


def test_names_of_tables_differ(lake: Lake):
    twice = (Table("t", "events", "a*", CONTRACT), Table("t", "events", "b*", CONTRACT))
    with pytest.raises(SettingsError, match=r"^sources\.tables\.t: two tables have this name$"):
        ingest((), Sources(tables=twice), lake, LATEST)
