"""The archive moves every entry of the online event stream into the lake, each event once."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.ingest import stream as archiving
from jobs.ingest.stream import ArchiveResult, archive
from jobs.lake.lake import Lake
from recsys.availability import is_available
from recsys.contract import Events, Items
from recsys.store import event_stream
from recsys.store.embedded import ServerAddress
from recsys.store.event_stream import StreamState, read_stream_state, remove_entries
from tests.event_stream import (
    EVENT,
    FLAG,
    KEYS,
    LABEL,
    LATEST,
    SHOWN,
    SOURCES,
    append,
    archive_stream,
    read_rejected,
)
from tests.ingests import ingest_files

ARCHIVE_KILLED_BEFORE_TRIMMING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import redis
from jobs.ingest import stream
from jobs.lake.lake import Lake
from recsys.settings import Sources
from recsys.store import event_stream
from recsys.store.keys import Keys

stream.remove_entries = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
client = redis.Redis(port=int(sys.argv[2]))
stream.archive(Lake(Path(sys.argv[1])), Sources(), client, Keys("recsys"), datetime(2018, 1, 1, tzinfo=UTC))
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake with two buckets."""
    return Lake(tmp_path / "lake", buckets=2)


def test_each_kind_of_entry_comes_into_its_table(valkey: redis.Redis, lake: Lake) -> None:
    append(valkey, "event", EVENT, {**EVENT, "event_id": "e2", "event": "purchase", "price": 2, "quantity": 3.0})
    append(valkey, "impressions", SHOWN, {**SHOWN, "request_id": "r2", "items": [], "sources": []})
    append(valkey, "item", {"item_id": "tea", "category": ["food", "drinks"], "available": False})
    assert archive_stream(lake, valkey) == ArchiveResult(events=2, impressions=2, items=1, entries=5)
    assert valkey.xlen(KEYS.events) == 0

    events = lake.events().sort("event_id").collect()
    moment = datetime(2017, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)
    expected = [
        {**EVENT, "timestamp": moment},
        {**EVENT, "timestamp": moment, "event_id": "e2", "event": "purchase", "price": 2.0, "quantity": 3.0},
    ]
    assert events.equals(pl.DataFrame(expected, schema=pl.Schema(Events)))
    (file,) = (lake.directory / "impressions").rglob("*.parquet")
    assert file.parent.name == "date=2017-12-30"
    same = {
        "request_id": "r1",
        "user_id": "ann",
        "version": "20171230T000000Z",
        "context": "home",
        "timestamp": datetime(2017, 12, 30, 10, 0, 0, 1, tzinfo=UTC),
    }
    assert lake.impressions().collect().to_dicts() == [
        {**same, "item_id": "tea", "rank": 21, "source": "personal"},
        {**same, "item_id": "milk", "rank": 22, "source": "popular"},
    ]
    assert lake.items().select("item_id", "category", "available", "title").collect().rows() == [
        ("tea", ["food", "drinks"], False, None)
    ]
    assert archive_stream(lake, valkey) == ArchiveResult()


def test_flags_and_labels_come_into_their_tables(valkey: redis.Redis, lake: Lake) -> None:
    append(valkey, "flag", FLAG, {**FLAG, "user_id": "eve", "timestamp": "2017-12-30T10:00:00Z", "shadow": True})
    append(valkey, "label", LABEL, {**LABEL, "label": "fine"}, {**LABEL, "user_id": "ann"})
    assert archive_stream(lake, valkey) == ArchiveResult(flags=2, labels=2, entries=5)
    assert valkey.xlen(KEYS.events) == 0
    moment = datetime(2017, 12, 31, 10, 0, 0, 500_000, tzinfo=UTC)
    assert lake.flags().sort("timestamp").collect().rows() == [
        ("eve", 97.5, ["214 events in 10 s"], datetime(2017, 12, 30, 10, tzinfo=UTC), True),
        ("bob", 97.5, ["214 events in 10 s"], moment, False),
    ]
    assert lake.labels().collect().rows() == [("ann", "bot", moment), ("bob", "fine", moment)]

    append(valkey, "label", {**LABEL, "labelled_at": "2017-12-31T11:00:00Z"})
    assert archive_stream(lake, valkey) == ArchiveResult(labels=1, entries=1)
    assert lake.labels().select("user_id", "label").collect().rows() == [("ann", "bot"), ("bob", "bot")]


