"""Entries that cannot be decoded, and rows of entries that break a rule, are quarantined."""

import json
from pathlib import Path

import pytest
import redis

from jobs.ingest.stream import ArchiveResult
from jobs.ingest.validation import read_quarantine
from jobs.lake.lake import Lake
from recsys.data.quality import QuarantineCounts
from tests.event_stream import (
    EVENT,
    FLAG,
    KEYS,
    LABEL,
    LATEST,
    SHOWN,
    append,
    archive_stream,
    read_rejected,
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake with two buckets."""
    return Lake(tmp_path / "lake", buckets=2)


def test_flags_and_labels_that_are_wrong_are_quarantined(valkey: redis.Redis, lake: Lake) -> None:
    append(valkey, "flag", {**FLAG, "score": 101.0}, {**FLAG, "timestamp": "soon"}, {**FLAG, "shadow": None})
    append(valkey, "label", {**LABEL, "label": "maybe"}, {**LABEL, "user_id": "b b"}, {**LABEL, "label": 7})
    append(valkey, "flag", FLAG)
    assert archive_stream(lake, valkey) == ArchiveResult(flags=1, invalid=6, entries=7)
    assert len(read_rejected(lake, "flags")) == 3
    assert [row["rules"] for row in read_rejected(lake, "labels")] == ["label_is_known", "user_id_is_an_id"]
    assert len(read_rejected(lake, "entries")) == 1
    assert lake.labels().collect().is_empty()


def test_what_is_wrong_is_quarantined_and_holds_nothing_up(valkey: redis.Redis, lake: Lake) -> None:
    nested = b"[" * 100_000
    unreadable = [b"{", b"[]", b"\xff", b'{"user_id": 7}', b'{"price": "dear"}', b'{"item_id": "\\ud800"}', nested]
    append(valkey, "event", *unreadable)
    append(valkey, "impressions", {**SHOWN, "sources": ["personal"]}, {**SHOWN, "offset": -1})
    append(valkey, "item", {"item_id": "tea", "category": [None]})
    append(valkey, "unheard_of", EVENT)
    valkey.xadd(KEYS.events, {"event": json.dumps(EVENT), "item": "{}"})
    valkey.xadd(KEYS.events, {b"\xff": b"\xfe"})
    append(valkey, "event", {**EVENT, "event": "stare"}, {**EVENT, "timestamp": "2018-01-01T00:00:01Z"})
    append(valkey, "event", {**EVENT, "timestamp": "yesterday"}, {"event_id": "e9"})
    append(
        valkey, "impressions", {**SHOWN, "items": ["tea", "no id"]}, {**SHOWN, "timestamp": "9999-01-01T00:00:00Z"}
    )
    append(valkey, "item", {"item_id": "tea", "price": -1.0}, {"item_id": "tea", "price": 1.0})
    append(valkey, "event", EVENT)
    assert archive_stream(lake, valkey) == ArchiveResult(
        events=1, impressions=1, items=1, invalid=13 + 4 + 3 + 1, entries=22
    )
    assert valkey.xlen(KEYS.events) == 0

    whole = read_rejected(lake, "entries")
    assert {reject["rules"] for reject in whole} == {"entry_is_readable"}
    assert whole[1]["entry"] == '{"event": "[]"}'
    assert len(whole) == 13
    assert [reject["rules"] for reject in read_rejected(lake, "events")] == [
        "event_is_known",
        "timestamp_is_in_range",
        "timestamp_is_readable",
        "user_id_is_given, item_id_is_given, event_is_given, timestamp_is_readable",
    ]
    assert [reject["rules"] for reject in read_rejected(lake, "impressions")] == [
        "item_id_is_an_id",
        "timestamp_is_in_range",
        "timestamp_is_in_range",
    ]
    assert [reject["price"] for reject in read_rejected(lake, "items")] == ["-1.0"]
    day = LATEST.date()
    assert read_quarantine(lake, day, day) == QuarantineCounts(((day, "timestamp_is_in_range", 1),), 3)
