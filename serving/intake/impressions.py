"""Impressions: the items of each answer, written to the stream after the answer is sent."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from recsys.errors import StoreError
from recsys.schema import IMPRESSION
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.keys import IMPRESSIONS_FIELD, Keys
from recsys.store.resp import encode_argument, encode_head
from serving.api import Recommendations, Source
from serving.intake.load_shedding import LoadShedder

SEND_SECONDS: Final = 0.1
"""Impressions of answers within this time are sent together."""


_encode: Final = msgspec.json.Encoder().encode


class Impressions(Struct, frozen=True, gc=False):
    """The items of one answer: the one at place i, from 0, has rank `offset + i + 1`."""

    request_id: str
    user_id: str
    timestamp: datetime
    version: str
    context: str
    offset: int
    items: list[str]
    sources: list[Source]


class ImpressionWriter:
    """Writes impressions while there is room for them, without delaying any answer."""

    def __init__(self, redis: RedisClient, keys: Keys, load_shedder: LoadShedder, now: Callable[[], float]) -> None:
        """Create the writer; `now` returns Unix seconds."""
        self._redis, self._keys, self._load_shedder, self._now = redis, keys, load_shedder, now
        self._head = encode_head(5, "XADD", keys.events, "*", IMPRESSIONS_FIELD)
        self._waiting: list[bytes] = []
        self._sent: asyncio.Future[list[Reply]] | None = None
        self.lost = 0
        """Number of answers whose impressions were not written."""

    def write(self, answer: Recommendations, sources: list[Source], stored_id: str, context: str) -> None:
        """Send one stream entry for all items of an answer, together with those of other answers.

        `sources` has the source of each item; `stored_id` is the user's id in Redis.
        """
        if not answer.items:
            return
        if not self._load_shedder.accepts(IMPRESSION, 0.0):
            self.lost += 1
            return
        impressions = Impressions(
            answer.request_id,
            stored_id,
            datetime.fromtimestamp(self._now(), UTC),
            answer.version,
            context,
            answer.items[0].rank - 1,
            [item.item_id for item in answer.items],
            sources,
        )
        self._waiting.append(self._head + encode_argument(_encode(impressions)))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(SEND_SECONDS, self._send)

    async def close(self) -> None:
        """Send the waiting impressions, and wait until they are written."""
        self._send()
        if self._sent is not None:
            await asyncio.wait([self._sent])

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            self._sent = self._redis.connection_for(self._keys.events).send(b"".join(waiting), len(waiting))
        except StoreError:
            self.lost += len(waiting)
            return
        self._sent.add_done_callback(partial(self._count_lost, len(waiting)))

    def _count_lost(self, count: int, replies: asyncio.Future[list[Reply]]) -> None:
        if replies.cancelled() or replies.exception() is not None:
            self.lost += count
        else:
            self.lost += sum(isinstance(reply, Exception) for reply in replies.result())
