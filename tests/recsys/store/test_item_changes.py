"""Item changes made online: what a catalogue has of them, how they are merged, and the set of unavailable items."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
import redis

from recsys.store.catalogue import CATALOGUE_SCHEMA, parse_version, write_catalogue
from recsys.store.item_changes import MERGE, follow_catalogue, forget_old_changes, newer_facts, remove_available
from recsys.store.keys import Keys

KEYS = Keys("recsys")
AS_OF = datetime(2018, 1, 2, tzinfo=UTC)
YESTERDAY, TODAY = "2018-01-01T12:00:00+00:00", "2018-01-02T12:00:00+00:00"
KNOWN_BEFORE, KNOWN = (datetime.fromisoformat(time) for time in (YESTERDAY, TODAY))
BOTH = {"price": 2.0, "available": False}


def merge(client: redis.Redis, **facts: Any) -> dict[str, Any]:
    """Merge facts over those of an item, and return what is stored of it."""
    client.eval(MERGE, 1, KEYS.items, "tea", msgspec.json.encode(facts))
    return msgspec.json.decode(client.hget(KEYS.items, "tea") or b"")


@pytest.mark.parametrize(
    ("times", "known_until", "expected"),
    [
        ({"changed_at": {"price": TODAY, "available": YESTERDAY}}, KNOWN_BEFORE, {"price": 2.0}),
        ({"changed_at": {"price": TODAY, "available": YESTERDAY}}, KNOWN, {}),
        ({"changed_at": {"price": TODAY, "available": YESTERDAY}}, None, BOTH),
        ({"changed_at": {"price": TODAY}}, KNOWN, {"available": False}),
        ({"updated_at": TODAY}, KNOWN_BEFORE, BOTH),
        ({"updated_at": TODAY}, KNOWN, {}),
        ({"updated_at": TODAY}, None, BOTH),
        ({"updated_at": YESTERDAY}, None, {}),
        ({}, None, BOTH),
        ({}, KNOWN, BOTH),
    ],
)
def test_newer_facts_are_those_that_the_catalogue_does_not_have(
    times: dict[str, Any], known_until: datetime | None, expected: dict[str, Any]
) -> None:
    assert newer_facts({**BOTH, **times}, known_until, AS_OF) == expected


def test_each_fact_keeps_the_time_of_its_own_change(valkey: redis.Redis) -> None:
    merge(valkey, available=False, price=1.0, updated_at=YESTERDAY)
    assert merge(valkey, price=2.0, updated_at=TODAY) == {
        **BOTH,
        "updated_at": TODAY,
        "changed_at": {"available": YESTERDAY, "price": TODAY},
    }


def test_facts_of_an_earlier_version_keep_their_one_time(valkey: redis.Redis) -> None:
    valkey.hset(KEYS.items, "tea", msgspec.json.encode({"available": False, "updated_at": YESTERDAY}))
    assert merge(valkey, price=2.0, updated_at=TODAY)["changed_at"] == {"available": YESTERDAY, "price": TODAY}


def test_a_change_that_is_not_later_than_the_stored_one_is_refused_with_its_time(valkey: redis.Redis) -> None:
    stored = merge(valkey, price=2.0, updated_at=TODAY)
    refused = msgspec.json.encode({"price": 3.0, "updated_at": YESTERDAY})
    assert valkey.eval(MERGE, 1, KEYS.items, "tea", refused) == TODAY.encode()
    assert msgspec.json.decode(valkey.hget(KEYS.items, "tea") or b"") == stored


def test_old_changes_are_forgotten_unless_they_switch_off_what_the_catalogue_has(
    valkey: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "catalogue.parquet"
    rows = [
        {"item_id": "known", "available": True, "changed_online_at": KNOWN_BEFORE},
        {"item_id": "off", "available": True},
        {"item_id": "off by both", "available": False},
        {"item_id": "lately", "available": True},
    ]
    pl.DataFrame(rows, schema=CATALOGUE_SCHEMA).write_parquet(file)
    off = {"available": False, "updated_at": YESTERDAY, "changed_at": {"available": YESTERDAY}}
    changes = {"known": off, "off": off, "off by both": off, "new": {"price": 1.0, "updated_at": YESTERDAY}}
    changes["lately"] = {"price": 1.0, "updated_at": TODAY}
    valkey.hset(KEYS.items, mapping={item_id: msgspec.json.encode(each) for item_id, each in changes.items()})
    assert forget_old_changes(valkey, KEYS, file, AS_OF) == 3
    assert set(valkey.hkeys(KEYS.items)) == {b"off", b"lately"}


def test_items_that_the_catalogue_has_available_again_leave_the_set(valkey: redis.Redis, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.parquet"
    rows = [
        {"item_id": "on again", "available": True, "changed_online_at": KNOWN},
        {"item_id": "off since", "available": True, "changed_online_at": KNOWN_BEFORE},
        {"item_id": "still off", "available": False, "changed_online_at": KNOWN},
        {"item_id": "in stock", "stock": 2.0, "changed_online_at": KNOWN},
        {"item_id": "sold out", "stock": 0.0, "changed_online_at": KNOWN},
        {"item_id": "of a backend", "available": True},
    ]
    pl.DataFrame(rows, schema=CATALOGUE_SCHEMA).write_parquet(file)
    change = {"available": False, "updated_at": TODAY, "changed_at": {"available": TODAY}}
    for row in rows[:-1]:
        valkey.hset(KEYS.items, row["item_id"], msgspec.json.encode(change))
    valkey.hset(KEYS.items, "unknown", msgspec.json.encode(change))
    valkey.sadd(KEYS.unavailable, "unknown", *(row["item_id"] for row in rows))
    assert remove_available(valkey, KEYS, file, AS_OF) == 2
    left = {"off since", "still off", "sold out", "of a backend", "unknown"}
    assert valkey.smembers(KEYS.unavailable) == {item_id.encode() for item_id in left}


@pytest.mark.parametrize(
    ("version", "as_of"),
    [
        ("20180102T000000Z", AS_OF),
        ("20180102T000000.000001Z", AS_OF.replace(microsecond=1)),
        ("20181302T000000Z", datetime.min.replace(tzinfo=UTC)),
        ("static", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_the_time_of_a_version_is_in_its_name(version: str, as_of: datetime) -> None:
    assert parse_version(version) == as_of


def test_the_set_follows_the_latest_catalogue_when_an_older_version_goes_live(
    valkey: redis.Redis, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    rows = {"sold out since": 0.0, "on": 2.0, "on again": 2.0, "off online": 2.0, "in no list": 0.0}
    listed = [{"item_id": item_id, "stock": 1.0} for item_id in rows if item_id != "in no list"]
    pl.DataFrame(listed, schema=CATALOGUE_SCHEMA).write_parquet(old)
    latest = [
        {"item_id": item_id, "stock": stock, "changed_online_at": KNOWN if item_id == "on again" else None}
        for item_id, stock in rows.items()
    ]
    catalogue = pl.DataFrame(latest, schema=CATALOGUE_SCHEMA)
    write_catalogue(valkey, KEYS, "old", old)
    change = {"stock": 0, "updated_at": TODAY, "changed_at": {"stock": TODAY}}
    for item_id in ("on again", "off online"):
        valkey.hset(KEYS.items, item_id, msgspec.json.encode(change))
    valkey.sadd(KEYS.unavailable, "on again", "off online", "of a backend")
    for _ in range(2):
        assert follow_catalogue(valkey, KEYS, "old", catalogue) == 1
        assert valkey.smembers(KEYS.unavailable) == {b"sold out since", b"off online", b"of a backend"}
    catalogue.with_columns(stock=2.0).write_parquet(new)
    assert remove_available(valkey, KEYS, new, AS_OF) == 0
    assert valkey.smembers(KEYS.unavailable) == {b"off online", b"of a backend"}
