"""Changes of items made online, as Redis keeps them, and which of them a published catalogue does not have yet."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from recsys.availability import NOT_GIVEN, decide_availability, is_available
from recsys.schema import AVAILABLE, CHANGED_ONLINE_AT, ITEM_ID, STOCK
from recsys.store.catalogue import read_catalogue
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys

UPDATED_AT: Final = "updated_at"
CHANGED_AT: Final = "changed_at"
"""Field of an item's changes: fact -> time of its last change."""
ITEMS_PER_READ: Final = 1_000
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
NOTHING: Final = {AVAILABLE: None, STOCK: None, CHANGED_ONLINE_AT: None}

Facts = Mapping[str, Any]

# Merges new facts of an item over the stored ones atomically, with the time of each. A change that is not after the
# stored one is refused, with the time of that: clocks of servers differ, and the last change has to be the latest.
# ARGV[3] is the number of items at which no new one is stored; 0 for no limit.
MERGE: Final = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local limit = tonumber(ARGV[3] or '0')
if not stored and limit > 0 and redis.call('HLEN', KEYS[1]) >= limit then return 'full' end
local facts = stored and cjson.decode(stored) or {}
local given, times = cjson.decode(ARGV[2]), facts.changed_at
if facts.updated_at and facts.updated_at >= given.updated_at then return facts.updated_at end
if not times then
  times = {}
  for name in pairs(facts) do if name ~= 'updated_at' then times[name] = facts.updated_at end end
end
for name, value in pairs(given) do
  facts[name] = value
  if name ~= 'updated_at' then times[name] = given.updated_at end
end
facts.changed_at = times
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(facts))
"""
FULL: Final = b"full"
"""Reply of `MERGE` when there is no room for another item."""

# The same, and all that follows from the change. KEYS[2] is the set of unavailable items, which ARGV[4] adds the
# item to or removes it from (empty if neither). KEYS[3] is the stream of changes, kept at ARGV[5] entries, which
# gets ARGV[6]. KEYS[4] is the stream of events, which gets ARGV[8] in the field ARGV[7].
MERGE_AND_ANNOUNCE: Final = (
    MERGE
    + """