def test_what_comes_twice_is_in_the_lake_once(valkey: redis.Redis, lake: Lake) -> None:
    append(valkey, "event", EVENT, EVENT)
    assert archive_stream(lake, valkey) == ArchiveResult(events=1, duplicates=1, entries=2)
    append(valkey, "event", EVENT, {**EVENT, "event_id": "e2"})
    assert archive_stream(lake, valkey) == ArchiveResult(events=1, duplicates=1, entries=2)
    assert sorted(lake.events().collect()["event_id"]) == ["e1", "e2"]


def test_an_item_has_the_categories_and_attributes_of_its_last_change(valkey: redis.Redis, lake: Lake) -> None:
    paths, attributes = [["food", "tea"], ["new"]], '{"organic":true}'
    tea = {"item_id": "tea", "category": paths[0], "categories": paths, "attributes": attributes}
    append(valkey, "item", tea, {"item_id": "cup", "category": ["home"]})
    archive_stream(lake, valkey)
    facts = ("item_id", "category", "categories", "attributes")
    cup = ("cup", ["home"], [["home"]], None)
    assert lake.items().select(facts).collect().rows() == [cup, ("tea", paths[0], paths, attributes)]
    # Earlier versions of the server wrote one path only.
    append(valkey, "item", {"item_id": "tea", "category": ["sale"]})
    archive_stream(lake, valkey)
    assert lake.items().select(facts).collect().rows() == [cup, ("tea", ["sale"], [["sale"]], attributes)]


def test_an_id_names_one_event_of_one_user_whatever_the_day(valkey: redis.Redis, lake: Lake) -> None:
    other_day = {**EVENT, "timestamp": "2017-12-29T10:00:00Z"}
    append(valkey, "event", EVENT, other_day, {**EVENT, "user_id": "eve", "event": "purchase"})
    assert archive_stream(lake, valkey) == ArchiveResult(events=2, duplicates=1, entries=3)
    append(valkey, "event", other_day, *({**other_day, "user_id": user} for user in ("eve", "zoe")))
    assert archive_stream(lake, valkey) == ArchiveResult(events=1, duplicates=2, entries=3)
    kept = lake.events().sort("user_id").select("user_id", "event", pl.col("timestamp").dt.day()).collect()
    assert kept.rows() == [("ann", EVENT["event"], 31), ("eve", "purchase", 31), ("zoe", EVENT["event"], 29)]


def test_items_keep_what_is_not_given_and_later_changes_win(valkey: redis.Redis, lake: Lake) -> None:
    rows = [
        {"item_id": "tea", "title": "Tea", "brand": "B", "price": 2.0, "text": "leaves"},
        {"item_id": "milk", "title": "Milk", "available": True},
    ]
    with lake.locked():
        lake.write_facts("items", "catalogue", pl.DataFrame(rows, schema=pl.Schema(Items)), LATEST, 0, 0)
    append(valkey, "item", {"item_id": "tea", "price": 3.0, "available": True}, {"item_id": "new", "brand": "N"})
    append(valkey, "item", {"item_id": "tea", "available": False, "updated_at": "2017-12-31T00:00:00Z"})
    assert archive_stream(lake, valkey).items == 2
    append(valkey, "item", {"item_id": "new", "title": "New"})
    assert archive_stream(lake, valkey).items == 1
    assert lake.items().select("item_id", "title", "brand", "price", "available", "text").collect().rows() == [
        ("milk", "Milk", None, None, True, None),
        ("new", "New", "N", None, None, None),
        ("tea", "Tea", "B", 3.0, False, "leaves"),
    ]


def test_stock_and_validity_come_into_the_lake_with_the_time_of_the_last_change(
    valkey: redis.Redis, lake: Lake
) -> None:
    ends = "2018-01-01T12:00:00.000001+01:00"
    first, second = "2017-12-31T10:00:00+00:00", "2017-12-31T11:00:00.000001+00:00"
    append(valkey, "item", {"item_id": "tea", "stock": 2, "valid_until": ends, "updated_at": second})
    append(valkey, "item", {"item_id": "tea", "stock": 0.5, "updated_at": first}, {"item_id": "mug", "stock": 1})
    assert archive_stream(lake, valkey).items == 2
    append(valkey, "item", {"item_id": "tea", "stock": -1, "updated_at": first})
    assert archive_stream(lake, valkey).invalid == 1
    assert lake.items().select("item_id", "stock", "valid_until").collect().rows() == [
        ("mug", 1.0, None),
        ("tea", 0.5, datetime(2018, 1, 1, 11, 0, 0, 1, tzinfo=UTC)),
    ]
    assert lake.online_changes().rows() == [("tea", datetime.fromisoformat(second))]


