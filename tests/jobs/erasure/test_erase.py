"""Erasing persons: nothing of them is left anywhere, and the next night is one that never knew them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import redis

from recsys.store.embedded import start_server
from recsys.store.keys import (
    EVENT_FIELD,
    FLAG_FIELD,
    IDENTITY_FIELD,
    IMPRESSIONS_FIELD,
    LABEL_FIELD,
    Keys,
)
from tests.event_stream import EVENT, FLAG, LABEL, SHOWN, append
from tests.jobs.conftest import FinishedNight, Recsys

KEYS = Keys("recsys")
PERSON = "erin-4711"
GUEST = "guest:phone-of-4711"
MARKS = (PERSON, GUEST)


def test_nothing_of_a_person_is_left_in_any_file_or_key(
    recsys: Recsys, data_directory: Path, finished_night: Callable[[str], FinishedNight], tmp_path: Path
) -> None:
    night = finished_night("exclude")
    night.copy(data_directory)
    config = ("--config", night.settings)
    files = write_person(tmp_path / "person")
    assert recsys(*config, "ingest", files).returncode == 0
    client = connect(data_directory)
    plant_online(client)
    assert recsys(*config, "archive").returncode == 0
    plant_online(client)
    assert recsys(*config, "nightly", "--as-of", "2026-04-12").returncode == 0
    plant_online(client)
    before = places_of(data_directory, client)

    exported = json.loads(recsys(*config, "export", PERSON).stdout)
    done = recsys(*config, "erase", PERSON, "--json")

    assert done.returncode == 0, done.stderr
    assert places_of(data_directory, client) == []
    (erased,) = json.loads(done.stdout)
    held = {name for name, count in erased["receipt"]["counts"].items() if count}
    assert held == {name for name, rows in exported["places"].items() if rows}
    assert len(before) > len(held) >= 14
    assert PERSON not in Path(erased["file"]).read_text()


def write_person(directory: Path) -> Path:
    """Write files that give a person events, attributes, a guest and rows that break a rule."""
    directory.mkdir()
    given = [(PERSON, "item1", "purchase", f"2026-04-0{day}T10:00:00Z") for day in range(1, 9)]
    given += [(GUEST, "item2", "view", "2026-04-01T09:00:00Z"), (PERSON, "item3", "purchase", "no time")]
    given += [("user1", "item4", "view", "2026-04-02T09:00:00Z")]
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(given, columns, orient="row").write_csv(directory / "events.csv")
    users = {"user_id": [PERSON, "user2"], "attributes": ['{"shoe":41}', '{"shoe":42}']}
    pl.DataFrame(users).write_csv(directory / "users.csv")
    return directory


def connect(directory: Path) -> redis.Redis:
    address = start_server(directory / "valkey")
    return redis.Redis(host=address.host, port=address.port)


def plant_online(client: redis.Redis) -> None:
    """Put everything into Redis that a server writes about a person."""
    append(client, EVENT_FIELD, {**EVENT, "user_id": PERSON, "event_id": "e1"}, {**EVENT, "user_id": GUEST})
    append(client, IMPRESSIONS_FIELD, {**SHOWN, "user_id": PERSON})
    append(client, FLAG_FIELD, {**FLAG, "user_id": PERSON})
    append(client, LABEL_FIELD, {**LABEL, "user_id": PERSON, "label": "fine"})
    identity = {"guest_id": GUEST, "user_id": PERSON, "timestamp": "2026-04-02T10:00:00Z"}
    append(client, IDENTITY_FIELD, identity)
    client.zadd(KEYS.session(PERSON), {"e1 tea view": 1_514_764_799_123})
    client.hset(KEYS.event_ids(PERSON), "e1", "17")
    client.set(KEYS.alias(GUEST), PERSON)
    client.set(KEYS.suspect(PERSON), "allowed")
    client.sadd(KEYS.unflaggable, PERSON)


def places_of(directory: Path, client: redis.Redis) -> list[str]:
    """Return the files and keys in which a mark of the person is: raw bytes, and all text in Parquet files."""
    files = [file for file in directory.rglob("*") if file.is_file() and has_mark(file)]
    keys = [key for key in client.scan_iter() if holds_mark(client, key)]
    return [*map(str, files), *map(str, keys)]


def has_mark(file: Path) -> bool:
    raw = file.read_bytes()
    if any(mark.encode() in raw for mark in MARKS):
        return True
    return file.suffix == ".parquet" and any(mark in text for text in texts_of(file) for mark in MARKS)


def texts_of(file: Path) -> Iterator[str]:
    rows = pl.read_parquet(file, glob=False, hive_partitioning=False)
    for column in rows.iter_columns():
        if not column.dtype.is_numeric():
            yield from (
                map(str, column.unique().to_list()) if column.dtype == pl.String() else map(str, column.to_list())
            )


def holds_mark(client: redis.Redis, key: bytes) -> bool:
    reads: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    text = f"{key!r} {reads[client.type(key)](key)!r}"
    return any(mark in text for mark in MARKS)
