"""Items changed online: price, categories, attributes, brand, title, group, availability, stock and validity."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from recsys.errors import StoreError
from recsys.markup import plain_text
from recsys.schema import (
    ATTRIBUTES,
    BRAND,
    CATEGORIES,
    CATEGORY,
    CATEGORY_SEPARATOR,
    GROUP_ID,
    ITEM_ID,
    MAX_ID_LENGTH,
    PRICE,
    STOCK,
    TITLE,
    VALID_UNTIL,
    is_id,
)
from recsys.store.client.client import RedisClient
from recsys.store.encoding import decode_text
from recsys.store.item_changes import CHANGED_AT, FULL, MERGE, MERGE_AND_ANNOUNCE, UPDATED_AT, Facts, format_time
from recsys.store.keys import ITEM_FIELD, Keys
from recsys.store.resp import Command
from serving.change_clock import ChangeClock
from serving.engine.offers import AVAILABILITY
from serving.engine.stored_changes import KEPT_CHANGES
from serving.intake.load_shedding import LoadShedder
from serving.requests import EXPECTED, InvalidValueError

Text = Annotated[str, Meta(min_length=1, max_length=1_000)]

Level = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=f"^[^{CATEGORY_SEPARATOR}]*$")]

Path = Annotated[list[Level], Meta(min_length=1, max_length=20, description="Category path, root first")]

AttributeName = Annotated[str, Meta(min_length=1, max_length=100)]

NEVER: Final = "9999-12-31T00:00:00+00:00"
"""`valid_until` of an item whose end was removed: null says nothing in the lake, and would not replace the end."""

MAX_CHANGE_BYTES: Final = 32_768
"""Bytes of the facts of one change, in JSON."""
SECOND: Final = timedelta(seconds=1)

Time = Annotated[datetime, Meta(tz=True)]


class ItemChange(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Facts of an item; a fact that is not given stays as it is."""

    available: bool | UnsetType = UNSET
    stock: (
        Annotated[float, Meta(ge=0, description="0 makes an item unavailable that `available` is not given for")]
        | UnsetType
    ) = UNSET
    valid_from: Annotated[Time, Meta(description="Time from which the item is offered")] | UnsetType = UNSET
    valid_until: (
        Annotated[Time, Meta(description="Time from which the item is no longer offered; null removes it")]
        | UnsetType
        | None
    ) = UNSET
    price: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    category: Path | UnsetType = UNSET
    categories: (
        Annotated[list[Path], Meta(min_length=1, max_length=20, description="All paths of the item")] | UnsetType
    ) = UNSET
    attributes: (
        Annotated[
            dict[AttributeName, Text | float | bool | list[Text]],
            Meta(max_length=100, description="All attributes of the item, in place of those before"),
        ]
        | UnsetType
    ) = UNSET
    brand: Text | UnsetType = UNSET
    title: Text | UnsetType = UNSET
    group_id: (
        Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH, description="Product that it is a variant of")]
        | UnsetType
    ) = UNSET


class ItemLimitError(Exception):
    """There is no room for another item that the catalogue does not have."""