def test_a_change_archived_late_counts_from_when_it_was_made(
    valkey: redis.Redis, lake: Lake, tmp_path: Path
) -> None:
    feed = tmp_path / "items.csv"

    def read_feed(rows: str, hour: int) -> None:
        feed.write_text(f"item_id,available\n{rows}")
        ingest_files(lake, feed, latest=datetime(2018, 1, 2, hour, tzinfo=UTC))

    def switch_off(*item_ids: str, hour: int) -> None:
        # The clock of the server that took the change is a year behind that of Redis.
        milliseconds = int(datetime(2018, 1, 1, hour, tzinfo=UTC).timestamp() * 1e3)
        change = {"available": False, "updated_at": "2017-01-01T00:00:00+00:00"}
        append(valkey, "item", *({"item_id": id_, **change} for id_ in item_ids), entry_id=f"{milliseconds}-*")

    def unavailable() -> list[str]:
        archive_stream(lake, valkey)
        return lake.items().filter(~is_available()).select("item_id").collect()["item_id"].to_list()

    read_feed("tea,false\nmug,true\n", hour=1)
    read_feed("tea,true\nmug,true\n", hour=3)
    switch_off("tea", "mug", hour=2)
    assert unavailable() == ["mug"]  # of the tea, the feed has changed its word since
    switch_off("tea", hour=4)
    assert unavailable() == ["mug", "tea"]
    read_feed("tea,false\nmug,true\n", hour=5)
    read_feed("tea,true\nmug,true\n", hour=6)
    assert unavailable() == ["mug"]
    switch_off("tea", hour=7)  # as it was before, which is news
    assert unavailable() == ["mug", "tea"]


def test_what_comes_meanwhile_stays_in_the_stream(
    valkey: redis.Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "BLOCK_ENTRIES", 2)
    monkeypatch.setattr(event_stream, "ENTRIES_PER_COMMAND", 1)
    append(valkey, "event", *({**EVENT, "event_id": f"e{number}"} for number in range(5)))
    blocks: list[int] = []

    def while_it_archives(entries: int) -> None:
        blocks.append(entries)
        append(valkey, "event", {**EVENT, "event_id": f"later{len(blocks)}"})

    assert archive(lake, SOURCES, valkey, KEYS, LATEST, while_it_archives).events == 5
    assert blocks == [2, 2, 1]
    assert valkey.xlen(KEYS.events) == 3
    assert archive_stream(lake, valkey).events == 3


