"""Items changed online: price, category, brand, title and availability."""

from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from recsys.errors import StoreError
from recsys.schema import AVAILABLE, CATEGORY_SEPARATOR, ITEM_ID, PRICE
from recsys.store.client.client import RedisClient
from recsys.store.keys import ITEM_FIELD, Keys
from serving.engine.catalogue_sync import UPDATED_AT
from serving.intake.load_shedding import LoadShedder
from serving.requests import InvalidValueError

KEPT_CHANGES: Final = 10_000
"""Length of the stream that workers learn of changes from."""
# Merges new facts of an item over the stored ones atomically.
MERGE: Final = """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local facts = stored and cjson.decode(stored) or {}
for name, value in pairs(cjson.decode(ARGV[2])) do facts[name] = value end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(facts))
return 1
"""

Text = Annotated[str, Meta(min_length=1, max_length=1_000)]

Level = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=f"^[^{CATEGORY_SEPARATOR}]*$")]


class ItemChange(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Facts of an item; a fact that is not given stays as it is."""

    available: bool | UnsetType = UNSET
    price: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    category: Annotated[list[Level], Meta(min_length=1, max_length=20)] | UnsetType = UNSET
    brand: Text | UnsetType = UNSET
    title: Text | UnsetType = UNSET


class ItemWriter:
    """Writes item changes to the keys that all workers, a restarted server and the next nightly run read."""

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        load_shedder: LoadShedder,
        now: Callable[[], float],
        on_change: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Create the writer.

        `redis` has the timeout of writes; `now` returns Unix seconds; `on_change` is called with an item and its
        facts after each change.
        """
        self._redis, self._keys, self._load_shedder = redis, keys, load_shedder
        self._now, self._on_change = now, on_change

    async def put(self, item_id: str, change: ItemChange) -> datetime:
        """Write a change of an item, and return the time it was made.

        Raises `InvalidValueError`, and `StoreError` if Redis does not take the change: part of it may then be
        written, and it may be sent again.
        """
        facts = _validate_facts(change)
        time = datetime.fromtimestamp(self._now(), UTC)
        facts[UPDATED_AT] = time.isoformat()
        try:
            await self._write(item_id, facts)
        except StoreError as error:
            if "OOM" in str(error):
                self._load_shedder.report_full()
            raise
        self._on_change(item_id, facts)
        return time

    async def _write(self, item_id: str, facts: dict[str, Any]) -> None:
        """Write facts to the set of unavailable items, the hash of changes, and the two streams.

        Workers follow the stream of item changes, so it comes after what they read at a start.
        """
        keys, encoded = self._keys, msgspec.json.encode(facts)
        if AVAILABLE in facts:
            verb = "SREM" if facts[AVAILABLE] else "SADD"
            await self._redis.execute(keys.unavailable, (verb, keys.unavailable, item_id))
        await self._redis.execute(keys.items, ("EVAL", MERGE, 1, keys.items, item_id, encoded))
        change = ("XADD", keys.item_changes, "MAXLEN", "~", KEPT_CHANGES, "*", item_id, encoded)
        await self._redis.execute(keys.item_changes, change)
        archived = msgspec.json.encode({ITEM_ID: item_id, **facts})
        await self._redis.execute(keys.events, ("XADD", keys.events, "*", ITEM_FIELD, archived))


def _validate_facts(change: ItemChange) -> dict[str, Any]:
    """Return the facts of a change; raises `InvalidValueError` if there is none or the price is infinite."""
    facts: dict[str, Any] = msgspec.to_builtins(change)
    if not facts:
        raise InvalidValueError("body", "{}", "some of available, price, category, brand, title")
    if not isfinite(facts.get(PRICE, 0.0)):
        raise InvalidValueError(PRICE, str(facts[PRICE]), "a finite number not below 0")
    return facts
