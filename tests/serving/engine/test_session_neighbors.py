"""Items of a session whose neighbors are read, and the neighbors that are used."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from recsys.anomaly.acts import Act
from recsys.store.keys import Keys
from recsys.store.resp import Command
from serving.engine import session_neighbors
from serving.engine.session_neighbors import (
    KEPT_SECONDS,
    MAX_ANCHORS,
    MAX_NEIGHBORS,
    NeighborReader,
    select_anchors,
)

KEYS = Keys("recsys")
WEIGHTS = {"view": 1.0, "purchase": 5.0, "impression": 0.0, "refund": -5.0}


def acts(*events: str) -> list[Act]:
    """Return acts from texts of item and event, latest first."""
    named = (text.split() for text in events)
    return [Act(100 - place, item_id, event) for place, (item_id, event) in enumerate(named)]


class FakeRedis:
    """Answers each command with prepared replies, and keeps the commands."""

    def __init__(self, *replies: list[bytes | None]) -> None:
        self.replies = list(replies)
        self.commands: list[tuple[str, Command]] = []

    async def execute_each(self, commands: Sequence[tuple[str, Command]]) -> list[list[bytes | None]]:
        self.commands += commands
        return self.replies


def test_the_latest_act_on_each_item_is_an_anchor_with_a_decayed_weight() -> None:
    session = acts("a view", "b purchase", "a purchase", "c view")
    anchors = select_anchors(session, WEIGHTS)
    assert [act for act, _ in anchors] == [session[0], session[1], session[3]]
    assert [weight for _, weight in anchors] == pytest.approx([1.0, 0.8, 0.64])


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
    near, none = asyncio.run(NeighborReader(cast(Any, redis), KEYS).read("v1", [(first, 1.0), (second, 0.9)]))
    assert (near.act, near.weight) == (first, 1.0)
    assert (list(near.similar), list(near.bought_together)) == (many[:MAX_NEIGHBORS], ["b1", "b2"])
    assert (none.act, none.weight, list(none.similar), list(none.bought_together)) == (second, 0.9, [], [])
    assert redis.commands == [
        (key := KEYS.similar_items("v1", item_id), ("MGET", key, KEYS.bought_together("v1", item_id)))
        for item_id in ("a", "b")
    ]


def test_neighbors_are_kept_for_a_minute_for_each_version() -> None:
    async def run() -> None:
        redis, seconds = FakeRedis([b"s1", None]), 0.0
        reader = NeighborReader(cast(Any, redis), KEYS, now=lambda: seconds)
        (view,), (cart,) = acts("a view"), acts("a cart")
        (first,) = await reader.read("v1", [(view, 1.0)])
        redis.replies = [[b"s2", None]]
        (again,) = await reader.read("v1", [(cart, 0.5)])
        assert (again.act, again.weight) == (cart, 0.5)
        assert list(again.similar) == list(first.similar) == ["s1"]
        (other_version,) = await reader.read("v2", [(view, 1.0)])
        seconds = KEPT_SECONDS + 1
        (later,) = await reader.read("v1", [(view, 1.0)])
        assert list(other_version.similar) == list(later.similar) == ["s2"]
        assert len(redis.commands) == 3

    asyncio.run(run())


def test_only_neighbors_that_are_not_kept_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        redis = FakeRedis([b"s1", None])
        reader = NeighborReader(cast(Any, redis), KEYS)
        a, b = acts("a view", "b view")
        await reader.read("v1", [(a, 1.0)])
        redis.replies = [[b"s2", None]]
        near = await reader.read("v1", [(a, 1.0), (b, 0.8)])
        assert [list(each.similar) for each in near] == [["s1"], ["s2"]]
        # With room for one item, the one that was read last stays.
        redis.replies = [[b"s3", None]]
        (forgotten,) = await reader.read("v1", [(a, 1.0)])
        assert list(forgotten.similar) == ["s3"]

    monkeypatch.setattr(session_neighbors, "MAX_KEPT_ITEMS", 1)
    asyncio.run(run())
