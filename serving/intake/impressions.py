"""What was shown, written to the stream after the answer has gone."""

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
from recsys.store.resp import encode_commands
from serving.api import Recommendations, Source
from serving.intake.load_shedding import LoadShedder

SEND_SECONDS: Final = 0.1


class Impressions(Struct, frozen=True, gc=False):
    """What one answer showed: the item at place i has rank `offset + i + 1`."""

    request_id: str
    user_id: str
    timestamp: datetime
    version: str
    context: str
    offset: int
    items: list[str]
    sources: list[Source]


class ImpressionWriter:
    """Writes what was shown while there is room; nobody waits for it, and an answer without it is as good."""

    def __init__(self, links: RedisClient, keys: Keys, pressure: LoadShedder, now: Callable[[], float]) -> None:
        self._links, self._keys, self._pressure, self._now = links, keys, pressure, now
        self._waiting: list[bytes] = []
        self._sent: asyncio.Future[list[Reply]] | None = None
        self.lost = 0
        """How many answers' impressions were not written."""

    def write(self, answer: Recommendations, sources: list[Source], stored_id: str, context: str) -> None:
        """Send one entry for all items of an answer, which have these sources, soon, with those of others."""
        if not answer.items:
            return
        if not self._pressure.takes(IMPRESSION, 0.0):
            self.lost += 1
            return
        shown = Impressions(
            answer.request_id,
            stored_id,
            datetime.fromtimestamp(self._now(), UTC),
            answer.version,
            context,
            answer.items[0].rank - 1,
            [item.item_id for item in answer.items],
            sources,
        )
        self._waiting.append(
            encode_commands(("XADD", self._keys.events, "*", IMPRESSIONS_FIELD, msgspec.json.encode(shown)))
        )
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(SEND_SECONDS, self._send)

    async def close(self) -> None:
        """Send what waits, and wait until it is written."""
        self._send()
        if self._sent is not None:
            await asyncio.wait([self._sent])

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            self._sent = self._links.connection_for(self._keys.events).send(b"".join(waiting), len(waiting))
        except StoreError:
            self.lost += len(waiting)
            return
        self._sent.add_done_callback(partial(self._done, len(waiting)))

    def _done(self, count: int, asked: asyncio.Future[list[Reply]]) -> None:
        if asked.cancelled() or asked.exception() is not None:
            self.lost += count
        else:
            self.lost += sum(isinstance(reply, Exception) for reply in asked.result())
