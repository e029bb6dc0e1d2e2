"""Items changed online: price, category, brand, title, and whether they may be shown."""

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
from serving.http.query import InvalidValueError
from serving.intake.load_shedding import LoadShedder

KEPT_CHANGES: Final = 10_000
# What is known of an item with the new facts over it, in one step whoever else changes it.
MERGE: Final = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
local facts = known and cjson.decode(known) or {}
for name, value in pairs(cjson.decode(ARGV[2])) do facts[name] = value end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(facts))
return 1
"""

Text = Annotated[str, Meta(min_length=1, max_length=1_000)]

Level = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=f"^[^{CATEGORY_SEPARATOR}]*$")]


class ItemChange(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Facts of an item; one that is not given stays as it is."""

    available: bool | UnsetType = UNSET
    price: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    category: Annotated[list[Level], Meta(min_length=1, max_length=20)] | UnsetType = UNSET
    brand: Text | UnsetType = UNSET
    title: Text | UnsetType = UNSET


class ItemWriter:
    """Puts changes of items where every worker, the next start and the next night find them."""

    def __init__(
        self,
        links: RedisClient,
        keys: Keys,
        pressure: LoadShedder,
        now: Callable[[], float],
        hear: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """`links` waits long enough for a write; `hear` is told of a change that was made."""
        self._links, self._keys, self._pressure, self._now, self._hear = links, keys, pressure, now, hear

    async def put(self, item_id: str, change: ItemChange) -> datetime:
        """Make the change; when it was made.

        Workers hear of it last, when all else is written, and each has it in its next answer. Raises
        `InvalidValueError`, and `StoreError` when Redis does not take it: it may then be in part, and sent again.
        """
        facts = _facts(change)
        when = datetime.fromtimestamp(self._now(), UTC)
        facts[UPDATED_AT] = when.isoformat()
        encoded = msgspec.json.encode(facts)
        keys = self._keys
        try:
            if AVAILABLE in facts:
                verb = "SREM" if facts[AVAILABLE] else "SADD"
                await self._links.execute(keys.unavailable, (verb, keys.unavailable, item_id))
            await self._links.execute(keys.items, ("EVAL", MERGE, 1, keys.items, item_id, encoded))
            change_of_item = ("XADD", keys.item_changes, "MAXLEN", "~", KEPT_CHANGES, "*", item_id, encoded)
            await self._links.execute(keys.item_changes, change_of_item)
            archived = msgspec.json.encode({ITEM_ID: item_id, **facts})
            await self._links.execute(keys.events, ("XADD", keys.events, "*", ITEM_FIELD, archived))
        except StoreError as error:
            if "OOM" in str(error):
                self._pressure.refused()
            raise
        self._hear(item_id, facts)
        return when


def _facts(change: ItemChange) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(change)
    if not facts:
        raise InvalidValueError("body", "{}", "some of available, price, category, brand, title")
    if not isfinite(facts.get(PRICE, 0.0)):
        raise InvalidValueError(PRICE, str(facts[PRICE]), "a finite number not below 0")
    return facts
