"""The changes made online: applied to a catalogue, and put right in Redis where that has lost a part of them.

The hash of changes says more than the set of unavailable items, which follows it. A write to the set is checked
against the hash afterwards: whoever changes an item writes the hash before the set, so no write stays wrong.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog

from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.item_changes import PUT_BACK, Facts, newer_facts
from recsys.store.keys import Keys
from recsys.store.resp import Command
from serving.engine.catalogue import Catalogue
from serving.engine.version_reader import read_facts

ITEMS_PER_COMMAND: Final = 500
MAX_TRIES: Final = 10
"""How often the set is written again because an item was changed meanwhile."""
KEPT_CHANGES: Final = 10_000
"""Length of the stream that workers learn of changes from."""

# Returns 1 if one of the items is not in a set or hash; ARGV[1] is the command that looks for an item.
LACKS: Final = """
for index = 2, #ARGV do
  local found = redis.call(ARGV[1], KEYS[1], ARGV[index])
  if not found or found == 0 then return 1 end
end
return 0
"""

Value = TypeVar("Value")
Decide = Callable[[str, Facts], bool]

log = structlog.get_logger()


class StoredChanges:
    """The set of unavailable items and the hash of changes in Redis; each method raises `StoreError`."""

    def __init__(self, redis: RedisClient, keys: Keys) -> None:
        """Create it; `redis` has the timeout of whole catalogues."""
        self._redis, self._keys = redis, keys

    async def lacks(self, item_ids: Sequence[str]) -> bool:
        """Return whether the set or the hash lacks some of the items, which are switched off."""
        for key, verb in ((self._keys.unavailable, "SISMEMBER"), (self._keys.items, "HGET")):
            for part in _parts(item_ids):
                (reply,) = await self._redis.execute(key, ("EVAL", LACKS, 1, key, verb, *part))
                if reply:
                    return True
        return False

    async def put_right(self, catalogue: Catalogue, lost: Mapping[str, Facts], wrong: Collection[str]) -> None:
        """Write lost changes, and correct the set of unavailable items where it contradicts a catalogue."""
        await self._put_back(lost)
        await self._correct({*wrong, *lost}, partial(is_available_after, catalogue))

    async def _put_back(self, lost: Mapping[str, Facts]) -> None:
        key = self._keys.items
        for part in _parts(list(lost.items())):
            commands: list[Command] = [
                ("EVAL", PUT_BACK, 1, key, item_id, msgspec.json.encode(facts)) for item_id, facts in part
            ]
            await self._redis.execute(key, *commands)

    async def _correct(self, item_ids: Collection[str], decide: Decide) -> None:
        """Make the set agree with the hash about some items; those that a rollback has added stay in the set.

        `decide` tells whether an item is available after a change.
        """
        if not item_ids:
            return
        log.warning("the set of unavailable items is corrected", items=len(item_ids))
        key = self._keys.unavailable_since_rollback
        (added,) = await self._redis.execute(key, ("SMEMBERS", key))
        kept = set(map(decode_text, added))
        for part in _parts(sorted(item_ids)):
            await self._correct_part(part, decide, kept)

    async def _correct_part(self, item_ids: Sequence[str], decide: Decide, kept: set[str]) -> None:
        before = await self._read_values(item_ids)
        for _ in range(MAX_TRIES):
            states = {item_id: decide(item_id, facts) for item_id, facts in _decode(before)}
            available = [
                item_id for item_id, is_available in states.items() if is_available and item_id not in kept
            ]
            await self._write("SREM", available)
            await self._write("SADD", [item_id for item_id, is_available in states.items() if not is_available])
            await self._announce(before)
            after = await self._read_values(list(before))
            before = {item_id: value for item_id, value in after.items() if value != before[item_id]}
            if not before:
                return

    async def _read_values(self, item_ids: Sequence[str]) -> dict[str, Reply]:
        key = self._keys.items
        commands: list[Command] = [("HGET", key, item_id) for item_id in item_ids]
        return dict(zip(item_ids, await self._redis.execute(key, *commands), strict=True))

    async def _write(self, verb: str, item_ids: Sequence[str]) -> None:
        if item_ids:
            await self._redis.execute(self._keys.unavailable, (verb, self._keys.unavailable, *item_ids))

    async def _announce(self, values: Mapping[str, Reply]) -> None:
        """Tell the other workers in a Cluster, where the last part of a change may not have been written."""
        key = self._keys.item_changes
        commands: list[Command] = [
            ("XADD", key, "MAXLEN", "~", KEPT_CHANGES, "*", item_id, value)
            for item_id, value in values.items()
            if isinstance(value, bytes)
        ]
        if commands and self._redis.is_cluster:
            await self._redis.execute(key, *commands)


def apply_changes(catalogue: Catalogue, changes: Iterable[tuple[str, Facts]]) -> None:
    """Apply changes in order to a catalogue, except those that its version already includes."""
    merged: dict[str, Facts] = {}
    for item_id, change in changes:
        facts = newer_facts(change, catalogue.known_changes.get(item_id), catalogue.as_of)
        if facts:
            merged[item_id] = {**merged.get(item_id, {}), **facts}
    catalogue.put(merged)


def is_available_after(catalogue: Catalogue, item_id: str, change: Facts) -> bool:
    """Return whether an item is available after a change, without applying it."""
    facts = newer_facts(change, catalogue.known_changes.get(item_id), catalogue.as_of)
    return catalogue.would_be_available(item_id, facts)


def _parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    return (values[start : start + ITEMS_PER_COMMAND] for start in range(0, len(values), ITEMS_PER_COMMAND))


def _decode(values: Mapping[str, Reply]) -> list[tuple[str, Facts]]:
    return [
        change
        for item_id, value in values.items()
        if isinstance(value, bytes)
        for change in read_facts(item_id.encode(), value)
    ]
