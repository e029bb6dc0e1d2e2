"""Changes of items made online, as Redis keeps them, and which of them a published catalogue does not have yet."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator, Mapping
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from recsys.availability import NOT_GIVEN, decide_availability
from recsys.schema import AVAILABLE, CHANGED_ONLINE_AT, ITEM_ID, STOCK
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys

UPDATED_AT: Final = "updated_at"
CHANGED_AT: Final = "changed_at"
"""Field of an item's changes: fact -> time of its last change."""
ITEMS_PER_READ: Final = 1_000

Facts = Mapping[str, Any]

# Merges new facts of an item over the stored ones atomically, with the time of each.
MERGE: Final = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local facts = stored and cjson.decode(stored) or {}
local given, times = cjson.decode(ARGV[2]), facts.changed_at
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
return 1
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
    known = known.with_columns(missing).select(ITEM_ID, AVAILABLE, STOCK, CHANGED_ONLINE_AT)
    removed = 0
    with store_errors(client):
        for item_ids in _unavailable(client, keys):
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


def _unavailable(client: Client, keys: Keys) -> Iterator[list[str]]:
    """Yield the unavailable items in parts."""
    cursor: Any = 0
    while True:
        reply: Any = client.sscan(keys.unavailable, cursor, count=ITEMS_PER_READ)
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
