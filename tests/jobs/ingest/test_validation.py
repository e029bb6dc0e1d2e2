"""Rows are mapped, checked and deduplicated, whatever the format of their file; bad rows go to quarantine."""

import csv
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.contract import Events
from recsys.schema import DEFAULT_WEIGHTS, MIN_TIMESTAMP
from recsys.settings import Sources, Table
from recsys.settings.sources import NULL_IDS
from tests.ingests import (
    EVENT,
    LATEST,
    Value,
    hash_lake,
    ingest_files,
    read_quarantined_rows,
    write_events,
)

BROKEN: list[tuple[dict[str, Value], str]] = [
    ({"user_id": ""}, "user_id_is_given"),
    ({"item_id": ""}, "item_id_is_given"),
    ({"event": ""}, "event_is_given"),
    ({"timestamp": ""}, "timestamp_is_readable"),
    ({"user_id": "a b"}, "user_id_is_an_id"),
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
    ({"price": "1,50"}, "price_is_readable: set decimal = ','"),
    ({"price": "NaN"}, "price_is_an_amount"),
    ({"price": "inf"}, "price_is_an_amount"),
    ({"price": -0.01}, "price_is_an_amount"),
    ({"quantity": "two"}, "quantity_is_readable"),
    ({"quantity": "NaN"}, "quantity_is_an_amount"),
    ({"quantity": "-inf"}, "quantity_is_an_amount"),
    ({"quantity": -1.0}, "quantity_is_an_amount"),
    ({"value": "NaN"}, "value_is_finite"),
    ({"value": "inf"}, "value_is_finite"),
    ({"value": "high"}, "value_is_readable"),
]


@pytest.mark.parametrize(("row", "rule"), BROKEN, ids=[f"{rule}:{row!r}"[:60] for row, rule in BROKEN])
def test_a_row_that_breaks_a_rule_is_quarantined_under_its_name(
    lake: Lake, tmp_path: Path, row: dict[str, Value], rule: str
):
    (count,) = ingest_files(lake, write_events(tmp_path / "events.csv", {"item_id": "good"}, row))
    assert (count.rows, count.accepted, count.quarantined, count.rules) == (2, 1, 1, {rule: 1})
    assert lake.events().collect()["item_id"].to_list() == ["good"]
    rejects = read_quarantined_rows(lake)
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
    (count,) = ingest_files(lake, write_events(tmp_path / "events.csv", row))
    assert (count.accepted, count.quarantined) == (1, 0)
    event = lake.events().collect().row(0, named=True)
    expected = {name: value for name, value in row.items() if name != "timestamp"}
    assert {name: event[name] for name in expected} == expected


def test_a_row_that_breaks_several_rules_is_one_row_and_counts_for_each(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"user_id": "", "price": -1, "event": "wave"}, {"user_id": ""})
    (count,) = ingest_files(lake, file)
    assert (count.rows, count.accepted, count.quarantined) == (2, 0, 2)
    assert count.rules == {"user_id_is_given": 2, "price_is_an_amount": 1, "event_is_known": 1}
    assert [set(rules.split(", ")) for rules in read_quarantined_rows(lake)["rules"]] == [
        set(count.rules),
        {"user_id_is_given"},
    ]


def test_a_row_with_a_field_that_cannot_be_read_is_not_held_to_the_other_rules(lake: Lake, tmp_path: Path):
    (count,) = ingest_files(lake, write_events(tmp_path / "events.csv", {"price": "cheap", "event": "wave"}))
    assert (count.quarantined, count.rules) == (1, {"price_is_readable": 1})


def test_what_is_no_number_is_refused_in_parquet_files_too(lake: Lake, tmp_path: Path):
    rows = [EVENT | {"price": price} for price in (float("nan"), float("inf"), -1.0, 1.0)]
    pl.DataFrame(rows).write_parquet(tmp_path / "events.parquet")
    (count,) = ingest_files(lake, tmp_path / "events.parquet")
    assert (count.accepted, count.rules) == (1, {"price_is_an_amount": 3})


def test_what_is_no_number_makes_a_json_line_no_object(lake: Lake, tmp_path: Path):
    lines = [json.dumps(EVENT | {"price": price}) for price in (float("nan"), float("inf"), -1.0, 1.0)]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, lines[3].replace("1.0", "1e999")]))
    (count,) = ingest_files(lake, tmp_path / "events.jsonl")
    assert (count.accepted, count.rules) == (1, {"line_is_whole": 3, "price_is_an_amount": 1})


@pytest.mark.parametrize("name", ["events.csv", "events.jsonl"])
def test_a_truncated_last_line_is_quarantined_as_it_stands(lake: Lake, tmp_path: Path, name: str):
    rows = pl.DataFrame([EVENT, EVENT | {"item_id": "mug"}])
    text = rows.write_csv() if name.endswith("csv") else rows.write_ndjson()
    text = text.rstrip()
    cut = text.rindex("view" if name.endswith("csv") else "2024")
    (tmp_path / name).write_text(text[:cut])
    (count,) = ingest_files(lake, tmp_path / name)
    assert (count.rows, count.accepted, count.rules) == (2, 1, {"line_is_whole": 1})
    assert read_quarantined_rows(lake).select("rules", "line").rows() == [
        ("line_is_whole", text[:cut].splitlines()[-1])
    ]


def test_events_of_names_that_weights_add_are_taken_in(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"event": "wishlist"}, {"event": "view"}, {"event": "wave"})
    (count,) = ingest_files(lake, file, sources=Sources(weights={"wishlist": 2.0}))
    assert (count.accepted, count.rules) == (2, {"event_is_known": 1})
    assert sorted(lake.events().collect()["event"]) == ["view", "wishlist"]


