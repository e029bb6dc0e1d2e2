"""A person with marks in every place that the engine writes, and a search for these marks."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import redis

from recsys.store.embedded import start_server
from recsys.store.keys import EVENT_FIELD, FLAG_FIELD, IDENTITY_FIELD, IMPRESSIONS_FIELD, LABEL_FIELD, Keys
from tests.event_stream import EVENT, FLAG, LABEL, SHOWN, append
from tests.shop import write_shop_catalogue, write_shop_events

KEYS = Keys("recsys")
PERSON, GUEST = "erin-4711", "guest:phone-of-4711"
MARKS = (PERSON, GUEST)
SETTINGS = """
models = ["popularity", "item_knn", "repurchase"]
[evaluation]
validation_days = 7
test_days = 7
[search]
max_trials = 0
[sources]
max_bad_rows = 1.0
"""


def write_shop(directory: Path) -> Path:
    """Write thirty days of 80 customers and a catalogue."""
    directory.mkdir()
    write_shop_events(directory / "events.parquet", 70, 100)
    write_shop_catalogue(directory)
    return directory


def write_person(directory: Path) -> Path:
    """Write files that give a person events, attributes, a guest and rows that break a rule."""
    directory.mkdir()
    given = [(PERSON, f"item{day}", "purchase", f"2026-04-{day:02}T10:00:00Z") for day in range(1, 11)]
    given += [(GUEST, "item2", "view", "2026-04-01T09:00:00Z"), (PERSON, "item3", "purchase", "no time")]
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(given, columns, orient="row").write_csv(directory / "events.csv")
    users = {"user_id": [PERSON, "user2"], "attributes": ['{"shoe":41}', '{"shoe":42}']}
    pl.DataFrame(users).write_csv(directory / "users.csv")
    return directory


def connect(directory: Path) -> redis.Redis:
    """Connect to the embedded server of a data directory."""
    address = start_server(directory / "valkey")
    return redis.Redis(host=address.host, port=address.port)


def plant_online(client: redis.Redis) -> None:
    """Put everything into Redis that a server writes about a person."""
    append(client, EVENT_FIELD, {**EVENT, "user_id": PERSON, "event_id": "e1"}, {**EVENT, "user_id": GUEST})
    append(client, IMPRESSIONS_FIELD, {**SHOWN, "user_id": PERSON})
    append(client, FLAG_FIELD, {**FLAG, "user_id": PERSON})
    append(client, LABEL_FIELD, {**LABEL, "user_id": PERSON, "label": "fine"})
    identity = {"guest_id": GUEST, "user_id": PERSON, "timestamp": "2026-04-02T10:00:00Z"}
    append(client, IDENTITY_FIELD, identity, b'{"guest_id": "torn ' + PERSON.encode())
    client.zadd(KEYS.session(PERSON), {"e1 tea view": 1_514_764_799_123})
    client.hset(KEYS.event_ids(PERSON), "e1", "17")
    client.set(KEYS.alias(GUEST), PERSON)
    client.set(KEYS.suspect(PERSON), "allowed")
    client.sadd(KEYS.unflaggable, PERSON)


def plant_in_files(directory: Path) -> None:
    """Put marks into files that name persons only at times: a report, a record of a source, killed runs."""
    (report,) = directory.glob("runs/*/report/report.html")
    report.write_text(f'{report.read_text()}<span class="id">{PERSON}</span>')
    record = next(iter((directory / "lake" / "sources").glob("events-*.json")))
    findings = [f"user {PERSON} has 90% of the events (7): one id for many people?", "something else"]
    record.write_text(json.dumps({**json.loads(record.read_text()), "findings": findings}))
    for killed in (report.parents[1] / ".features.7.partial", directory / "dry-run"):
        killed.mkdir()
        (killed / "rows.parquet").write_text(PERSON)


def find_marks(directory: Path, client: redis.Redis) -> list[str]:
    """Return the files and keys with a mark of the person: in raw bytes, or in any text of a Parquet file."""
    files = [file for file in directory.rglob("*") if file.is_file() and _has_mark(file)]
    keys = [key for key in client.scan_iter() if _holds_mark(client, key)]
    return [*(file.relative_to(directory).as_posix() for file in files), *map(str, keys)]


def _has_mark(file: Path) -> bool:
    raw = file.read_bytes()
    if any(mark.encode() in raw for mark in MARKS):
        return True
    return file.suffix == ".parquet" and any(mark in text for text in _texts_of(file) for mark in MARKS)


def _texts_of(file: Path) -> Iterator[str]:
    rows = pl.read_parquet(file, glob=False, hive_partitioning=False)
    for column in rows.iter_columns():
        if column.dtype == pl.String():
            yield from map(str, column.unique().to_list())
        elif not (column.dtype.is_numeric() or column.dtype.is_temporal()):
            yield from map(str, column.to_list())


def _holds_mark(client: redis.Redis, key: bytes) -> bool:
    reads: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    kind: Any = client.type(key)
    text = f"{key!r} {reads[kind](key)!r}"
    return any(mark in text for mark in MARKS)
