"""How full Redis is, and which events are refused therefore: what was shown first, purchases last."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog

from recsys.errors import StoreError
from recsys.schema import DEFAULT_WEIGHTS, IMPRESSION, PURCHASE, VIEW
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.keys import Keys

LOOK_SECONDS: Final = 1.0
IMPRESSIONS_UP_TO: Final = 0.80
VIEWS_UP_TO: Final = 0.85
CARTS_UP_TO: Final = 0.92
PURCHASES_UP_TO: Final = 0.98

log = structlog.get_logger()


class LoadShedder:
    """The share of Redis' memory, or of the stream's greatest length, that is in use, whichever is more."""

    def __init__(self, links: RedisClient, keys: Keys, stream_length: int) -> None:
        """Memory counts where Redis has a limit of its own (`maxmemory`), of which lists must leave a part."""
        self._links, self._keys = links, keys
        self._stream_length = stream_length
        self.share = 0.0
        self.stream_entries = 0
        self.oldest_seconds = 0.0
        self.used_memory = 0
        self.flags_active = 0
        """Users who are held back."""
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def takes(self, event: str, weight: float) -> bool:
        """Whether there is room for an event of this name and weight."""
        return self.share < max_share(event, weight)

    def refused(self) -> None:
        """Redis has refused a write for want of memory."""
        self.share = max(self.share, 1.0)

    async def look(self) -> None:
        """Ask Redis once."""
        events = self._keys.events
        length, oldest = await self._links.call(events, ("XLEN", events), ("XRANGE", events, "-", "+", "COUNT", 1))
        infos = [_info(await link.command("INFO", "memory")) for link in self._links.all if link.able]
        seconds, _ = await self._links.of(events).command("TIME")
        flags = self._keys.flags
        (self.flags_active,) = await self._links.call(flags, ("ZCOUNT", flags, int(seconds) * 1_000, "+inf"))
        used = sum(int(info["used_memory"]) for info in infos)
        shares = [int(info["used_memory"]) / int(info["maxmemory"]) for info in infos if int(info["maxmemory"])]
        self.stream_entries, self.used_memory = int(length), used
        self.oldest_seconds = max(0.0, int(seconds) - int(oldest[0][0].split(b"-")[0]) / 1e3) if oldest else 0.0
        share = max([length / self._stream_length, *shares])
        if (share >= IMPRESSIONS_UP_TO) != (self.share >= IMPRESSIONS_UP_TO):
            log.warning("Redis is filling up" if share > self.share else "Redis has room", share=round(share, 3))
        self.share = share

    async def _follow(self) -> None:
        while True:
            with suppress(StoreError):
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)


def max_share(event: str, weight: float) -> float:
    """Up to which share in use an event is taken: the more it says of what a user wants, the longer."""
    if event == IMPRESSION:
        return IMPRESSIONS_UP_TO
    if abs(weight) >= DEFAULT_WEIGHTS[PURCHASE]:
        return PURCHASES_UP_TO
    return VIEWS_UP_TO if abs(weight) <= DEFAULT_WEIGHTS[VIEW] else CARTS_UP_TO


def _info(reply: Reply) -> dict[str, Any]:
    lines = reply.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