class ItemWriter:
    """Writes item changes to the keys that all workers, a restarted server and the next nightly run read."""

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        load_shedder: LoadShedder,
        on_change: Callable[[str, dict[str, Any]], None],
        is_available: Callable[[str, Facts], bool],
        is_known: Callable[[str], bool],
        clock: ChangeClock,
        max_items: int,
    ) -> None:
        """Create the writer.

        `redis` has the timeout of writes; `on_change` is called with an item and its facts after each change;
        `is_available` tells whether an item is available with new facts, `is_known` whether the catalogue has it;
        `clock` gives the times of changes. Of `max_items` changed items on, no unknown one is created.
        """
        self._redis, self._keys, self._load_shedder = redis, keys, load_shedder
        self._on_change, self._is_available, self._is_known = on_change, is_available, is_known
        self._clock, self._max_items = clock, max_items

    async def put(self, item_id: str, change: ItemChange) -> datetime:
        """Write a change of an item, and return the time it was made.

        Raises `InvalidValueError`, `ItemLimitError`, and `StoreError` if Redis does not take the change. It may
        then be written all the same (in a Cluster a part of it, which workers complete), and may be sent again.
        """
        facts = _validate_facts(change)
        key, limit = self._keys.items, 0 if self._is_known(item_id) else self._max_items
        try:
            while True:
                time = self._clock.tick()
                times = dict.fromkeys(facts, format_time(time))
                written = {**facts, UPDATED_AT: format_time(time)}
                merge, announcements = self._commands(item_id, written, times, limit)
                (reply,) = await self._redis.execute(key, merge)
                if reply == FULL:
                    raise ItemLimitError(f"{limit:,} items have been changed online; no more are created")
                if not isinstance(reply, bytes):
                    break
                self._observe(decode_text(reply), time)
            for other, command in announcements:
                await self._redis.execute(other, command)
            keys = self._keys
            await self._redis.wait_for_replicas(keys.items, keys.unavailable, keys.item_changes, keys.events)
        except StoreError as error:
            if "OOM" in str(error):
                self._load_shedder.report_full()
            raise
        self._on_change(item_id, {**written, CHANGED_AT: times})
        return time

    def _observe(self, stored: str, given: datetime) -> None:
        """Learn that an item was changed at a time that is not before the one given."""
        time = datetime.fromisoformat(stored)
        self._clock.observe(time)
        if time < given:  # written by an earlier version, in another format
            self._clock.observe(given + SECOND)

    def _commands(
        self, item_id: str, facts: Facts, times: Mapping[str, str], limit: int
    ) -> tuple[Command, list[tuple[str, Command]]]:
        """Return the command that merges facts into the hash, and those that come after it, each with its key.

        The one command does all at once, except in a Cluster, where the keys are on several servers. There the set
        comes after the hash, as a publisher and the workers correct in it what the hash contradicts, and the stream
        of changes comes after what workers read at a start.
        """
        keys = self._keys
        verb = ""
        if not AVAILABILITY.isdisjoint(facts):
            verb = "SREM" if self._is_available(item_id, facts) else "SADD"
        change = msgspec.json.encode({**facts, CHANGED_AT: times})
        event = msgspec.json.encode({ITEM_ID: item_id, **facts})
        merged = (item_id, msgspec.json.encode(facts), limit)
        if not self._redis.is_cluster:
            written = (keys.items, keys.unavailable, keys.item_changes, keys.events)
            announced = (verb, KEPT_CHANGES, change, ITEM_FIELD, event)
            return ("EVAL", MERGE_AND_ANNOUNCE, len(written), *written, *merged, *announced), []
        follow: list[tuple[str, Command]] = [
            (keys.item_changes, ("XADD", keys.item_changes, "MAXLEN", "~", KEPT_CHANGES, "*", item_id, change)),
            (keys.events, ("XADD", keys.events, "*", ITEM_FIELD, event)),
        ]
        if verb:
            follow.insert(0, (keys.unavailable, (verb, keys.unavailable, item_id)))
        return ("EVAL", MERGE, 1, keys.items, *merged), follow


def _validate_facts(change: ItemChange) -> dict[str, Any]:
    """Return the facts of a change; raises `InvalidValueError` if there is none, or one that breaks a rule."""
    facts: dict[str, Any] = msgspec.to_builtins(change)
    if not facts:
        raise InvalidValueError("body", "{}", f"some of {', '.join(ItemChange.__struct_fields__)}")
    for name in (BRAND, TITLE):
        if name in facts:
            given, facts[name] = facts[name], plain_text(facts[name])
            if not facts[name]:
                raise InvalidValueError(name, given, "text that is not only HTML")
    _check_group_id(change)
    for name in (PRICE, STOCK):
        if not isfinite(facts.get(name, 0.0)):
            raise InvalidValueError(name, str(facts[name]), "a finite number not below 0")
    facts |= _stored_facts(facts)
    if change.valid_until is None:
        facts[VALID_UNTIL] = NEVER
    if (size := len(msgspec.json.encode(facts))) > MAX_CHANGE_BYTES:
        raise InvalidValueError("body", f"{size:,} bytes", f"facts of at most {MAX_CHANGE_BYTES:,} bytes")
    return facts


def _stored_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as a JSON object, and category paths such that `category` is the first of `categories`."""
    stored: dict[str, Any] = {}
    if ATTRIBUTES in facts:
        stored[ATTRIBUTES] = msgspec.json.encode(facts[ATTRIBUTES]).decode()
    if CATEGORY in facts or CATEGORIES in facts:
        paths = [facts[CATEGORY]] if CATEGORY in facts else []
        paths += [path for path in facts.get(CATEGORIES, []) if path not in paths]
        stored |= {CATEGORY: paths[0], CATEGORIES: paths}
    return stored


def _check_group_id(change: ItemChange) -> None:
    group_id = change.group_id
    if isinstance(group_id, str) and not is_id(group_id):
        raise InvalidValueError(GROUP_ID, group_id, EXPECTED[ITEM_ID])
