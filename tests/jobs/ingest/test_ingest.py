import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import TableCount, ingest
from jobs.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.schema import Events, Items, Users
from recsys.settings import Sources, Table

LATEST = datetime(2025, 1, 1, tzinfo=UTC)
EVENT = {"user_id": "ann", "item_id": "tea", "event": "view", "timestamp": "2024-05-01T10:00:00"}
Value = str | float | None


def write_events(file: Path, *rows: Mapping[str, Value]) -> Path:
    """A CSV file of events; what a row does not say is as in `EVENT`."""
    columns = list(dict.fromkeys(name for row in (EVENT, *rows) for name in row))
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns, quoting=csv.QUOTE_MINIMAL)
        writer.writeheader()
        writer.writerows({**EVENT, **row} for row in rows)
    return file


def take_in(
    lake: Lake, *paths: Path, sources: Sources | None = None, latest: datetime = LATEST
) -> list[TableCount]:
    return ingest(tuple(map(str, paths)), sources or Sources(), lake, latest)


def quarantine(lake: Lake) -> pl.DataFrame:
    return pl.concat(
        [pl.read_parquet(file) for file in sorted((lake.directory / "quarantine").glob("*.parquet"))],
        how="diagonal",
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_file_in_the_columns_of_the_contract_needs_no_mapping(lake: Lake, tmp_path: Path):
    file = write_events(
        tmp_path / "events.csv",
        {"event_id": "e1", "price": 2.5, "quantity": 3, "session_id": "s1", "ip": "10.0.0.1", "user_agent": "a, b"},
        {"event_id": "e2", "user_id": "bob", "event": "rating", "timestamp": "2024-05-02 08:00:00", "value": 4.5},
    )
    assert take_in(lake, file) == [TableCount("events.csv", "events", "events", 2, 2, 0, 0)]
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
    counts = take_in(lake, tmp_path)
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


BROKEN: list[tuple[dict[str, Value], str]] = [
    ({"user_id": ""}, "user_id_is_given"),
    ({"item_id": ""}, "item_id_is_given"),
    ({"event": ""}, "event_is_given"),
    ({"timestamp": ""}, "timestamp_is_readable"),
    ({"user_id": "a b"}, "user_id_is_an_id"),
    ({"user_id": " ann"}, "user_id_is_an_id"),
    ({"item_id": "a\u00a0b"}, "item_id_is_an_id"),
    ({"item_id": "a\tb"}, "item_id_is_an_id"),
    ({"item_id": "a\nb"}, "item_id_is_an_id"),
    ({"item_id": "a\x00b"}, "item_id_is_an_id"),
    ({"item_id": "a\x7fb"}, "item_id_is_an_id"),
    ({"item_id": "a\u200bb"}, "item_id_is_an_id"),
    ({"user_id": "x" * 129}, "user_id_is_an_id"),
    ({"event_id": "e 1"}, "event_id_is_an_id"),
    ({"event": "wave"}, "event_is_known"),
    ({"event": "VIEW"}, "event_is_known"),
    ({"timestamp": "1970-01-01T00:00:00"}, "timestamp_is_in_range"),
    ({"timestamp": "1999-12-31T23:59:59"}, "timestamp_is_in_range"),
    ({"timestamp": "2100-01-01T00:00:00"}, "timestamp_is_in_range"),
    ({"timestamp": "2025-01-01T00:00:00.000001"}, "timestamp_is_in_range"),
    ({"timestamp": "soon"}, "timestamp_is_readable"),
    ({"timestamp": "2024-02-30"}, "timestamp_is_readable"),
    ({"price": "cheap"}, "price_is_readable"),
    ({"price": "1,50"}, "price_is_readable"),
    ({"price": "NaN"}, "price_is_an_amount"),
    ({"price": "inf"}, "price_is_an_amount"),
    ({"price": -0.01}, "price_is_an_amount"),
    ({"quantity": "two"}, "quantity_is_readable"),
    ({"quantity": "NaN"}, "quantity_is_an_amount"),
    ({"quantity": "-inf"}, "quantity_is_an_amount"),
    ({"quantity": -1}, "quantity_is_an_amount"),
    ({"value": "NaN"}, "value_is_finite"),
    ({"value": "inf"}, "value_is_finite"),
    ({"value": "high"}, "value_is_readable"),
]


@pytest.mark.parametrize(("row", "rule"), BROKEN, ids=[f"{rule}:{row!r}"[:60] for row, rule in BROKEN])
def test_a_row_that_breaks_a_rule_is_quarantined_under_its_name(
    lake: Lake, tmp_path: Path, row: dict[str, Value], rule: str
):
    (count,) = take_in(lake, write_events(tmp_path / "events.csv", {"item_id": "good"}, row))
    assert (count.rows, count.accepted, count.quarantined, count.rules) == (2, 1, 1, {rule: 1})
    assert lake.events().collect()["item_id"].to_list() == ["good"]
    rejects = quarantine(lake)
    assert rejects["rules"].to_list() == [rule]
    kept = {name: value for name, value in row.items() if name != "timestamp" and value != ""}
    assert {name: rejects[name][0] for name in kept} == {name: str(value) for name, value in kept.items()}


GOOD: list[dict[str, Value]] = [
    {"user_id": "x" * 128},
    {"user_id": "é" * 128},
    {"user_id": "用户-😀"},
    {"user_id": "007"},
    {"item_id": "a,b\"c'd/e?&%{}"},
    {"price": 0, "quantity": 0},
    {"value": -3.5},
    {"price": 1e300},
    {"timestamp": "2000-01-01T00:00:00"},
    {"timestamp": "2025-01-01T00:00:00"},
]


@pytest.mark.parametrize("row", GOOD, ids=[f"{row!r}"[:40] for row in GOOD])
def test_a_row_on_the_right_side_of_every_rule_is_taken_in(lake: Lake, tmp_path: Path, row: dict[str, Value]):
    (count,) = take_in(lake, write_events(tmp_path / "events.csv", row))
    assert (count.accepted, count.quarantined) == (1, 0)
    event = lake.events().collect().row(0, named=True)
    expected = {name: value for name, value in row.items() if name != "timestamp"}
    assert {name: event[name] for name in expected} == expected


def test_a_row_that_breaks_several_rules_is_one_row_and_counts_for_each(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"user_id": "", "price": -1, "event": "wave"}, {"user_id": ""})
    (count,) = take_in(lake, file)
    assert (count.rows, count.accepted, count.quarantined) == (2, 0, 2)
    assert count.rules == {"user_id_is_given": 2, "price_is_an_amount": 1, "event_is_known": 1}
    assert [set(rules.split(", ")) for rules in quarantine(lake)["rules"]] == [
        set(count.rules),
        {"user_id_is_given"},
    ]


