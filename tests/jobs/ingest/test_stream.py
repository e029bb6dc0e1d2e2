"""The archive moves every entry of the online event stream into the lake, each event once."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
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
from jobs.ingest.validation import read_quarantine
from jobs.lake import Lake
from recsys.data.quality import QuarantineCounts
from recsys.schema import Events, Items
from recsys.settings import Sources
from recsys.store.embedded import ServerAddress
from recsys.store.event_stream import StreamState, read_stream_state, remove_entries
from recsys.store.keys import Keys

KEYS = Keys("recsys")
SOURCES = Sources()
LATEST = datetime(2018, 1, 1, tzinfo=UTC)
EVENT = {
    "event_id": "e1",
    "user_id": "ann",
    "item_id": "tea",
    "event": "view",
    "timestamp": "2017-12-31T23:59:59.123456Z",
}
SHOWN = {
    "request_id": "r1",
    "user_id": "ann",
    "timestamp": "2017-12-30T10:00:00.000001Z",
    "version": "20171230T000000Z",
    "context": "home",
    "offset": 20,
    "items": ["tea", "milk"],
    "sources": ["personal", "popular"],
}

ARCHIVE_KILLED_BEFORE_TRIMMING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import redis
from jobs.ingest import stream
from jobs.lake import Lake
from recsys.settings import Sources
from recsys.store.keys import Keys

stream.remove_entries = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
client = redis.Redis(port=int(sys.argv[2]))
stream.archive(Lake(Path(sys.argv[1])), Sources(), client, Keys("recsys"), datetime(2018, 1, 1, tzinfo=UTC))
"""


