"""Load shedding: as Redis fills up, the least informative events are refused first, purchases last."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from recsys.errors import StoreError
from recsys.schema import DEFAULT_WEIGHTS, IMPRESSION, PURCHASE, VIEW
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.keys import Keys
from serving.engine.redis_health import RedisHealth

MEASURE_SECONDS: Final = 1.0
MAX_SHARE_FOR_IMPRESSIONS: Final = 0.80
MAX_SHARE_FOR_VIEWS: Final = 0.85
MAX_SHARE_FOR_CARTS: Final = 0.92
MAX_SHARE_FOR_PURCHASES: Final = 0.98
EVICTING: Final = "maxmemory-policy is {policy}: Redis removes lists and events when memory is full"
REPLICA: Final = "Redis is a read replica: it takes no events and no item changes, and may be behind"

log = structlog.get_logger()


class LoadShedder:
    """Measures how full Redis is, and decides which events there is room for."""

    def __init__(
        self, redis: RedisClient, keys: Keys, stream_length: int, health: RedisHealth | None = None
    ) -> None:
        """Create a load shedder for a stream of events of at most `stream_length` entries.

        `health` is told whether Redis evicts keys, and whether it is a replica. Memory counts only if Redis has a
        limit of its own, `maxmemory`.
        """
        self._redis, self._keys = redis, keys
        self._stream_length = stream_length
        self._health = health or RedisHealth()
        self.share = 0.0
        """Share in use of the stream's maximum length or of Redis' memory, whichever is greater."""
        self.stream_entries = 0
        self.oldest_seconds = 0.0
        """Age of the oldest entry of the stream."""
        self.used_memory = 0
        """Bytes, of all nodes together."""
        self.flags_active = 0
        """Number of users who are flagged."""
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to measure, once every `MEASURE_SECONDS`."""
        self._task = asyncio.create_task(self._keep_measuring())

    async def close(self) -> None:
        """Stop measuring."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def accepts(self, event: str, weight: float) -> bool:
        """Return whether there is room for an event of this name and weight."""
        return self.share < max_share(event, weight)

    def report_full(self) -> None:
        """Treat Redis as full until the next measurement, after it has refused a write for lack of memory."""
        self.share = max(self.share, 1.0)

    async def measure(self) -> None:
        """Read memory, stream and flags from Redis; raises `StoreError`."""
        events, flags = self._keys.events, self._keys.flags
        length, oldest = await self._redis.execute(
            events, ("XLEN", events), ("XRANGE", events, "-", "+", "COUNT", 1)
        )
        memory = [
            _parse_info(await connection.execute("INFO", "memory"))
            for connection in self._redis.connections
            if connection.available
        ]
        replication = [
            _parse_info(await connection.execute("INFO", "replication"))
            for connection in self._redis.connections
            if connection.available
        ]
        self._report(memory, replication)
        seconds, _ = await self._redis.connection_for(events).execute("TIME")
        (self.flags_active,) = await self._redis.execute(flags, ("ZCOUNT", flags, int(seconds) * 1_000, "+inf"))
        self.stream_entries = int(length)
        self.used_memory = sum(int(info["used_memory"]) for info in memory)
        self.oldest_seconds = max(0.0, int(seconds) - int(oldest[0][0].split(b"-")[0]) / 1e3) if oldest else 0.0
        shares = [int(info["used_memory"]) / int(info["maxmemory"]) for info in memory if int(info["maxmemory"])]
        self._set_share(max([length / self._stream_length, *shares]))

    def _report(self, memory: Sequence[Mapping[str, str]], replication: Sequence[Mapping[str, str]]) -> None:
        """Tell whether a server evicts keys when its memory is full, and whether it is a replica."""
        policies = [info["maxmemory_policy"] for info in memory if int(info["maxmemory"])]
        evicting = next((policy for policy in policies if policy.startswith("allkeys")), None)
        self._health.report("evicting", evicting and EVICTING.format(policy=evicting))
        is_replica = any(info.get("role") == "slave" for info in replication)
        self._health.report("replica", REPLICA if is_replica else None)

    def _set_share(self, share: float) -> None:
        if (share >= MAX_SHARE_FOR_IMPRESSIONS) != (self.share >= MAX_SHARE_FOR_IMPRESSIONS):
            log.warning("Redis is filling up" if share > self.share else "Redis has room", share=round(share, 3))
        self.share = share

    async def _keep_measuring(self) -> None:
        while True:
            with suppress(StoreError):
                await self.measure()
            await asyncio.sleep(MEASURE_SECONDS)


def max_share(event: str, weight: float) -> float:
    """Return the share in use below which an event is accepted: the greater its weight, the higher."""
    if event == IMPRESSION:
        return MAX_SHARE_FOR_IMPRESSIONS
    if abs(weight) >= DEFAULT_WEIGHTS[PURCHASE]:
        return MAX_SHARE_FOR_PURCHASES
    return MAX_SHARE_FOR_VIEWS if abs(weight) <= DEFAULT_WEIGHTS[VIEW] else MAX_SHARE_FOR_CARTS


def _parse_info(reply: Reply) -> dict[str, Any]:
    lines = reply.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
