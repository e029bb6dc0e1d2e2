"""What a source gave before is corrected by what it gives now, and an ingest can be undone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ingest.ingest import ingest
from jobs.ingest.source_records import read_ingests
from jobs.ingest.undo import undo
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import Sources, Table
from recsys.settings.sources import ColumnMapping
from tests.commands import run_recsys
from tests.database_servers import DatabaseServer
from tests.ingests import LATEST, hash_lake, ingest_files, latest_counts, read_quarantined_rows, write_events

COLUMNS = ["event_id", "user_id", "item_id", "event", "timestamp"]
BAGS = {"item_id": "bag", "timestamp": "2024-05-02T10:00:00"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", buckets=2)


def items_of(lake: Lake) -> list[str]:
    return sorted(lake.events().collect()["item_id"])


def test_an_event_given_again_with_another_status_is_corrected(lake: Lake, tmp_path: Path):
    ingest_files(lake, write_events(tmp_path / "events-1.csv", {"event_id": "o1", "event": "purchase"}))
    cancelled = write_events(tmp_path / "events-2.csv", {"event_id": "o1", "event": "refund"})
    (count,) = ingest_files(lake, cancelled)
    assert (count.accepted, count.changed, count.duplicates) == (0, 1, 0)
    assert lake.events().collect()["event"].to_list() == ["refund"]


def test_a_corrected_event_leaves_its_old_day(lake: Lake, tmp_path: Path):
    ingest_files(lake, write_events(tmp_path / "events-1.csv", {"event_id": "o1"}, {"event_id": "o2"}))
    moved = {"event_id": "o1", "timestamp": "2024-06-01T10:00:00"}
    (count,) = ingest_files(lake, write_events(tmp_path / "events-2.csv", moved))
    assert (count.accepted, count.changed) == (0, 1)
    events = lake.events().sort("event_id").collect()
    assert events["event_id"].to_list() == ["o1", "o2"]
    assert str(events["timestamp"][0]).startswith("2024-06-01")


@pytest.mark.parametrize("together", [True, False], ids=["one ingest", "two ingests"])
@pytest.mark.parametrize("buckets", [1, 8])
def test_an_id_that_two_users_have_is_that_of_two_events(tmp_path: Path, buckets: int, together: bool):
    lake = Lake(tmp_path / "lake", buckets)
    files = [
        write_events(tmp_path / f"events-{name}.csv", {"event_id": "o1", "user_id": name})
        for name in ("ann", "eve")
    ]
    for part in [files] if together else [files[:1], files[1:]]:
        counts = ingest_files(lake, *part)
        assert [(count.accepted, count.changed) for count in counts] == [(1, 0)] * len(part)
    assert lake.events().sort("user_id").select("user_id", "event_id").collect().rows() == [
        ("ann", "o1"),
        ("eve", "o1"),
    ]


def test_two_files_that_contradict_each_other_change_nothing_when_read_again(lake: Lake, tmp_path: Path):
    write_events(tmp_path / "events-1.csv", {"event_id": "o1", "item_id": "tea"})
    write_events(tmp_path / "events-2.csv", {"event_id": "o1", "item_id": "mug"})
    ingest_files(lake, tmp_path)
    counts = ingest_files(lake, tmp_path)
    assert [(count.accepted, count.changed, count.duplicates) for count in counts] == [(0, 0, 1), (0, 0, 1)]
    assert (items_of(lake), len(read_ingests(lake))) == (["mug"], 1)


def test_an_event_given_for_two_days_in_one_ingest_is_on_the_day_given_last(lake: Lake, tmp_path: Path):
    moved = {"timestamp": "2024-06-01T10:00:00"}
    write_events(tmp_path / "events-1.csv", {"event_id": "o1"}, {"event_id": "o2"})
    write_events(tmp_path / "events-2.csv", {"event_id": "o1", "item_id": "mug", **moved})
    for new in 2, 0:
        counts = ingest_files(lake, tmp_path)
        assert sum(count.accepted for count in counts) == new
        assert lake.events().sort("event_id").collect()["event_id"].to_list() == ["o1", "o2"]
        assert "mug" in items_of(lake)


def test_a_mended_mapping_replaces_what_it_gave_before(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "log.csv", {"event": "show"}, {"event": "buy", **BAGS})
    mapped: dict[str, ColumnMapping] = {name: name for name in COLUMNS if name != "event_id"}
    wrong = Table("log", "events", "log*", mapped, events={"show": "view", "buy": "view"})
    mended = replace(wrong, events={"show": "view", "buy": "purchase"}, time_zone="America/New_York")
    ingest_files(lake, file, sources=Sources(tables=(wrong,)))
    (count,) = ingest_files(lake, file, sources=Sources(tables=(mended,)))
    assert (count.accepted, count.removed) == (2, 2)
    events = lake.events().sort("timestamp").collect()
    assert events.select("event", pl.col("timestamp").dt.hour()).rows() == [("view", 14), ("purchase", 14)]
    assert [record.accepted for record in latest_counts(lake)] == [2]


def test_a_corrected_file_without_ids_replaces_the_earlier_one(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"item_id": "tae"}, {"item_id": "mug"}, BAGS)
    ingest_files(lake, file)
    (count,) = ingest_files(lake, write_events(file, {"item_id": "tea"}, {"item_id": "mug"}, BAGS))
    assert (count.accepted, count.duplicates, count.removed) == (1, 2, 1)
    assert items_of(lake) == ["bag", "mug", "tea"]


def test_a_file_that_holds_each_day_the_events_of_that_day_erases_none(lake: Lake, tmp_path: Path):
    file = tmp_path / "events.csv"
    for day in (1, 2, 3):
        rows = [{"timestamp": f"2024-05-0{day}T1{hour}:00:00", "item_id": f"i{day}"} for hour in range(3)]
        ingest_files(lake, write_events(file, *rows))
    assert items_of(lake) == ["i1"] * 3 + ["i2"] * 3 + ["i3"] * 3
    assert [(count.rows, count.accepted) for count in latest_counts(lake)] == [(9, 9)]


@pytest.mark.parametrize(("replaces", "expected"), [("always", ["bag"]), ("never", ["bag", "mug", "tea"])])
def test_a_table_says_whether_its_files_replace(lake: Lake, tmp_path: Path, replaces: Any, expected: list[str]):
    table = Table("log", "events", "events*", {name: name for name in COLUMNS}, replaces=replaces)
    sources = Sources(tables=(table,), min_rows=0)
    file = write_events(tmp_path / "events.csv", {"event_id": "1"}, {"event_id": "2", "item_id": "mug"})
    ingest_files(lake, file, sources=sources)
    ingest_files(lake, write_events(file, {"event_id": "3", **BAGS}), sources=sources)
    assert items_of(lake) == expected


def test_an_event_of_two_files_stays_while_one_of_them_gives_it(lake: Lake, tmp_path: Path):
    first = write_events(tmp_path / "events-1.csv", {"item_id": "mug"}, {"item_id": "tea"}, {"item_id": "cup"})
    ingest_files(lake, first, write_events(tmp_path / "events-2.csv", {"item_id": "tea"}))
    ingest_files(lake, write_events(first, {"item_id": "mug"}, {"item_id": "cup"}))
    assert items_of(lake) == ["cup", "mug", "tea"]


def test_undoing_an_ingest_restores_what_was_before(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"item_id": "tea"}, {"item_id": "mug"}, BAGS)
    items = tmp_path / "items.csv"
    items.write_text("item_id,title,price\ntea,Tea,2\n")
    ingest_files(lake, tmp_path)
    before, counts = hash_lake(lake), latest_counts(lake)
    write_events(file, {"item_id": "a b"}, {"item_id": "cup"}, BAGS)
    items.write_text("item_id,title,price\ntea,Green tea,\nmug,Mug,3\n")
    ingest_files(lake, tmp_path)
    assert items_of(lake) == ["bag", "cup"]
    undone = undo(lake, 2)
    assert (undone.events, len(undone.sources)) == (1, 2)
    assert items_of(lake) == ["bag", "mug", "tea"]
    assert lake.items().select("item_id", "title", "price").collect().rows() == [("tea", "Tea", 2.0)]
    assert latest_counts(lake) == counts
    kept = {name: content for name, content in before.items() if not name.startswith("undo")}
    assert kept.items() <= hash_lake(lake).items()
    with pytest.raises(SourceError, match="ingest 2: unknown or undone; the last ones are 1"):
        undo(lake, 2)


def test_an_earlier_ingest_can_be_undone_and_keeps_what_later_ones_gave(lake: Lake, tmp_path: Path):
    for number, item in enumerate(("tea", "mug", "cup"), 1):
        ingest_files(lake, write_events(tmp_path / f"events-{number}.csv", {"item_id": item}, {"item_id": "all"}))
    undo(lake, 1)
    assert items_of(lake) == ["all", "cup", "mug"]
    undo(lake, 3)
    assert items_of(lake) == ["all", "mug"]
    ingest_files(lake, *sorted(tmp_path.glob("events-*.csv")))
    assert items_of(lake) == ["all", "cup", "mug", "tea"]


def test_the_quarantine_is_that_of_the_latest_reading(lake: Lake, tmp_path: Path):
    mapped: dict[str, ColumnMapping] = {name: name for name in COLUMNS if name != "event_id"}
    file = write_events(tmp_path / "log.csv", *({"event": "buy", "item_id": f"i{n}"} for n in range(4)), {})
    for names in ({"by": "purchase"}, {"bye": "purchase"}, {"buy": "purchase"}):
        table = Table("log", "events", "log*", mapped, events=names)
        ingest_files(lake, file, sources=Sources(tables=(table,), max_bad_rows=1))
        if "buy" not in names:
            assert read_quarantined_rows(lake).height == 4
    assert not list((lake.directory / "quarantine").iterdir())
    assert [count.quarantined for count in latest_counts(lake)] == [0]


def test_a_file_of_bad_rows_only_stops_the_ingest_and_shows_them(lake: Lake, tmp_path: Path):
    good = write_events(tmp_path / "events-1.csv", {})
    ingest_files(lake, good)
    before = hash_lake(lake)
    bad = write_events(tmp_path / "events-2.csv", {"timestamp": "soon"}, {"timestamp": "later"})
    message = r"events-2\.csv: 2 of 2 rows broke rules of table 'events': timestamp_is_readable \(2\); max_bad_rows"
    with pytest.raises(SourceError, match=message):
        ingest((str(good), str(bad)), Sources(), lake, LATEST)
    after = hash_lake(lake)
    assert before.items() <= after.items()
    assert [name.split("/")[0] for name in after.keys() - before.keys()] == ["quarantine"]


@pytest.mark.parametrize(("bad", "stops"), [(5, False), (6, True)])
def test_more_than_five_percent_of_bad_rows_stop_the_ingest(lake: Lake, tmp_path: Path, bad: int, stops: bool):
    rows = [{"item_id": f"i{number}", "event": "wave" if number < bad else "view"} for number in range(100)]
    file = write_events(tmp_path / "events.csv", *rows)
    if stops:
        with pytest.raises(SourceError, match=r"6 of 100 rows broke .*max_bad_rows = 0\.05 allows 5% of a table"):
            ingest((str(file),), Sources(), lake, LATEST)
    else:
        ingest((str(file),), Sources(), lake, LATEST)
        assert lake.count_events() == 95


def test_a_feed_that_is_much_smaller_than_before_stops_the_ingest(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", *({"item_id": f"i{number}"} for number in range(30)))
    ingest_files(lake, file)
    write_events(file, {"item_id": "i1"}, {"item_id": "i2"})
    with pytest.raises(
        SourceError, match=r"events\.csv: 2 rows, 30 at the last reading; min_rows = 0\.1 expects 10%"
    ):
        ingest_files(lake, file)
    assert lake.count_events() == 30
    ingest((str(file),), Sources(), lake, LATEST, replaces_earlier=True)
    assert items_of(lake) == ["i1", "i2"]


def test_a_query_whose_values_change_is_an_ingest_that_can_be_undone(lake: Lake, sqlite: DatabaseServer):
    sqlite.run("CREATE TABLE goods (item_id, price); INSERT INTO goods VALUES ('tea', 1.0)")
    columns: dict[str, ColumnMapping] = {"item_id": "item_id", "price": "price"}
    table = Table("goods", "items", "", columns, query="SELECT * FROM goods", connection=sqlite.uri)
    prices: list[float] = []
    for price in (1.0, 2.0, 2.0, 3.0):
        sqlite.run(f"UPDATE goods SET price = {price}")
        ingest((), Sources(tables=(table,)), lake, LATEST)
        prices.append(lake.items().collect()["price"][0])
    assert prices == [1.0, 2.0, 2.0, 3.0]
    assert [ingest["number"] for ingest in read_ingests(lake)] == [1, 2, 3]
    undo(lake, 3)
    assert lake.items().collect()["price"].to_list() == [2.0]


def test_a_query_that_exchanges_one_event_for_another_can_be_undone(lake: Lake, sqlite: DatabaseServer):
    sqlite.run("CREATE TABLE log (user_id, item_id, event, timestamp)")
    columns: dict[str, ColumnMapping] = {name: name for name in COLUMNS if name != "event_id"}
    table = Table("log", "events", "", columns, query="SELECT * FROM log", connection=sqlite.uri)
    for item in ("tea", "mug"):
        sqlite.run(f"DELETE FROM log; INSERT INTO log VALUES ('ann', '{item}', 'view', '2024-05-01')")
        ingest((), Sources(tables=(table,)), lake, LATEST)
        assert items_of(lake) == [item]
    assert undo(lake, 2).sources == (f"log/{sqlite.uri}",)
    assert items_of(lake) == ["tea"]


def test_rows_replaced_long_ago_are_removed_and_their_ingest_cannot_be_undone(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("jobs.lake.event_partitions.KEPT_INGESTS", 2)
    monkeypatch.setattr("jobs.ingest.undo.KEPT_INGESTS", 2)
    for number in range(6):
        ingest_files(lake, write_events(tmp_path / "events.csv", {"event_id": "e", "item_id": f"i{number}"}))
    (file,) = (lake.directory / "events").rglob("*.parquet")
    assert pl.read_parquet(file, hive_partitioning=False)["item_id"].to_list() == ["i3", "i4", "i5"]
    with pytest.raises(SourceError, match="ingest 4: too old; only the last 2 can be undone"):
        undo(lake, 4)


def test_the_command_lists_and_undoes_ingests(tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {}, {"item_id": "mug"})
    assert run_recsys(tmp_path, tmp_path, "ingest", file).returncode == 0
    listed = json.loads(run_recsys(tmp_path, tmp_path, "lake", "ingests", "--json").stdout)
    assert [(ingest["number"], ingest["sources"][0]["rows"]) for ingest in listed] == [(1, 2)]
    undone = run_recsys(tmp_path, tmp_path, "lake", "undo", "1")
    assert "Ingest 1 is undone: -2 events, 1 partitions changed" in undone.stdout
    assert Lake(tmp_path / "lake").count_events() == 0
    again = run_recsys(tmp_path, tmp_path, "lake", "undo", "1")
    assert (again.returncode, again.stderr) == (2, "recsys: ingest 1: unknown or undone; the last ones are none\n")


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["ann", "bob", "eve"]),
            "item_id": st.sampled_from(["tea", "mug"]),
            "timestamp": st.sampled_from([f"2024-05-0{day}T10:00:00" for day in range(1, 5)]),
        }
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(
    files=st.lists(ROWS, min_size=1, max_size=3),
    order=st.permutations(range(3)),
    again=st.lists(st.integers(0, 2), max_size=3),
)
def test_whatever_the_order_of_files_sent_once_or_again_the_events_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[dict[str, str]]], order: list[int], again: list[int]
):
    directory = tmp_path_factory.mktemp("order")
    paths = [write_events(directory / f"events-{number}.csv", *rows) for number, rows in enumerate(files)]
    whole = write_events(directory / "events.csv", *(row for rows in files for row in rows))
    expected, one_by_one, together = (Lake(directory / name) for name in ("whole", "one-by-one", "together"))
    ingest_files(expected, whole)
    for index in (*(index for index in order if index < len(paths)), *(index % len(paths) for index in again)):
        ingest_files(one_by_one, paths[index])
    ingest_files(together, *paths)
    for lake in (one_by_one, together):
        assert lake.events().collect().equals(expected.events().collect())


def test_what_a_still_later_reading_lacks_too_stays_away_when_a_correction_is_undone(lake: Lake, tmp_path: Path):
    file = tmp_path / "events.csv"
    for kept in (["cup", "mug", "tea"], ["mug", "tea"], ["tea"]):
        ingest_files(lake, write_events(file, *({"item_id": item} for item in kept), BAGS))
    undo(lake, 2)
    assert items_of(lake) == ["bag", "tea"]
    undo(lake, 3)
    assert items_of(lake) == ["bag", "cup", "mug", "tea"]


def test_undoing_an_ingest_puts_the_rows_of_the_earlier_one_back_into_quarantine(lake: Lake, tmp_path: Path):
    file = tmp_path / "events.csv"
    for item in ("a b", "tea", "c d"):
        ingest_files(lake, write_events(file, {"item_id": item}, BAGS))
    undo(lake, 2)
    assert read_quarantined_rows(lake)["item_id"].to_list() == ["c d"]
    undo(lake, 3)
    assert read_quarantined_rows(lake)["item_id"].to_list() == ["a b"]