if ARGV[4] ~= '' then redis.call(ARGV[4], KEYS[2], ARGV[1]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', ARGV[1], ARGV[6])
redis.call('XADD', KEYS[4], '*', ARGV[7], ARGV[8])
return 1
"""
)

# Puts lost facts of an item back atomically, except those that were changed since; ARGV[2] has their time.
PUT_BACK: Final = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local facts = stored and cjson.decode(stored) or {}
local given, times = cjson.decode(ARGV[2]), facts.changed_at
if not times then
  times = {}
  for name in pairs(facts) do if name ~= 'updated_at' then times[name] = facts.updated_at end end
end
for name, value in pairs(given) do
  if name ~= 'updated_at' and (not times[name] or times[name] < given.updated_at) then
    facts[name], times[name] = value, given.updated_at
  end
end
if not facts.updated_at or facts.updated_at < given.updated_at then facts.updated_at = given.updated_at end
facts.changed_at = times
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(facts))
return 1
"""


def format_time(time: datetime) -> str:
    """Return the time of a change, always with microseconds: the texts of later times are greater."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


# Removes the changes of an item, unless there are others by now.
FORGET: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


def newer_facts(change: Facts, known_until: datetime | None, as_of: datetime) -> dict[str, Any]:
    """Return the facts of a change that a catalogue does not have yet, without their times.

    `known_until` is the time of the item's last online change that the catalogue has; None if it has none, and all
    changes are newer. Changes that an earlier version wrote, with one time for all facts, then count from `as_of`
    on. A fact without a time always counts.
    """
    updated_at: str | None = change.get(UPDATED_AT)
    times: Mapping[str, str] | None = change.get(CHANGED_AT)
    facts = {name: value for name, value in change.items() if name not in (UPDATED_AT, CHANGED_AT)}
    if times is not None:
        return {name: value for name, value in facts.items() if _is_newer(times.get(name), known_until)}
    if known_until is not None:
        return facts if _is_newer(updated_at, known_until) else {}
    return facts if updated_at is None or datetime.fromisoformat(updated_at) >= as_of else {}


def remove_available(client: Client, keys: Keys, catalogue: Path, as_of: datetime) -> int:
    """Remove the items from the set of unavailable ones that a catalogue knows to be available again.

    An item that was never changed by `PUT /v1/items` stays; whoever added it removes it. Returns their number.
    """
    known = pl.read_parquet(catalogue, glob=False)
    missing = [pl.lit(None).alias(name) for name in (STOCK, CHANGED_ONLINE_AT) if name not in known.columns]
    with store_errors(client):
        _remove_added_by_rollback(client, keys)
    return _remove_available(client, keys, known.with_columns(missing), as_of)


def forget_old_changes(client: Client, keys: Keys, catalogue: Path, before: datetime) -> int:
    """Remove the changes of items that were last changed before a time: from then on the catalogue says it all.

    Returns their number. A change by which an item is unavailable stays as long as the catalogue has the item as
    available without it.
    """
    known = pl.read_parquet(catalogue, glob=False)
    missing = [pl.lit(None).alias(name) for name in (STOCK, CHANGED_ONLINE_AT) if name not in known.columns]
    facts = known.with_columns(missing).select(ITEM_ID, AVAILABLE, STOCK, CHANGED_ONLINE_AT)
    removed = 0
    with store_errors(client):
        for changes in _all_changes(client, keys):
            rows = facts.filter(pl.col(ITEM_ID).is_in(list(changes))).rows_by_key(ITEM_ID, named=True, unique=True)
            for item_id, value in changes.items():
                change = msgspec.json.decode(value, type=dict[str, Any])
                if _is_before(change, before) and not _is_needed(rows.get(item_id), change):
                    forget: Any = client.eval(FORGET, 1, keys.items, item_id, value)
                    removed += int(forget)
    return removed


def follow_catalogue(client: Client, keys: Keys, version: str, catalogue: pl.DataFrame) -> int:
    """Make the set of unavailable items agree with the latest catalogue before an older version goes live.

    `catalogue` has the columns `item_id`, `available`, `stock` and `changed_online_at`. An item that the version
    has as available and the catalogue has not is added, until the next publish. Returns the number of such items.
    """
    _remove_available(client, keys, catalogue, EARLIEST)
    added = 0
    with store_errors(client):
        _remove_added_by_rollback(client, keys)
        values: Any = client.hgetall(keys.catalogue(version))
        listed = read_catalogue(values).filter(is_available())[ITEM_ID]
        gone = catalogue.filter(~is_available() & pl.col(ITEM_ID).is_in(listed.implode()))
        for rows in gone.iter_slices(ITEMS_PER_READ):
            changes = _changes(client, keys, rows[ITEM_ID].to_list())
            item_ids = [
                row[ITEM_ID]
                for row in rows.iter_rows(named=True)
                if not _is_available(row, changes[row[ITEM_ID]], EARLIEST)
            ]
            if item_ids:
                new = [
                    item_id
                    for item_id, is_member in zip(
                        item_ids, client.smismember(keys.unavailable, item_ids), strict=True
                    )
                    if not is_member
                ]
                if new:
                    client.sadd(keys.unavailable_since_rollback, *new)
                    added += int(client.sadd(keys.unavailable, *new))  # type: ignore[arg-type]
    return added


def _remove_added_by_rollback(client: Client, keys: Keys) -> None:
    """Remove the items from the set that a rollback added and that were not changed online."""
    for item_ids in _members(client, keys.unavailable_since_rollback):
        changes = _changes(client, keys, item_ids)
        unchanged = [item_id for item_id in item_ids if not changes[item_id]]
        if unchanged:
            client.srem(keys.unavailable, *unchanged)
            after = _changes(client, keys, unchanged)
            again = [
                item_id
                for item_id, change in after.items()
                if change and not _is_available(NOTHING, change, EARLIEST)
            ]
            if again:
                client.sadd(keys.unavailable, *again)
    client.delete(keys.unavailable_since_rollback)


def _remove_available(client: Client, keys: Keys, catalogue: pl.DataFrame, as_of: datetime) -> int:
    known = catalogue.select(ITEM_ID, AVAILABLE, STOCK, CHANGED_ONLINE_AT)
    removed = 0
    with store_errors(client):
        for item_ids in _members(client, keys.unavailable):
            rows = known.filter(pl.col(ITEM_ID).is_in(item_ids)).rows_by_key(ITEM_ID, named=True, unique=True)
            before = _changes(client, keys, item_ids)
            available = [
                item_id
                for item_id, change in before.items()
                if change and item_id in rows and _is_available(rows[item_id], change, as_of)
            ]
            if not available:
                continue
            removed += int(client.srem(keys.unavailable, *available))  # type: ignore[arg-type]
            # A change that is written to the hash first, and then to the set, may have come in between.
            after = _changes(client, keys, available)
            again = [
                item_id for item_id, change in after.items() if not _is_available(rows[item_id], change, as_of)
            ]
            if again:
                client.sadd(keys.unavailable, *again)
    return removed


def _is_newer(time: str | None, known_until: datetime | None) -> bool:
    return time is None or known_until is None or datetime.fromisoformat(time) > known_until


def _is_available(row: Facts, change: Facts, as_of: datetime) -> bool:
    facts = {**row, **newer_facts(change, row[CHANGED_ONLINE_AT], as_of)}
    given, stock = facts[AVAILABLE], facts[STOCK]
    return bool(decide_availability(NOT_GIVEN if given is None else given, nan if stock is None else stock))


def _is_before(change: Facts, before: datetime) -> bool:
    updated_at: str | None = change.get(UPDATED_AT)
    return updated_at is not None and datetime.fromisoformat(updated_at) < before


def _is_needed(row: Facts | None, change: Facts) -> bool:
    """Return whether a change keeps an item from being shown that the catalogue has as available."""
    if row is None or not _is_available(row, {}, EARLIEST):
        return False
    return not _is_available(row, change, EARLIEST)


def _all_changes(client: Client, keys: Keys) -> Iterator[dict[str, bytes]]:
    """Yield the changes of all items in parts, as Redis has them."""
    cursor: Any = 0
    while True:
        reply: Any = client.hscan(keys.items, cursor, count=ITEMS_PER_READ)
        cursor, values = reply
        if values:
            yield {decode_text(item_id): value for item_id, value in values.items()}
        if int(cursor) == 0:
            return


def _members(client: Client, key: str) -> Iterator[list[str]]:
    """Yield the items of a set in parts."""
    cursor: Any = 0
    while True:
        reply: Any = client.sscan(key, cursor, count=ITEMS_PER_READ)
        cursor, members = reply
        if members:
            yield [decode_text(member) for member in members]
        if int(cursor) == 0:
            return


def _changes(client: Client, keys: Keys, item_ids: list[str]) -> dict[str, Facts]:
    """Return the changes of items made online; an empty one for an item without a change."""
    values: Any = client.hmget(keys.items, item_ids)
    decoded = (msgspec.json.decode(value, type=dict[str, Any]) if value else {} for value in values)
    return dict(zip(item_ids, decoded, strict=True))
