"""The lake: its layout, the rows that it accepts, and its lock."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from jobs.lake.event_partitions import NEW, IngestOfEvents
from jobs.lake.lake import Lake, open_lake
from recsys.contract import Events, Items, Labels, Users
from recsys.errors import SettingsError
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Lake as LakeSettings
from recsys.settings import Settings

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOLDER = """
import sys
from pathlib import Path
from jobs.lake.lake import Lake
print("asks", flush=True)
with Lake(Path(sys.argv[1])).locked():
    print("holds", flush=True)
"""


def events(*ids: str, user: str = "ann", days: int = 0, item: str = "tea") -> pl.DataFrame:
    """Return views of an item by a user, one for each id."""
    rows = [
        {
            "event_id": event_id,
            "user_id": user,
            "item_id": item,
            "event": "view",
            "timestamp": START + timedelta(days=days),
        }
        for event_id in ids
    ]
    return pl.DataFrame(rows, schema=pl.Schema(Events))


def add(lake: Lake, frame: pl.DataFrame, source: str) -> int:
    """Write events as one ingest of a source gives them; return how many are new."""
    with lake.locked():
        given = frame.lazy().with_columns(pl.lit(source).alias("source"))
        counts = lake.write_events(given, IngestOfEvents(1), with_own_ids=frozenset({source})).counts
        return int(counts.filter(outcome=NEW)["rows"].sum())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", buckets=2)


def test_a_lake_without_a_file_is_empty_tables_of_the_contract(lake: Lake):
    assert lake.events().collect().equals(pl.DataFrame(schema=pl.Schema(Events)))
    assert lake.events(bucket=1).collect().is_empty()
    assert lake.items().collect().equals(pl.DataFrame(schema=pl.Schema(Items)))
    assert lake.users().collect().equals(pl.DataFrame(schema=pl.Schema(Users)))


def test_a_column_that_an_earlier_lake_lacks_is_null(lake: Lake):
    earlier = pl.DataFrame({"item_id": ["tea"], "title": ["Tea"], "available": [False]})
    lake.directory.mkdir()
    earlier.write_parquet(lake.directory / "items.parquet")
    assert lake.items().collect_schema() == pl.Schema(Items)
    assert lake.items().select("item_id", "available", "stock", "valid_until").collect().rows() == [
        ("tea", False, None, None)
    ]


def test_events_lie_by_bucket_of_users_and_by_day_in_utc(lake: Lake):
    late = events("e1").with_columns(timestamp=datetime(2024, 5, 1, 23, 59, 59, 999999, tzinfo=UTC))
    early = events("e2").with_columns(timestamp=datetime(2024, 5, 2, tzinfo=UTC))
    others = [events(f"e{number}", user=f"u{number}") for number in range(3, 23)]
    add(lake, pl.concat([late, early, *others]), "part")
    files = {str(file.relative_to(lake.directory)) for file in lake.directory.rglob("*.parquet")}
    ann = 0 if "ann" in lake.events(0).collect()["user_id"] else 1
    assert files == {
        f"events/bucket=0{ann}/date=2024-05-01/events.parquet",
        f"events/bucket=0{ann}/date=2024-05-02/events.parquet",
        f"events/bucket=0{1 - ann}/date=2024-05-01/events.parquet",
    }


def test_the_bucket_of_a_user_is_the_same_everywhere(tmp_path: Path):
    lake = Lake(tmp_path / "lake", buckets=4)
    add(lake, pl.concat([events(f"e{number}", user=f"u{number}") for number in range(6)]), "part")
    buckets = [lake.events(bucket).collect()["user_id"].to_list() for bucket in range(4)]
    assert buckets == [["u2", "u4", "u5"], ["u0"], ["u1", "u3"], []]


def test_an_event_is_in_the_lake_once_as_it_was_given_last(lake: Lake):
    assert add(lake, events("e1", "e2", "e1"), "first") == 2
    assert add(lake, events("e2", "e3", item="other"), "second") == 1
    assert add(lake, events("e3", days=1), "third") == 0
    rows = (
        lake.events().select("event_id", "item_id", pl.col("timestamp").dt.day()).collect().sort("event_id").rows()
    )
    assert rows == [("e1", "tea", 1), ("e2", "other", 1), ("e3", "tea", 2)]


def test_an_event_received_online_that_the_lake_has_is_left_as_it_is(lake: Lake):
    add(lake, events("e1"), "file")
    with lake.locked():
        added, files = lake.add_online_events(events("e1", "e2", item="other").lazy())
    assert (added, len(files)) == (1, 1)
    assert lake.events().select("event_id", "item_id").collect().rows() == [("e1", "tea"), ("e2", "other")]


def test_labels_go_over_those_of_the_same_user(lake: Lake):
    schema = pl.Schema(Labels)
    rows = [("bob", "bot", START), ("ann", "fine", START), ("bob", "fine", START)]
    assert lake.upsert_labels(pl.DataFrame(rows, schema=schema, orient="row")) == 2
    later = [("ann", "bot", START), ("cat", "fine", START)]
    assert lake.upsert_labels(pl.DataFrame(later, schema=schema, orient="row")) == 2
    assert lake.labels().select("user_id", "label").collect().rows() == [
        ("ann", "bot"),
        ("bob", "fine"),
        ("cat", "fine"),
    ]


def test_what_a_killed_process_left_is_removed_by_the_next(lake: Lake):
    add(lake, events("e1"), "part")
    kept = sorted(lake.directory.rglob("*"))
    left = lake.directory / "events" / "bucket=00" / "date=2024-05-01" / ".events.parquet.4711.partial"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half")
    (lake.directory / ".abc.partial" / "0000" / "valid").mkdir(parents=True)
    (lake.directory / ".abc.partial" / "0000" / "valid" / ".x.partial").touch()
    with lake.locked():
        pass
    assert [
        path for path in sorted(lake.directory.rglob("*")) if path in kept or path.name.endswith("partial")
    ] == kept


def test_one_process_at_a_time_holds_the_lake(lake: Lake):
    command = [sys.executable, "-c", HOLDER, str(lake.directory)]
    waiting = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    with lake.locked():
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "asks\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
    assert waiting.communicate(timeout=60)[0] == "holds\n"


def test_a_lake_keeps_the_number_of_buckets_it_was_made_with(tmp_path: Path):
    settings = Settings(directory=tmp_path, lake=LakeSettings(buckets=4))
    lake = open_lake(settings)
    assert (lake.directory, lake.buckets) == (tmp_path / "lake", 4)
    add(lake, events("e1"), "part")
    assert json.loads((lake.directory / "buckets.json").read_text()) == 4
    assert open_lake(settings) == lake
    with pytest.raises(SettingsError, match=r"^lake\.buckets = 2: expected 4, with which .*lake was created"):
        open_lake(replace(settings, lake=LakeSettings(buckets=2)))


@pytest.mark.parametrize("buckets", [2, 5, 40])
def test_buckets_together_hold_all_events_and_each_user_in_one(tmp_path: Path, buckets: int):
    frame = pl.concat([events(f"e{user}", f"f{user}", user=f"user-{user}", days=user % 5) for user in range(31)])
    whole, split = Lake(tmp_path / "whole"), Lake(tmp_path / "split", buckets)
    for lake in (whole, split):
        add(lake, frame, "part")
    parts = [split.events(bucket).collect() for bucket in range(buckets)]
    users = [set(part["user_id"]) for part in parts]
    assert sum(map(len, users)) == len(set[str]().union(*users)) == 31
    assert sum(bool(bucket_users) for bucket_users in users) > 1
    expected = whole.events().collect().sort("event_id")
    assert pl.concat(parts).sort("event_id").equals(expected)
    assert split.events().collect().sort("event_id").equals(expected)


KEY = "a key of the shop"


@pytest.mark.parametrize(("made", "opened"), [(KEY, None), (None, KEY), (KEY, "another"), ("", KEY)])
def test_a_lake_is_of_one_kind(tmp_path: Path, made: str | None, opened: str | None) -> None:
    first, second = (Settings(directory=tmp_path, pseudonym_key=key) for key in (made, opened))
    add(open_lake(first), events("e1"), "part")
    before = open_lake(first).events().collect()
    with pytest.raises(
        SettingsError, match=r"^pseudonym_key = .* was created with.*; ingest into another"
    ) as error:
        open_lake(second)
    assert KEY not in str(error.value)
    late = Lake(tmp_path / "lake", pseudonyms=Pseudonyms((opened,)) if opened else None)
    with pytest.raises(SettingsError), late.locked():
        pass
    assert open_lake(first).events().collect().equals(before)


def test_the_lake_keeps_a_check_of_the_key_and_not_the_key(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", pseudonyms=Pseudonyms((KEY,)))
    add(lake, events("e1"), "part")
    assert json.loads((lake.directory / "pseudonyms.json").read_text()) == Pseudonyms((KEY,)).fingerprint()
    assert KEY not in repr(lake)
