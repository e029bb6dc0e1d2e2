"""Entries of the online event stream, and archives of them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import redis

from jobs.ingest.stream import ArchiveResult, archive
from jobs.lake.lake import Lake
from recsys.settings import Sources
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
FLAG = {
    "user_id": "bob",
    "score": 97.5,
    "reasons": ["214 events in 10 s"],
    "timestamp": "2017-12-31T10:00:00.5Z",
    "shadow": False,
}
LABEL = {"user_id": "bob", "label": "bot", "labelled_at": "2017-12-31T10:00:00.5Z"}


def append(client: redis.Redis, field: str, *values: Any, entry_id: str = "*") -> None:
    """Append an entry for each value to the stream; bytes as they are, other values in JSON."""
    for value in values:
        client.xadd(KEYS.events, {field: value if isinstance(value, bytes) else json.dumps(value)}, id=entry_id)


def archive_stream(lake: Lake, client: redis.Redis) -> ArchiveResult:
    """Archive the stream, and return the result without its time."""
    return replace(archive(lake, SOURCES, client, KEYS, LATEST), seconds=0.0)


def read_rejected(lake: Lake, kind: str) -> list[dict[str, Any]]:
    """Return the quarantined rows of a kind, which are in one file."""
    (file,) = (lake.directory / "quarantine").glob(f"online-{kind}-*.parquet")
    return pl.read_parquet(file).to_dicts()
