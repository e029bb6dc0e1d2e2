"""Neighbors of the latest items of a session: similar items, and items bought together with them."""

from collections.abc import Mapping, Sequence
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


class Neighbors(Struct, frozen=True):
    """Neighbors of one item of the session, best first."""

    act: Act
    weight: float
    similar: Sequence[str] = ()
    bought_together: Sequence[str] = ()


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


async def read_neighbors(
    redis: RedisClient, keys: Keys, version: str, anchors: Sequence[tuple[Act, float]]
) -> list[Neighbors]:
    """Read the neighbors of each anchor, all in one round trip; raises `StoreError`."""
    replies = await redis.execute_each([_neighbors_command(keys, version, act.item_id) for act, _ in anchors])
    return [
        Neighbors(act, weight, decode_list(similar, MAX_NEIGHBORS), decode_list(bought_together, MAX_NEIGHBORS))
        for (act, weight), (similar, bought_together) in zip(anchors, replies, strict=True)
    ]


def _neighbors_command(keys: Keys, version: str, item_id: str) -> tuple[str, Command]:
    similar = keys.similar_items(version, item_id)
    return similar, ("MGET", similar, keys.bought_together(version, item_id))
