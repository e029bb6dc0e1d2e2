import csv
import hashlib
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
from jobs.lake import Lake
from recsys.schema import DEFAULT_WEIGHTS, MIN_TIMESTAMP, Events
from recsys.settings import Sources

LATEST = datetime(2030, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema(Events)
Event = dict[str, Any]

ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128)
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
        "session_id": texts,
        "ip": texts,
        "user_agent": texts,
    }
)


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


@settings(max_examples=30, deadline=None)
@given(st.lists(events, min_size=1, max_size=8), st.integers(min_value=1, max_value=9))
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
    """Events of a week, every thirteenth of them wrong and every seventh told twice."""
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
        for number in (number - number % 7 % 2 for number in range(101))
    ]


def listing(lake: Lake) -> dict[str, str]:
    return {
        str(file.relative_to(lake.directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in lake.directory.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("write", WRITERS)
def test_the_lake_is_the_same_however_many_rows_are_read_at_a_time(tmp_path: Path, write: Any):
    file = write(tmp_path, shop_log())
    lakes: dict[int, dict[str, str]] = {}
    for chunk_rows in (1, 3, 1000):
        lake = Lake(tmp_path / str(chunk_rows), buckets=3)
        ingest((str(file),), Sources(chunk_rows=chunk_rows), lake, LATEST)
        lakes[chunk_rows] = listing(lake)
    assert lakes[1] == lakes[3] == lakes[1000]
    assert any(name.startswith("quarantine") for name in lakes[1])


@pytest.mark.parametrize("buckets", [2, 5, 40])
def test_buckets_together_hold_all_events_and_each_user_in_one(tmp_path: Path, buckets: int):
    file = write_csv(tmp_path, shop_log())
    whole, split = Lake(tmp_path / "whole"), Lake(tmp_path / "split", buckets)
    for lake in (whole, split):
        ingest((str(file),), Sources(), lake, LATEST)
    parts = [split.events(bucket).collect() for bucket in range(buckets)]
    users = [set(part["user_id"]) for part in parts]
    assert sum(map(len, users)) == len(set[str]().union(*users)) > 20
    assert sum(bool(found) for found in users) > 1
    expected = whole.events().collect().sort("event_id")
    assert pl.concat(parts).sort("event_id").equals(expected)
    assert split.events().collect().sort("event_id").equals(expected)
