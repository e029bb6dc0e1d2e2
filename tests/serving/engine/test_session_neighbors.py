"""Items of a session whose neighbors are read, and the neighbors that are used."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from recsys.anomaly.acts import Act
from recsys.store.keys import Keys
from recsys.store.resp import Command
from serving.engine.session_neighbors import MAX_ANCHORS, MAX_NEIGHBORS, read_neighbors, select_anchors

KEYS = Keys("recsys")
WEIGHTS = {"view": 1.0, "purchase": 5.0, "impression": 0.0, "refund": -5.0}


def acts(*events: str) -> list[Act]:
    """Return acts from texts of item and event, latest first."""
    named = (text.split() for text in events)
    return [Act(100 - place, item_id, event) for place, (item_id, event) in enumerate(named)]


class FakeRedis:
    """Answers each command with prepared replies, and keeps the commands."""

    def __init__(self, *replies: list[bytes | None]) -> None:
        self._replies = list(replies)
        self.commands: list[tuple[str, Command]] = []

    async def execute_each(self, commands: Sequence[tuple[str, Command]]) -> list[list[bytes | None]]:
        self.commands += commands
        return self._replies


def test_the_latest_act_on_each_item_is_an_anchor_with_a_decayed_weight() -> None:
    session = acts("a view", "b purchase", "a purchase", "c view")
    anchors = select_anchors(session, WEIGHTS)
    assert [act for act, _ in anchors] == [session[0], session[1], session[3]]
    assert [weight for _, weight in anchors] == pytest.approx([1.0, 0.9, 0.81])


def test_events_that_say_nothing_good_of_an_item_are_no_anchors() -> None:
    session = acts("a impression", "b refund", "c unknown", "a view")
    assert select_anchors(session, WEIGHTS) == [(session[3], 1.0)]


def test_anchors_are_limited() -> None:
    session = acts(*(f"i{number} view" for number in range(MAX_ANCHORS + 5)))
    assert [act for act, _ in select_anchors(session, WEIGHTS)] == session[:MAX_ANCHORS]


def test_first_neighbors_of_every_anchor_are_read_at_once() -> None:
    many = [f"s{rank}" for rank in range(MAX_NEIGHBORS + 5)]
    redis = FakeRedis([" ".join(many).encode(), b"b1 b2"], [None, None])
    first, second = acts("a view", "b cart")
    near, none = asyncio.run(read_neighbors(cast(Any, redis), KEYS, "v1", [(first, 1.0), (second, 0.9)]))
    assert (near.act, near.weight) == (first, 1.0)
    assert (list(near.similar), list(near.bought_together)) == (many[:MAX_NEIGHBORS], ["b1", "b2"])
    assert (none.act, none.weight, list(none.similar), list(none.bought_together)) == (second, 0.9, [], [])
    assert redis.commands == [
        (key := KEYS.similar_items("v1", item_id), ("MGET", key, KEYS.bought_together("v1", item_id)))
        for item_id in ("a", "b")
    ]
