"""Read a version's catalogue and the changes of its items from Redis."""

import asyncio
from typing import Any, Final

import msgspec
import structlog

from recsys.errors import StoreError
from recsys.store.catalogue import read_catalogue
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_list, decode_text
from recsys.store.item_changes import Facts
from recsys.store.keys import Keys, popular_name
from serving.engine.catalogue import Catalogue, catalogue_without_facts

SCAN_COUNT: Final = 1_000
NO_CHANGE: Final = "0-0"

log = structlog.get_logger()


class VersionReader:
    """Reads whole versions, which takes longer than a request may; each method raises `StoreError`."""

    def __init__(self, redis: RedisClient, keys: Keys, not_recommendable: str | None) -> None:
        """Create it; `not_recommendable` is a regular expression of the names of items that are no goods."""
        self._redis, self._keys, self._not_recommendable = redis, keys, not_recommendable

    async def read_catalogue(self, version: str) -> Catalogue:
        """Return the catalogue of a version; one of popular items without facts if it has none."""
        key = self._keys.catalogue(version)
        parts = {
            field: await self._execute_slow("HGET", key, field) for field in await self._execute_slow("HKEYS", key)
        }
        popular = self._keys.ranking(version, popular_name())
        names = None if parts else await self._execute_slow("GET", popular)
        await self._check_kept(version)
        if parts:
            return await asyncio.to_thread(
                lambda: Catalogue(version, read_catalogue(parts), self._not_recommendable)
            )
        return catalogue_without_facts(version, decode_list(names), self._not_recommendable)

    async def _check_kept(self, version: str) -> None:
        """Raise `StoreError` if a version that is no longer live may have been removed while it was read."""
        pointer = await self._execute_slow("GET", self._keys.live)
        if pointer is not None and decode_text(pointer) == version:
            return
        state = await self._execute_slow("HGET", self._keys.versions, version)
        if state is None or not decode_text(state).isdecimal():
            raise StoreError("it is no longer live, and is being removed")

    async def read_changes(self) -> list[tuple[str, Facts]]:
        """Return all item changes ever made online."""
        changes_read: list[tuple[str, Facts]] = []
        cursor = b"0"
        while True:
            cursor, fields = await self._execute_slow("HSCAN", self._keys.items, cursor, "COUNT", SCAN_COUNT)
            for item_id, value in zip(fields[::2], fields[1::2], strict=True):
                changes_read += read_facts(item_id, value)
            if int(cursor) == 0:
                return changes_read

    async def read_last_change(self) -> str:
        """Return the id of the last entry of the stream of item changes."""
        last = await self._execute_slow("XREVRANGE", self._keys.item_changes, "+", "-", "COUNT", 1)
        return decode_text(last[0][0]) if last else NO_CHANGE

    async def has_version(self, version: str) -> bool:
        """Return whether Redis knows of a version."""
        return await self._execute_slow("HGET", self._keys.versions, version) is not None

    async def read_unavailable(self) -> set[str]:
        """Return the set of unavailable items, which others may have added items to."""
        return set(map(decode_text, await self._execute_slow("SMEMBERS", self._keys.unavailable)))

    async def _execute_slow(self, verb: str, key: str, *arguments: str | bytes | int) -> Reply:
        """Execute a command that may take longer than a request is allowed to."""
        (reply,) = await self._redis.execute(key, (verb, key, *arguments))
        return reply


def read_facts(item_id: bytes, value: bytes) -> list[tuple[str, Facts]]:
    """Return an item's change as a list of one; an empty list if it cannot be read."""
    try:
        return [(decode_text(item_id), msgspec.json.decode(value, type=dict[str, Any]))]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.error("item change is not a JSON object", item_id=item_id.decode(errors="replace"))
        return []
