"""Neighbors of the latest items of a session: similar items, and items bought together with them."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from recsys.anomaly.acts import Act
from recsys.schema import CART
from recsys.store.client.client import RedisClient
from recsys.store.encoding import decode_list
from recsys.store.keys import Keys
from recsys.store.resp import Command

MAX_ANCHORS: Final = 10
"""Latest items of a session whose neighbors are read."""
MAX_NEIGHBORS: Final = 20
"""First neighbors of an item that are used: the ones after them would come behind the user's whole list."""
ANCHOR_DECAY: Final = 0.8
"""Weight of an item relative to the one after it in the session."""
MAX_KEPT_ITEMS: Final = 5_000
"""Items whose neighbors a worker keeps, those that were read last: 10 to 20 MB."""
KEPT_SECONDS: Final = 60.0
"""Seconds for which they are kept: Redis may have lost lists, and have them again since."""


class Neighbors(Struct, frozen=True):
    """Neighbors of one item of the session, best first."""

    act: Act
    weight: float
    similar: Sequence[str] = ()
    bought_together: Sequence[str] = ()


class _Kept(Struct, frozen=True):
    """Neighbors of an item, and when they were read."""

    read_at: float
    similar: Sequence[str]
    bought_together: Sequence[str]


def select_anchors(
    acts: Sequence[Act], event_weights: Mapping[str, float], first: Sequence[str] = ()
) -> list[tuple[Act, float]]:
    """Return the latest acts on different items whose event has a positive weight, each with its decayed weight.

    `acts` are sorted, latest first. The items `first`, such as those in the cart, come before all others, each with
    its cart event.
    """
    anchors: list[tuple[Act, float]] = []
    item_ids: set[str] = set()
    in_cart = {act.item_id: act for act in reversed(acts) if act.event == CART} if first else {}
    for act in (*(in_cart[item_id] for item_id in first if item_id in in_cart), *acts):
        if act.item_id in item_ids or event_weights.get(act.event, 0.0) <= 0:
            continue
        item_ids.add(act.item_id)
        anchors.append((act, ANCHOR_DECAY ** len(anchors)))
        if len(anchors) == MAX_ANCHORS:
            break
    return anchors


class NeighborReader:
    """Reads the neighbors of items, and keeps those of the latest items: a version's lists do not change."""

    def __init__(self, redis: RedisClient, keys: Keys, now: Callable[[], float] = time.monotonic) -> None:
        """Create it without neighbors; `now` returns seconds."""
        self._redis, self._keys, self._now = redis, keys, now
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        """Version and item -> its neighbors, the one that was read last at the end."""

    async def read(self, version: str, anchors: Sequence[tuple[Act, float]]) -> list[Neighbors]:
        """Return the neighbors of each anchor, read in one round trip unless all are kept; raises `StoreError`."""
        earliest = self._now() - KEPT_SECONDS
        found = [self._kept.get((version, act.item_id)) for act, _ in anchors]
        missing = [
            act.item_id
            for (act, _), kept in zip(anchors, found, strict=True)
            if kept is None or kept.read_at < earliest
        ]
        read = await self._read_missing(version, missing) if missing else {}
        return [
            Neighbors(act, weight, kept.similar, kept.bought_together)
            for (act, weight), before in zip(anchors, found, strict=True)
            if (kept := read.get(act.item_id, before)) is not None
        ]

    async def _read_missing(self, version: str, item_ids: Sequence[str]) -> dict[str, _Kept]:
        replies = await self._redis.execute_each([self._command(version, item_id) for item_id in item_ids])
        read_at, kept = self._now(), self._kept
        read = {
            item_id: _Kept(
                read_at, decode_list(similar, MAX_NEIGHBORS), decode_list(bought_together, MAX_NEIGHBORS)
            )
            for item_id, (similar, bought_together) in zip(item_ids, replies, strict=True)
        }
        for item_id, neighbors in read.items():
            kept[version, item_id] = neighbors
            kept.move_to_end((version, item_id))
        while len(kept) > MAX_KEPT_ITEMS:
            kept.popitem(last=False)
        return read

    def _command(self, version: str, item_id: str) -> tuple[str, Command]:
        similar = self._keys.similar_items(version, item_id)
        return similar, ("MGET", similar, self._keys.bought_together(version, item_id))