def test_an_entry_that_came_between_writing_and_trimming_is_not_trimmed(
    valkey: redis.Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(valkey, "event", EVENT, entry_id="1000-18446744073709551614")
    append(valkey, "event", {**EVENT, "event_id": "e2"}, entry_id="1000-18446744073709551615")

    def trim_late(*arguments: Any) -> int:
        append(valkey, "event", {**EVENT, "event_id": "e3"}, entry_id="1001-0")
        return remove_entries(*arguments)

    monkeypatch.setattr(archiving, "remove_entries", trim_late)
    assert archive_stream(lake, valkey).events == 2
    left: Any = valkey.xrange(KEYS.events)
    assert [entry_id for entry_id, _ in left] == [b"1001-0"]


def test_an_archive_killed_before_it_trims_is_made_good_by_the_next(valkey: redis.Redis, lake: Lake) -> None:
    append(valkey, "event", EVENT, {**EVENT, "event_id": "e2", "user_id": "bob"}, b"{")
    append(valkey, "impressions", SHOWN)
    append(valkey, "item", {"item_id": "tea", "price": 3.0})
    append(valkey, "flag", FLAG)
    append(valkey, "label", LABEL)
    port = str(valkey.connection_pool.connection_kwargs["port"])
    command = [sys.executable, "-c", ARCHIVE_KILLED_BEFORE_TRIMMING, str(lake.directory), port]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert lake.events().collect().height == 2
    assert valkey.xlen(KEYS.events) == 7

    append(valkey, "impressions", {**SHOWN, "request_id": "r2"})
    append(valkey, "flag", {**FLAG, "user_id": "eve"})
    again = Lake(lake.directory)
    taken = ArchiveResult(duplicates=2, impressions=4, items=1, flags=2, labels=1, invalid=1, entries=9)
    assert archive_stream(again, valkey) == taken
    assert sorted(again.flags().collect()["user_id"]) == ["bob", "eve"]
    assert again.labels().collect().height == 1
    assert again.events().collect().height == 2
    assert sorted(again.impressions().collect()["request_id"]) == ["r1", "r1", "r2", "r2"]
    assert len(read_rejected(again, "entries")) == 1


def test_a_server_that_forgot_a_trim_brings_nothing_twice(valkey: redis.Redis, lake: Lake) -> None:
    append(valkey, "impressions", SHOWN, entry_id="1000-0")
    archive_stream(lake, valkey)
    append(valkey, "impressions", {**SHOWN, "request_id": "r2"}, b"{", entry_id="1001-*")
    archive_stream(lake, valkey)
    valkey.flushall()
    append(valkey, "impressions", SHOWN, entry_id="1000-0")
    append(valkey, "impressions", {**SHOWN, "request_id": "r2"}, b"{", entry_id="1001-*")
    assert archive_stream(lake, valkey).impressions == 4
    assert lake.impressions().collect().height == 4
    assert len(read_rejected(lake, "entries")) == 1


def test_a_block_leaves_the_stream_when_its_files_are_on_disk(
    valkey: redis.Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(valkey, "event", EVENT, b"{")
    append(valkey, "impressions", SHOWN)
    append(valkey, "item", {"item_id": "tea"})
    flushed: list[Path] = []

    def note(files: Iterable[Path]) -> None:
        assert valkey.xlen(KEYS.events) == 4
        flushed.extend(files)

    monkeypatch.setattr(archiving, "flush", note)
    archive_stream(lake, valkey)
    assert sorted(flushed) == sorted(lake.directory.rglob("*.parquet"))
    assert len(flushed) == 6


def test_the_state_of_the_stream(valkey: redis.Redis) -> None:
    assert read_stream_state(valkey, KEYS) == StreamState(0, None)
    append(valkey, "event", EVENT, entry_id="1514764799123-0")
    append(valkey, "event", EVENT)
    assert read_stream_state(valkey, KEYS) == StreamState(2, LATEST - timedelta(milliseconds=877))


ACTIONS = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["archive", "killed"])), max_size=20)


@hypothesis_settings(deadline=None, max_examples=15)
@given(actions=ACTIONS)
def test_whatever_the_order_each_event_is_in_the_lake_once(
    valkey_address: ServerAddress, tmp_path_factory: pytest.TempPathFactory, actions: list[int | str]
) -> None:
    server = redis.Redis(valkey_address.host, valkey_address.port)
    server.flushall()
    lake = Lake(tmp_path_factory.mktemp("lake"))
    answers = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archiving, "BLOCK_ENTRIES", 3)
        for action in actions:
            if isinstance(action, int):
                append(server, "event", {**EVENT, "event_id": f"e{action}", "user_id": f"u{action % 3}"})
                append(server, "impressions", {**SHOWN, "request_id": f"r{answers}"})
                answers += 1
            elif action == "archive":
                archive_stream(lake, server)
            else:
                with pytest.MonkeyPatch.context() as killed:
                    killed.setattr(archiving, "remove_entries", interrupt)
                    with suppress(KeyboardInterrupt):
                        archive_stream(lake, server)
        archive_stream(lake, server)
    assert server.xlen(KEYS.events) == 0
    appended = {f"e{action}" for action in actions if isinstance(action, int)}
    server.close()
    assert sorted(lake.events().collect()["event_id"]) == sorted(appended)
    assert lake.impressions().select("request_id", "item_id").collect().n_unique() == 2 * answers
    assert lake.impressions().collect().height == 2 * answers


def interrupt(*_: object) -> int:
    raise KeyboardInterrupt