@pytest.fixture
def stream(valkey: redis.Redis) -> redis.Redis:
    """Return a client of a server whose stream is empty."""
    return valkey


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake with two buckets."""
    return Lake(tmp_path / "lake", buckets=2)


def append(client: redis.Redis, field: str, *values: Any, entry_id: str = "*") -> None:
    for value in values:
        client.xadd(KEYS.events, {field: value if isinstance(value, bytes) else json.dumps(value)}, id=entry_id)


def archived(lake: Lake, client: redis.Redis) -> ArchiveResult:
    return replace(archive(lake, SOURCES, client, KEYS, LATEST), seconds=0.0)


def rejects(lake: Lake, kind: str) -> list[dict[str, Any]]:
    (file,) = (lake.directory / "quarantine").glob(f"online-{kind}-*.parquet")
    return pl.read_parquet(file).to_dicts()


def test_each_kind_of_entry_comes_into_its_table(stream: redis.Redis, lake: Lake) -> None:
    append(stream, "event", EVENT, {**EVENT, "event_id": "e2", "event": "purchase", "price": 2, "quantity": 3.0})
    append(stream, "impressions", SHOWN, {**SHOWN, "request_id": "r2", "items": [], "sources": []})
    append(stream, "item", {"item_id": "tea", "category": ["food", "drinks"], "available": False})
    assert archived(lake, stream) == ArchiveResult(events=2, impressions=2, items=1, entries=5)
    assert stream.xlen(KEYS.events) == 0

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
    assert archived(lake, stream) == ArchiveResult()


FLAG = {
    "user_id": "bob",
    "score": 97.5,
    "reasons": ["214 events in 10 s"],
    "timestamp": "2017-12-31T10:00:00.5Z",
    "shadow": False,
}
LABEL = {"user_id": "bob", "label": "bot", "labelled_at": "2017-12-31T10:00:00.5Z"}


def test_flags_and_labels_come_into_their_tables(stream: redis.Redis, lake: Lake) -> None:
    append(stream, "flag", FLAG, {**FLAG, "user_id": "eve", "timestamp": "2017-12-30T10:00:00Z", "shadow": True})
    append(stream, "label", LABEL, {**LABEL, "label": "fine"}, {**LABEL, "user_id": "ann"})
    assert archived(lake, stream) == ArchiveResult(flags=2, labels=2, entries=5)
    assert stream.xlen(KEYS.events) == 0
    moment = datetime(2017, 12, 31, 10, 0, 0, 500_000, tzinfo=UTC)
    assert lake.flags().sort("timestamp").collect().rows() == [
        ("eve", 97.5, ["214 events in 10 s"], datetime(2017, 12, 30, 10, tzinfo=UTC), True),
        ("bob", 97.5, ["214 events in 10 s"], moment, False),
    ]
    assert lake.labels().collect().rows() == [("ann", "bot", moment), ("bob", "fine", moment)]

    append(stream, "label", {**LABEL, "labelled_at": "2017-12-31T11:00:00Z"})
    assert archived(lake, stream) == ArchiveResult(labels=1, entries=1)
    assert lake.labels().select("user_id", "label").collect().rows() == [("ann", "bot"), ("bob", "bot")]


def test_flags_and_labels_that_are_wrong_are_set_aside(stream: redis.Redis, lake: Lake) -> None:
    append(stream, "flag", {**FLAG, "score": 101.0}, {**FLAG, "timestamp": "soon"}, {**FLAG, "shadow": None})
    append(stream, "label", {**LABEL, "label": "maybe"}, {**LABEL, "user_id": "b b"}, {**LABEL, "label": 7})
    append(stream, "flag", FLAG)
    assert archived(lake, stream) == ArchiveResult(flags=1, invalid=6, entries=7)
    assert len(rejects(lake, "flags")) == 3
    assert [row["rules"] for row in rejects(lake, "labels")] == ["label_is_known", "user_id_is_an_id"]
    assert len(rejects(lake, "entries")) == 1
    assert lake.labels().collect().is_empty()


def test_what_comes_twice_is_in_the_lake_once(stream: redis.Redis, lake: Lake) -> None:
    append(stream, "event", EVENT, EVENT)
    assert archived(lake, stream) == ArchiveResult(events=1, duplicates=1, entries=2)
    append(stream, "event", EVENT, {**EVENT, "event_id": "e2"})
    assert archived(lake, stream) == ArchiveResult(events=1, duplicates=1, entries=2)
    assert sorted(lake.events().collect()["event_id"]) == ["e1", "e2"]


def test_what_is_wrong_is_set_aside_and_holds_nothing_up(stream: redis.Redis, lake: Lake) -> None:
    nested = b"[" * 100_000
    unreadable = [b"{", b"[]", b"\xff", b'{"user_id": 7}', b'{"price": "dear"}', b'{"item_id": "\\ud800"}', nested]
    append(stream, "event", *unreadable)
    append(stream, "impressions", {**SHOWN, "sources": ["personal"]}, {**SHOWN, "offset": -1})
    append(stream, "item", {"item_id": "tea", "category": [None]})
    append(stream, "unheard_of", EVENT)
    stream.xadd(KEYS.events, {"event": json.dumps(EVENT), "item": "{}"})
    stream.xadd(KEYS.events, {b"\xff": b"\xfe"})
    append(stream, "event", {**EVENT, "event": "stare"}, {**EVENT, "timestamp": "2018-01-01T00:00:01Z"})
    append(stream, "event", {**EVENT, "timestamp": "yesterday"}, {"event_id": "e9"})
    append(
        stream, "impressions", {**SHOWN, "items": ["tea", "no id"]}, {**SHOWN, "timestamp": "9999-01-01T00:00:00Z"}
    )
    append(stream, "item", {"item_id": "tea", "price": -1.0}, {"item_id": "tea", "price": 1.0})
    append(stream, "event", EVENT)
    assert archived(lake, stream) == ArchiveResult(
        events=1, impressions=1, items=1, invalid=13 + 4 + 3 + 1, entries=22
    )
    assert stream.xlen(KEYS.events) == 0

    whole = rejects(lake, "entries")
    assert {reject["rules"] for reject in whole} == {"entry_is_readable"}
    assert whole[1]["entry"] == '{"event": "[]"}'
    assert len(whole) == 13
    assert [reject["rules"] for reject in rejects(lake, "events")] == [
        "event_is_known",
        "timestamp_is_in_range",
        "timestamp_is_readable",
        "user_id_is_given, item_id_is_given, event_is_given, timestamp_is_readable",
    ]
    assert [reject["rules"] for reject in rejects(lake, "impressions")] == [
        "item_id_is_an_id",
        "timestamp_is_in_range",
        "timestamp_is_in_range",
    ]
    assert [reject["price"] for reject in rejects(lake, "items")] == ["-1.0"]
    day = LATEST.date()
    assert read_quarantine(lake, day, day) == QuarantineCounts(((day, "timestamp_is_in_range", 1),), 3)


def test_items_keep_what_is_not_given_and_later_changes_win(stream: redis.Redis, lake: Lake) -> None:
    rows = [
        {"item_id": "tea", "title": "Tea", "brand": "B", "price": 2.0, "text": "leaves"},
        {"item_id": "milk", "title": "Milk", "available": True},
    ]
    with lake.locked():
        lake.upsert("items", pl.DataFrame(rows, schema=pl.Schema(Items)))
    append(stream, "item", {"item_id": "tea", "price": 3.0, "available": True}, {"item_id": "new", "brand": "N"})
    append(stream, "item", {"item_id": "tea", "available": False, "updated_at": "2017-12-31T00:00:00Z"})
    assert archived(lake, stream).items == 2
    append(stream, "item", {"item_id": "new", "title": "New"})
    assert archived(lake, stream).items == 1
    assert lake.items().select("item_id", "title", "brand", "price", "available", "text").collect().rows() == [
        ("milk", "Milk", None, None, True, None),
        ("new", "New", "N", None, None, None),
        ("tea", "Tea", "B", 3.0, False, "leaves"),
    ]


def test_what_comes_meanwhile_stays_in_the_stream(
    stream: redis.Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "BLOCK_ENTRIES", 2)
    append(stream, "event", *({**EVENT, "event_id": f"e{number}"} for number in range(5)))
    blocks: list[int] = []

    def while_it_archives(entries: int) -> None:
        blocks.append(entries)
        append(stream, "event", {**EVENT, "event_id": f"later{len(blocks)}"})

    assert archive(lake, SOURCES, stream, KEYS, LATEST, while_it_archives).events == 5
    assert blocks == [2, 2, 1]
    assert stream.xlen(KEYS.events) == 3
    assert archived(lake, stream).events == 3


def test_an_entry_that_came_between_writing_and_trimming_is_not_trimmed(
    stream: redis.Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(stream, "event", EVENT, entry_id="1000-18446744073709551614")
    append(stream, "event", {**EVENT, "event_id": "e2"}, entry_id="1000-18446744073709551615")

    def trim_late(*arguments: Any) -> int:
        append(stream, "event", {**EVENT, "event_id": "e3"}, entry_id="1001-0")
        return remove_entries(*arguments)

    monkeypatch.setattr(archiving, "remove_entries", trim_late)
    assert archived(lake, stream).events == 2
    left: Any = stream.xrange(KEYS.events)
    assert [entry_id for entry_id, _ in left] == [b"1001-0"]


def test_an_archive_killed_before_it_trims_is_made_good_by_the_next(stream: redis.Redis, lake: Lake) -> None:
    append(stream, "event", EVENT, {**EVENT, "event_id": "e2", "user_id": "bob"}, b"{")
    append(stream, "impressions", SHOWN)
    append(stream, "item", {"item_id": "tea", "price": 3.0})
    append(stream, "flag", FLAG)
    append(stream, "label", LABEL)
    port = str(stream.connection_pool.connection_kwargs["port"])
    command = [sys.executable, "-c", ARCHIVE_KILLED_BEFORE_TRIMMING, str(lake.directory), port]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert lake.events().collect().height == 2
    assert stream.xlen(KEYS.events) == 7

    append(stream, "impressions", {**SHOWN, "request_id": "r2"})
    append(stream, "flag", {**FLAG, "user_id": "eve"})
    again = Lake(lake.directory)
    taken = ArchiveResult(duplicates=2, impressions=4, items=1, flags=2, labels=1, invalid=1, entries=9)
    assert archived(again, stream) == taken
    assert sorted(again.flags().collect()["user_id"]) == ["bob", "eve"]
    assert again.labels().collect().height == 1
    assert again.events().collect().height == 2
    assert sorted(again.impressions().collect()["request_id"]) == ["r1", "r1", "r2", "r2"]
    assert len(rejects(again, "entries")) == 1


def test_a_server_that_forgot_a_trim_brings_nothing_twice(stream: redis.Redis, lake: Lake) -> None:
    append(stream, "impressions", SHOWN, entry_id="1000-0")
    archived(lake, stream)
    append(stream, "impressions", {**SHOWN, "request_id": "r2"}, b"{", entry_id="1001-*")
    archived(lake, stream)
    stream.flushall()
    append(stream, "impressions", SHOWN, entry_id="1000-0")
    append(stream, "impressions", {**SHOWN, "request_id": "r2"}, b"{", entry_id="1001-*")
    assert archived(lake, stream).impressions == 4
    assert lake.impressions().collect().height == 4
    assert len(rejects(lake, "entries")) == 1


def test_a_block_leaves_the_stream_when_its_files_are_on_disk(
    stream: redis.Redis, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(stream, "event", EVENT, b"{")
    append(stream, "impressions", SHOWN)
    append(stream, "item", {"item_id": "tea"})
    flushed: list[Path] = []

    def note(files: Iterable[Path]) -> None:
        assert stream.xlen(KEYS.events) == 4
        flushed.extend(files)

    monkeypatch.setattr(archiving, "flush", note)
    archived(lake, stream)
    assert sorted(flushed) == sorted(lake.directory.rglob("*.parquet"))
    assert len(flushed) == 4


def test_the_state_of_the_stream(stream: redis.Redis) -> None:
    assert read_stream_state(stream, KEYS) == StreamState(0, None)
    append(stream, "event", EVENT, entry_id="1514764799123-0")
    append(stream, "event", EVENT)
    assert read_stream_state(stream, KEYS) == StreamState(2, LATEST - timedelta(milliseconds=877))


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
                archived(lake, server)
            else:
                with pytest.MonkeyPatch.context() as killed:
                    killed.setattr(archiving, "remove_entries", interrupt)
                    with suppress(KeyboardInterrupt):
                        archived(lake, server)
        archived(lake, server)
    assert server.xlen(KEYS.events) == 0
    appended = {f"e{action}" for action in actions if isinstance(action, int)}
    server.close()
    assert sorted(lake.events().collect()["event_id"]) == sorted(appended)
    assert lake.impressions().select("request_id", "item_id").collect().n_unique() == 2 * answers
    assert lake.impressions().collect().height == 2 * answers


def interrupt(*_: object) -> int:
    raise KeyboardInterrupt
