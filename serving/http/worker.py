"""The parts of a worker process, assembled in one place: connections, engine, intake, access and metrics."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import ceil
from typing import Final

from recsys.api_key_file import KeyFile
from recsys.audit.log import AuditLog
from recsys.name_patterns import regular_expression
from recsys.pseudonyms import Pseudonyms
from recsys.server_checks import is_public
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.keys import Keys
from serving.api import Source
from serving.change_clock import ChangeClock
from serving.engine.catalogue_sync import CatalogueSync
from serving.engine.engine import Engine, EngineResult
from serving.engine.erased_users import ErasedUsers
from serving.engine.pseudonym_key import PseudonymKey
from serving.engine.redis_health import RedisHealth
from serving.guard.flags import FlagStore
from serving.guard.guard import Guard
from serving.http.audit_writer import AuditWriter
from serving.http.auth import Access
from serving.http.bodies import BodyReader
from serving.http.client_address import ClientAddresses, Networks
from serving.http.directories import metrics_directory, server_directory
from serving.http.errors import OutageLog
from serving.http.failed_attempts import FailedAttempts
from serving.http.hosts import HostList
from serving.http.metrics import Metrics
from serving.http.quotas import Quotas
from serving.intake.events import EventWriter, IntakeResult
from serving.intake.impressions import ImpressionWriter
from serving.intake.item_rules import ItemRules
from serving.intake.items import ItemWriter
from serving.intake.load_shedding import LoadShedder
from serving.intake.user_requests import UserRequests
from serving.requests import ListRequest

START_SECONDS: Final = 2.0
"""Seconds that a worker waits for Redis at its start; after that it answers without Redis."""
SWITCH_SECONDS: Final = 0.001
"""Seconds that a thread, such as one that loads a catalogue, may keep requests waiting."""
GC_THRESHOLD: Final = 50_000
"""New objects between two garbage collections: a request makes hundreds, and no cycles."""


class Worker:
    """All parts of a worker process that take part in answering requests."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        """Build the parts without connecting to Redis; `now` returns Unix seconds."""
        serving, keys = settings.serving, Keys(settings.redis.namespace)
        directory = server_directory(settings.directory)
        self.settings = settings
        self.pseudonyms = Pseudonyms.from_settings(settings)
        self.read_redis = RedisClient(settings.redis, serving.read_timeout_ms / 1e3)
        self.write_redis = RedisClient(settings.redis, serving.write_timeout_ms / 1e3)
        no_goods = (*settings.lists.not_recommendable, *settings.lists.never_show)
        self.metrics = Metrics(metrics_directory(settings.directory), self._gauges)
        self.health = RedisHealth(lambda problem: self.metrics.count("redis_problems", problem))
        change_clock = ChangeClock(now)
        self.catalogue_sync = CatalogueSync(
            self.read_redis,
            self.write_redis,
            keys,
            directory,
            serving.static_list,
            regular_expression(no_goods) if no_goods else None,
            change_clock,
            self.health,
            serving.lease_seconds,
            serving.item_change_days,
        )
        self.load_shedder = LoadShedder(self.write_redis, keys, serving.stream_length, self.health)
        self.engine = Engine(settings, self.read_redis, keys, self.catalogue_sync, self.stored_id, now, self.health)
        self.pseudonym_key = PseudonymKey(self.write_redis, keys, self.pseudonyms, self.health)
        guard = None
        if settings.anomalies.online != "off":
            guard = Guard(settings, self.write_redis, keys, self.pseudonyms, now, self.metrics.count)
        self.erased_users = ErasedUsers(self.write_redis, keys, self.engine.forget)
        self.user_requests = UserRequests(self.write_redis, keys, now, self.erased_users.note)
        self.events = EventWriter(
            *(
                settings,
                self.write_redis,
                keys,
                self.load_shedder,
                self.pseudonym_key,
                now,
                self.engine.apply_local,
            ),
            self.user_requests.find_opted_out,
            self.erased_users.is_before_erasure,
            guard,
        )
        sync = self.catalogue_sync
        self.items = ItemWriter(
            self.write_redis,
            keys,
            self.load_shedder,
            sync.apply_local,
            sync.would_be_available,
            sync.is_known,
            change_clock,
            serving.max_changed_items,
        )
        self.item_rules = ItemRules(settings.sources, lambda: sync.catalogue)
        self.flags = FlagStore(self.write_redis, keys, self.pseudonym_key, now)
        self.impressions = ImpressionWriter(self.write_redis, keys, self.load_shedder, now)
        self.is_public = is_public(serving)
        self.addresses = ClientAddresses(serving.trusted_proxies)
        self.access = Access(
            KeyFile.of(settings.directory),
            self.is_public,
            FailedAttempts(
                ceil(serving.failed_keys_per_minute / serving.workers),
                lambda reason: self.metrics.count("failed_keys", reason),
            ),
            self.addresses,
            now=now,
        )
        self.hosts = HostList(serving)
        self.metrics_networks = Networks(serving.metrics_networks)
        self.quotas = Quotas(self.read_redis, keys, serving.workers)
        self.audit_writer = AuditWriter(AuditLog(settings.directory))
        self.outage_log = OutageLog()
        self.bodies = BodyReader()
        self.batch_part = asyncio.Semaphore(1)
        """Held while a part of a batch is made."""

    def stored_id(self, user_id: str) -> str:
        """Return the id under which a user is stored: the pseudonym, if the settings have a key for it."""
        return user_id if self.pseudonyms is None else self.pseudonyms.user(user_id)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Connect, and load the catalogue; close everything at the end."""
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.set_threshold(GC_THRESHOLD)
        await self.read_redis.open()
        await self.write_redis.open()
        await asyncio.gather(
            self.read_redis.wait_until_available(START_SECONDS),
            self.write_redis.wait_until_available(START_SECONDS),
        )
        await self.catalogue_sync.open()
        await self.pseudonym_key.check_quietly()
        self.load_shedder.open()
        self.erased_users.open()
        self.metrics.open()
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            await self.quotas.close()
            await self.impressions.close()
            await self.erased_users.close()
            await self.load_shedder.close()
            await self.metrics.close()
            await self.catalogue_sync.close()
            await self.write_redis.close()
            await self.read_redis.close()

    def record_answer(self, result: EngineResult, request: ListRequest) -> None:
        """Count an answer, and write its items to the stream of events as impressions."""
        metrics, answer = self.metrics, result.answer
        metrics.observe_each("stage_seconds", result.seconds)
        sources: list[Source] = [item.source for item in answer.items]
        metrics.count_each("items", sources)
        metrics.count("lists", request.list)
        if answer.degraded:
            metrics.count("degraded")
        if self.settings.serving.impressions and not (request.debug or result.is_opted_out):
            self.pseudonym_key.check_soon()
            if self.pseudonym_key.is_right:
                self.impressions.write(answer, sources, self.stored_id(request.user_id), request.context)

    def count_events(self, result: IntakeResult) -> None:
        """Count the events of a request by their outcome."""
        outcomes = {"accepted": result.accepted, "invalid": len(result.errors), "shed": result.shed}
        outcomes["refused"] = result.refused
        for outcome, count in outcomes.items():
            if count:
                self.metrics.count("events", outcome, by=count)

    def _gauges(self) -> dict[str, float]:
        self.metrics.set_total("impressions_lost", self.impressions.lost)
        self.metrics.set_total("redis_outages", sum(link.outages for link in self.read_redis.connections))
        return {
            "stream_entries": self.load_shedder.stream_entries,
            "stream_lag_seconds": self.load_shedder.oldest_seconds,
            "redis_memory_bytes": self.load_shedder.used_memory,
            "redis_share": self.load_shedder.share,
            "redis_able": float(self.read_redis.available),
            "redis_sound": float(self.health.is_sound),
            "flags_active": self.load_shedder.flags_active,
        }
