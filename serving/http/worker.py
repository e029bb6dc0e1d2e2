"""What lives as long as a worker: its connections, what it knows, and what it counts."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from recsys.api_keys import API_KEYS_FILE
from recsys.pseudonyms import pseudonym
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.keys import Keys
from serving.api import Recommendations, Source
from serving.engine.catalogue_sync import CatalogueSync
from serving.engine.engine import Engine
from serving.guard.flags import FlagStore
from serving.guard.guard import Guard
from serving.http.auth import AUDIT_FILE, Access, AuditLog
from serving.http.errors import Outage
from serving.http.metrics import DIRECTORY, Metrics, metrics_directory
from serving.http.query import ListRequest
from serving.intake.events import EventWriter, IntakeResult
from serving.intake.impressions import ImpressionWriter
from serving.intake.items import ItemWriter
from serving.intake.load_shedding import LoadShedder

START_SECONDS: Final = 2.0
"""A worker that starts waits so long for Redis before it answers without."""
SWITCH_SECONDS: Final = 0.001
"""So soon does work in a thread, as on a new catalogue, let requests go on."""
COLLECT_AFTER: Final = 50_000
"""So many new objects bring a collection of garbage about: a request makes hundreds, and none that needs it."""


class Worker:
    """The parts that requests are answered by."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        """`now` gives Unix seconds."""
        serving, keys = settings.serving, Keys(settings.redis.namespace)
        directory = settings.directory / DIRECTORY
        self.settings = settings
        self._hash = partial(pseudonym, settings.pseudonym_key) if settings.pseudonym_key else None
        self.reads = RedisClient(settings.redis, serving.read_timeout_ms / 1e3)
        self.writes = RedisClient(settings.redis, serving.write_timeout_ms / 1e3)
        self.live = CatalogueSync(self.reads, self.writes, keys, directory, serving.static_list)
        self.pressure = LoadShedder(self.writes, keys, serving.stream_length)
        self.engine = Engine(settings, self.reads, keys, self.live, self.stored_id, now)
        self.metrics = Metrics(metrics_directory(settings.directory), self._gauges)
        watching = settings.anomalies.online != "off"
        guard = Guard(settings, self.writes, keys, self.stored_id, now, self.metrics.count) if watching else None
        self.events = EventWriter(
            settings, self.writes, keys, self.pressure, self.stored_id, now, self.engine.apply_local, guard
        )
        self.items = ItemWriter(self.writes, keys, self.pressure, now, self.live.apply_local)
        self.flags = FlagStore(self.writes, keys, now)
        self.impressions = ImpressionWriter(self.writes, keys, self.pressure, now)
        self.access = Access(settings.directory / API_KEYS_FILE, serving.workers)
        self.audit = AuditLog(settings.directory / AUDIT_FILE)
        self.outage = Outage()

    def stored_id(self, user_id: str) -> str:
        """What a user is called wherever something is kept."""
        return user_id if self._hash is None else self._hash(user_id)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Connected, and warm; connections are closed at the end."""
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.set_threshold(COLLECT_AFTER)
        await self.reads.open()
        await self.writes.open()
        await asyncio.gather(
            self.reads.wait_until_available(START_SECONDS), self.writes.wait_until_available(START_SECONDS)
        )
        await self.live.open()
        self.pressure.open()
        self.metrics.open()
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            await self.impressions.close()
            await self.pressure.close()
            await self.metrics.close()
            await self.live.close()
            await self.writes.close()
            await self.reads.close()

    def book(self, answer: Recommendations, asked: ListRequest, seconds: Mapping[str, float]) -> None:
        """Count an answer that has gone, and note what it showed."""
        metrics = self.metrics
        metrics.observe_each("stage_seconds", seconds)
        sources: list[Source] = [item.source for item in answer.items]
        metrics.count_each("items", sources)
        if answer.degraded:
            metrics.count("degraded")
        if self.settings.serving.impressions and not asked.debug:
            self.impressions.write(answer, sources, self.stored_id(asked.user_id), asked.context)

    def count_events(self, taken: IntakeResult) -> None:
        """Count what became of a batch of events."""
        for outcome, count in (("accepted", taken.accepted), ("invalid", len(taken.errors)), ("shed", taken.shed)):
            if count:
                self.metrics.count("events", outcome, by=count)

    def _gauges(self) -> dict[str, float]:
        metrics: Any = self.metrics
        metrics.set("impressions_lost", self.impressions.lost)
        metrics.set("redis_outages", sum(link.outages for link in self.reads.connections))
        return {
            "stream_entries": self.pressure.stream_entries,
            "stream_lag_seconds": self.pressure.oldest_seconds,
            "redis_memory_bytes": self.pressure.used_memory,
            "redis_share": self.pressure.share,
            "redis_able": float(self.reads.available),
            "flags_active": self.pressure.flags_active,
        }