def test_a_row_with_a_field_that_cannot_be_read_is_not_held_to_the_other_rules(lake: Lake, tmp_path: Path):
    (count,) = take_in(lake, write_events(tmp_path / "events.csv", {"price": "cheap", "event": "wave"}))
    assert (count.quarantined, count.rules) == (1, {"price_is_readable": 1})


def test_what_is_no_number_is_refused_in_parquet_files_too(lake: Lake, tmp_path: Path):
    rows = [EVENT | {"price": price} for price in (float("nan"), float("inf"), -1.0, 1.0)]
    pl.DataFrame(rows).write_parquet(tmp_path / "events.parquet")
    (count,) = take_in(lake, tmp_path / "events.parquet")
    assert (count.accepted, count.rules) == (1, {"price_is_an_amount": 3})


def test_what_is_no_number_makes_a_json_line_no_object(lake: Lake, tmp_path: Path):
    lines = [json.dumps(EVENT | {"price": price}) for price in (float("nan"), float("inf"), -1.0, 1.0)]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, lines[3].replace("1.0", "1e999")]))
    (count,) = take_in(lake, tmp_path / "events.jsonl")
    assert (count.accepted, count.rules) == (1, {"line_is_whole": 3, "price_is_an_amount": 1})


@pytest.mark.parametrize("name", ["events.csv", "events.jsonl"])
def test_a_truncated_last_line_is_quarantined_as_it_stands(lake: Lake, tmp_path: Path, name: str):
    rows = pl.DataFrame([EVENT, EVENT | {"item_id": "mug"}])
    text = rows.write_csv() if name.endswith("csv") else rows.write_ndjson()
    text = text.rstrip()
    cut = text.rindex("view" if name.endswith("csv") else "2024")
    (tmp_path / name).write_text(text[:cut])
    (count,) = take_in(lake, tmp_path / name)
    assert (count.rows, count.accepted, count.rules) == (2, 1, {"line_is_whole": 1})
    assert quarantine(lake).select("rules", "line").rows() == [("line_is_whole", text[:cut].splitlines()[-1])]


def test_events_of_names_that_weights_add_are_taken_in(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"event": "wishlist"}, {"event": "view"}, {"event": "wave"})
    (count,) = take_in(lake, file, sources=Sources(weights={"wishlist": 2.0}))
    assert (count.accepted, count.rules) == (2, {"event_is_known": 1})
    assert sorted(lake.events().collect()["event"]) == ["view", "wishlist"]


