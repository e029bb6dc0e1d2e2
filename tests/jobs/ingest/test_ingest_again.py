import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import TableCount, ingest, ingest_history
from jobs.lake import Lake
from recsys.settings import Sources

LATEST = datetime(2025, 1, 1, tzinfo=UTC)
EVENT = {"user_id": "ann", "item_id": "tea", "event": "view", "timestamp": "2024-05-01T10:00:00"}


def write_events(file: Path, *rows: dict[str, str]) -> Path:
    """A CSV file of events; what a row does not say is as in `EVENT`."""
    pl.DataFrame([EVENT | row for row in rows]).write_csv(file)
    return file


def take_in(lake: Lake, *paths: Path, chunk_rows: int = 100, latest: datetime = LATEST) -> list[TableCount]:
    return ingest(tuple(map(str, paths)), Sources(chunk_rows=chunk_rows), lake, latest)


def listing(lake: Lake) -> dict[str, str]:
    """Every file of the lake, with the hash of its content."""
    return {
        str(file.relative_to(lake.directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(lake.directory.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_the_same_row_twice_is_one_event(lake: Lake, tmp_path: Path):
    (count,) = take_in(
        lake, write_events(tmp_path / "events.csv", {"price": "1"}, {"price": "1.0"}, {"price": "2"})
    )
    assert (count.rows, count.accepted, count.duplicates) == (3, 2, 1)


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_of_events_with_one_id_the_first_counts(lake: Lake, tmp_path: Path, chunk_rows: int):
    rows = [{"event_id": "e1", "item_id": f"i{number}"} for number in range(20)]
    file = write_events(tmp_path / "events.csv", *rows)
    (count,) = take_in(lake, file, chunk_rows=chunk_rows)
    assert (count.accepted, count.duplicates) == (1, 19)
    assert lake.events().collect()["item_id"].to_list() == ["i0"]


def test_an_event_that_another_file_brought_is_a_duplicate(lake: Lake, tmp_path: Path):
    monday = write_events(tmp_path / "events-1.csv", {"item_id": "a"}, {"item_id": "b"})
    week = write_events(tmp_path / "events-2.csv", {"item_id": "b"}, {"item_id": "c"}, {"item_id": "a"})
    first, second = take_in(lake, monday, week)
    assert (first.accepted, first.duplicates) == (2, 0)
    assert (second.accepted, second.duplicates) == (1, 2)
    assert sorted(lake.events().collect()["item_id"]) == ["a", "b", "c"]


def test_a_copy_under_another_name_brings_nothing_new(lake: Lake, tmp_path: Path):
    rows: list[dict[str, str]] = [{"item_id": "a"}, {"item_id": "a b"}]
    first, second = take_in(
        lake, write_events(tmp_path / "events-1.csv", *rows), write_events(tmp_path / "events-2.csv", *rows)
    )
    assert (first.accepted, second.accepted) == (1, 0)
    assert {count.file: count.accepted for count in ingest_history(lake)} == {"events-1.csv": 1, "events-2.csv": 0}


def test_the_same_files_again_change_no_byte_of_the_lake(lake: Lake, tmp_path: Path):
    days = [
        {"timestamp": f"2024-05-{day:02d}", "item_id": item} for day in range(1, 9) for item in ("a", "b", "a b")
    ]
    sources = tmp_path / "exports"
    sources.mkdir()
    write_events(sources / "events.csv", *days)
    (sources / "items.jsonl").write_text('{"item_id": "a", "category": ["x"]}\n{"item_id": "a", "price": 2}\n')
    (sources / "users.csv").write_text("user_id\nann\nb b\n")
    first = take_in(lake, sources)
    before = listing(lake)
    second = take_in(lake, sources)
    assert listing(lake) == before
    assert [count.accepted for count in first] == [16, 1, 1]
    assert second[0] == replace(first[0], accepted=0, duplicates=16)
    assert ingest_history(lake) == first


def test_a_later_file_brings_what_is_new_and_leaves_older_files_alone(lake: Lake, tmp_path: Path):
    take_in(lake, write_events(tmp_path / "events-1.csv", {"item_id": "a"}))
    before = listing(lake)
    take_in(lake, write_events(tmp_path / "events-2.csv", {"item_id": "a"}, {"item_id": "b"}))
    assert before.items() <= listing(lake).items()


def test_events_that_lay_in_the_future_come_in_when_their_time_has_come(lake: Lake, tmp_path: Path):
    file = write_events(
        tmp_path / "events.csv", {"item_id": "a"}, {"item_id": "b", "timestamp": "2024-05-01T20:00:00"}
    )
    noon, midnight = datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(2024, 5, 2, tzinfo=UTC)
    (early,) = take_in(lake, file, latest=noon)
    assert (early.accepted, early.rules) == (1, {"timestamp_is_in_range": 1})
    before = listing(lake)
    (late,) = take_in(lake, file, latest=midnight)
    assert (late.accepted, late.duplicates, late.quarantined) == (1, 1, 0)
    assert sorted(lake.events().collect()["item_id"]) == ["a", "b"]
    events = {name: content for name, content in before.items() if name.startswith("events")}
    assert events.items() <= listing(lake).items()
    assert ingest_history(lake) == [replace(late, accepted=2, duplicates=0)]
    assert not list((lake.directory / "quarantine").iterdir())


def test_the_history_tells_what_each_table_and_file_brought(lake: Lake, tmp_path: Path):
    take_in(lake, write_events(tmp_path / "events-1.csv", {"item_id": "a"}, {"item_id": "a b"}))
    take_in(lake, write_events(tmp_path / "events-2.csv", {"item_id": "a"}, {"item_id": "b"}))
    history = sorted(ingest_history(lake), key=lambda count: count.file)
    assert history == [
        TableCount("events-1.csv", "events", "events", 2, 1, 0, 1, {"item_id_is_an_id": 1}),
        TableCount("events-2.csv", "events", "events", 2, 1, 1, 0, {}),
    ]


def test_events_whose_name_is_no_longer_known_stay_in_the_lake_and_in_its_history(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"event": "wishlist"}, {"event": "view"})
    ingest((str(file),), Sources(weights={"wishlist": 2.0}), lake, LATEST)
    (again,) = take_in(lake, file)
    assert (again.accepted, again.duplicates, again.rules) == (0, 1, {"event_is_known": 1})
    assert ingest_history(lake) == [replace(again, accepted=2, duplicates=0)]
    assert lake.events().collect().height == 2


def test_a_lake_that_took_nothing_in_has_no_history(lake: Lake):
    assert ingest_history(lake) == []