def test_event_names_of_the_shop_are_mapped_before_they_are_checked(lake: Lake, tmp_path: Path):
    table = Table("log", "events", "*.csv", {name: name for name in EVENT}, events={"bought": "purchase"})
    file = write_events(tmp_path / "log.csv", {"event": "bought"}, {"event": "sold"})
    (count,) = ingest_files(lake, file, sources=Sources(tables=(table,)))
    assert (count.table, count.accepted, count.rules) == ("log", 1, {"event_is_known": 1})
    assert read_quarantined_rows(lake)["event"].to_list() == ["sold"]


def test_an_item_without_an_id_or_with_a_wrong_price_is_quarantined(lake: Lake, tmp_path: Path):
    rows = {
        "item_id": ["tea", None, "a b", "mug"],
        "price": [1.0, 1.0, 1.0, -1.0],
        "category": [["Food", "Tea"]] * 4,
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
    (count,) = ingest_files(lake, tmp_path / "items.parquet")
    assert (count.accepted, count.quarantined) == (1, 3)
    assert count.rules == {"item_id_is_given": 1, "item_id_is_an_id": 1, "price_is_an_amount": 1}
    assert read_quarantined_rows(lake)["category"].to_list() == ["Food>Tea"] * 3


SCHEMA = pl.Schema(Events)
Event = dict[str, Any]
ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128).filter(
    lambda text: text.lower() not in NULL_IDS and not text.endswith(".0")
)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
amounts = st.none() | st.floats(min_value=0, allow_infinity=False, allow_nan=False)
events = st.fixed_dictionaries(
    {
        "event_id": st.none() | ids,
        "user_id": ids,
        "item_id": ids,
        "event": st.sampled_from(sorted(DEFAULT_WEIGHTS)),
        "timestamp": st.datetimes(
            MIN_TIMESTAMP.replace(tzinfo=None), LATEST.replace(tzinfo=None), timezones=st.just(UTC)
        ),
        "value": st.none() | st.floats(allow_infinity=False, allow_nan=False),
        "price": amounts,
        "quantity": amounts,
        "session_id": st.none() | ids,
        "ip": texts,
        "user_agent": texts,
    }
).filter(lambda event: event["event"] != "refund" or event["quantity"] != 0)


def as_text(event: Event) -> Event:
    return event | {"timestamp": event["timestamp"].isoformat()}


def write_csv(directory: Path, rows: list[Event]) -> Path:
    with (directory / "events.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SCHEMA.names(), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(map(as_text, rows))
    return directory / "events.csv"


def write_json_lines(directory: Path, rows: list[Event]) -> Path:
    (directory / "events.jsonl").write_text("\n".join(json.dumps(as_text(row)) for row in rows))
    return directory / "events.jsonl"


def write_parquet(directory: Path, rows: list[Event]) -> Path:
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(directory / "events.parquet")
    return directory / "events.parquet"


WRITERS = (write_csv, write_json_lines, write_parquet)


@settings(max_examples=20, deadline=None)
@given(st.lists(events, min_size=1, max_size=5), st.integers(min_value=1, max_value=6))
def test_any_valid_events_are_the_same_rows_and_ids_in_every_format(rows: list[Event], chunk_rows: int):
    taken: list[pl.DataFrame] = []
    with tempfile.TemporaryDirectory() as scratch:
        for write in WRITERS:
            lake = Lake(Path(scratch) / write.__name__)
            file = write(Path(scratch), rows)
            (count,) = ingest((str(file),), Sources(chunk_rows=chunk_rows), lake, LATEST)
            assert (count.rows, count.quarantined) == (len(rows), 0), count
            taken.append(lake.events().collect().sort("timestamp", "event_id"))
    of_csv, of_json_lines, of_parquet = taken
    assert of_csv.equals(of_json_lines)
    assert of_csv.equals(of_parquet)
    given_ids = {(row["event_id"], row["timestamp"].date()) for row in rows if row["event_id"] is not None}
    assert given_ids <= set(zip(of_csv["event_id"], of_csv["timestamp"].dt.date(), strict=True))
    for row in of_csv.drop("event_id").to_dicts():
        assert row in [{name: value for name, value in event.items() if name != "event_id"} for event in rows]


def shop_log() -> list[Event]:
    """Return events of three days; every thirteenth is invalid, every seventh is repeated."""
    start = datetime(2024, 5, 1, tzinfo=UTC)
    return [
        {
            "event_id": None,
            "user_id": f"user {number}" if number % 13 == 0 else f"user-{number * 7 % 31}",
            "item_id": f"item-{number * 11 % 17}",
            "event": "view" if number % 3 else "purchase",
            "timestamp": start + timedelta(minutes=97 * number),
            "value": None,
            "price": number / 7 if number % 2 else None,
            "quantity": None,
            "session_id": f"s{number // 5}",
            "ip": None,
            "user_agent": None,
        }
        for number in (number - number % 7 % 2 for number in range(41))
    ]


@pytest.mark.parametrize("write", WRITERS)
def test_the_lake_is_the_same_however_many_rows_are_read_at_a_time(tmp_path: Path, write: Any):
    file = write(tmp_path, shop_log())
    lakes: dict[int, dict[str, str]] = {}
    for chunk_rows in (1, 3, 1000):
        lake = Lake(tmp_path / str(chunk_rows), buckets=3)
        ingest((str(file),), Sources(chunk_rows=chunk_rows, max_bad_rows=1), lake, LATEST)
        lakes[chunk_rows] = hash_lake(lake)
    assert lakes[1] == lakes[3] == lakes[1000]
    assert any(name.startswith("quarantine") for name in lakes[1])