def test_event_names_of_the_shop_are_mapped_before_they_are_checked(lake: Lake, tmp_path: Path):
    table = Table("log", "events", "*.csv", {name: name for name in EVENT}, events={"bought": "purchase"})
    file = write_events(tmp_path / "log.csv", {"event": "bought"}, {"event": "sold"})
    (count,) = take_in(lake, file, sources=Sources(tables=(table,)))
    assert (count.table, count.accepted, count.rules) == ("log", 1, {"event_is_known": 1})
    assert quarantine(lake)["event"].to_list() == ["sold"]


def test_an_item_without_an_id_or_with_a_wrong_price_is_quarantined(lake: Lake, tmp_path: Path):
    rows = {
        "item_id": ["tea", None, "a b", "mug"],
        "price": [1.0, 1.0, 1.0, -1.0],
        "category": [["Food", "Tea"]] * 4,
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
    (count,) = take_in(lake, tmp_path / "items.parquet")
    assert (count.accepted, count.quarantined) == (1, 3)
    assert count.rules == {"item_id_is_given": 1, "item_id_is_an_id": 1, "price_is_an_amount": 1}
    assert quarantine(lake)["category"].to_list() == ["Food>Tea"] * 3


def test_the_last_row_of_an_item_counts_within_a_file_and_across_files(lake: Lake, tmp_path: Path):
    (tmp_path / "items-1.csv").write_text("item_id,title\ntea,Tee\nmug,Mug\ntea,Tea\n")
    (tmp_path / "items-2.csv").write_text("item_id,price\nmug,3\n")
    for chunk_rows in (1, 100):
        fresh = Lake(lake.directory / str(chunk_rows))
        first, second = take_in(fresh, *sorted(tmp_path.glob("*.csv")), sources=Sources(chunk_rows=chunk_rows))
        assert (first.accepted, first.duplicates, second.accepted) == (2, 1, 1)
        items = fresh.items().select("item_id", "title", "price").collect().rows()
        assert items == [("mug", None, 3.0), ("tea", "Tea", None)]


def test_two_tables_may_read_one_file(lake: Lake, tmp_path: Path):
    tables = (
        Table("log", "events", "*.csv", {name: name for name in EVENT}),
        Table("articles", "items", "*.csv", {"item_id": "item_id"}),
    )
    counts = take_in(
        lake, write_events(tmp_path / "log.csv", {}, {"user_id": "bob"}), sources=Sources(tables=tables)
    )
    assert [(count.table, count.accepted) for count in counts] == [("log", 2), ("articles", 1)]


def test_a_directory_may_hold_files_that_no_table_reads(lake: Lake, tmp_path: Path):
    exports = tmp_path / "exports"
    exports.mkdir()
    write_events(exports / "events.csv", {})
    (exports / "stores.csv").write_text("store\n1\n")
    assert [count.file for count in take_in(lake, exports)] == ["events.csv"]
    with pytest.raises(
        SourceError, match=r"stores\.csv: no table reads a file of this name; expected one like events\*"
    ):
        take_in(lake, exports / "stores.csv")


def test_paths_of_which_no_table_reads_any_file_are_named(lake: Lake, tmp_path: Path):
    (tmp_path / "stores.csv").write_text("store\n1\n")
    with pytest.raises(SourceError, match=f"^{tmp_path}: no table reads any of the files there$"):
        take_in(lake, tmp_path)


def test_a_table_that_does_not_fit_the_contract_is_refused_before_any_file_is_read(lake: Lake, tmp_path: Path):
    sources = Sources(tables=(Table("log", "events", "*", {"user_id": "u"}),))
    with pytest.raises(SettingsError, match=r"sources\.tables\.log\.columns: 'item_id' is missing"):
        take_in(lake, tmp_path / "missing.csv", sources=sources)
    assert not lake.directory.exists()


def test_rows_are_counted_while_they_are_read(lake: Lake, tmp_path: Path):
    seen: list[int] = []
    file = write_events(tmp_path / "events.csv", *({"item_id": f"i{number}"} for number in range(5)))
    ingest((str(file),), Sources(), lake, LATEST, seen.append)
    assert sum(seen) == 5


def test_a_lake_may_lie_under_any_name(tmp_path: Path):
    lake = Lake(tmp_path / "[shop]*=1" / "lake")
    file = write_events(tmp_path / "events.csv", {"item_id": "a"}, {"item_id": "a b"})
    take_in(lake, file)
    (count,) = take_in(lake, file)
    assert (count.accepted, count.duplicates, count.quarantined) == (0, 1, 1)
    assert lake.events().collect().height == 1
