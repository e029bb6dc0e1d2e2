"""Synchronization of a worker with the live version: its catalogue, and the items changed online since.

Reads of one turn of the event loop go to Redis together with a read of the pointer and of the item changes, so no
answer that starts after an item was switched off contains it. A new version is adopted once its catalogue is
loaded; until then answers come from the previous version, which Redis keeps.
"""

import asyncio
import gc
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import polars as pl
import structlog

from recsys.errors import StoreError
from recsys.settings.online import Serving
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.event_stream import entry_sort_key
from recsys.store.item_changes import Facts
from recsys.store.keys import Keys
from recsys.store.resp import Command, encode_commands
from serving.change_clock import ChangeClock
from serving.engine.catalogue import STATIC_VERSION, Catalogue
from serving.engine.catalogue_snapshot import CatalogueSnapshot
from serving.engine.offers import AVAILABILITY, is_available_with
from serving.engine.redis_health import EMPTY, RESTORED, RedisHealth
from serving.engine.stored_changes import StoredChanges, apply_changes
from serving.engine.switched_items import SwitchedItems
from serving.engine.version_reader import NO_CHANGE, VersionReader, read_facts

REFRESH_SECONDS: Final = 0.25
"""Interval at which a worker without requests reads pointer and changes."""
START_READS: Final = 5
"""How often a worker that starts tries to read the pointer, before it answers from what was saved."""
START_PAUSE_SECONDS: Final = 0.05
SAVE_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 5.0
"""Interval at which a worker looks whether Redis still knows of the items that are switched off."""
MAX_CHANGES_PER_READ: Final = 1_000

log = structlog.get_logger()


class CatalogueSync:
    """The catalogue to answer from and that of the previous version, kept up to date."""

    def __init__(
        self,
        redis: RedisClient,
        bulk_redis: RedisClient,
        keys: Keys,
        directory: Path,
        static_list: Path | None,
        not_recommendable: str | None = None,
        clock: ChangeClock | None = None,
        health: RedisHealth | None = None,
        lease_seconds: float = Serving.lease_seconds,
        item_change_days: float = Serving.item_change_days,
    ) -> None:
        """Create it; `redis` has the timeout of requests, `bulk_redis` a longer one for whole catalogues.

        The last adopted version is saved in `directory`. `not_recommendable` is a regular expression of names of no
        goods. `clock` learns the times of all changes, `health` what is wrong with the data. After `lease_seconds`
        without word from Redis, items switched lately are withheld.
        """
        self._health, self._lease_seconds = health or RedisHealth(), lease_seconds
        self._switched = SwitchedItems(item_change_days)
        self._heard_at = -math.inf
        self._newest_version, self._has_lost = "", False
        self._clock = clock or ChangeClock(time.time)
        self._redis, self._bulk_redis, self._keys = redis, bulk_redis, keys
        self._stored = StoredChanges(bulk_redis, keys)
        self._reader = VersionReader(bulk_redis, keys, not_recommendable)
        self._snapshot = CatalogueSnapshot(directory, static_list, not_recommendable)
        self.catalogue: Catalogue | None = None
        self.previous: Catalogue | None = None
        self.pointer: str | None = None
        self._last_change = NO_CHANGE
        self._changes_while_adopting: list[tuple[str, Facts]] | None = None
        self._refreshing: asyncio.Future[None] | None = None
        self._retries: set[asyncio.Task[None]] = set()
        self._adopting: asyncio.Task[None] | None = None
        self._outages_at_adoption = -1  # forces a first adoption, which applies all changes
        self._tasks: list[asyncio.Task[None]] = []
        self.adopted = asyncio.Event()

    async def open(self) -> None:
        """Load the saved catalogue, then the live version if Redis answers, and follow it."""
        self.catalogue = await asyncio.to_thread(self._snapshot.load)
        self._switched.note_switched(self._snapshot.switched_lately)
        self._switched.note_off(off := await asyncio.to_thread(self._snapshot.load_switched_off))
        if self.catalogue is not None:
            apply_changes(self.catalogue, off.items())
        for _ in range(START_READS):
            with suppress(StoreError):
                await self.refresh()
            if self._adopting is not None:
                await self._adopting
            if self.adopted.is_set():
                break
            await asyncio.sleep(START_PAUSE_SECONDS)
        self._tasks = [
            asyncio.create_task(work)
            for work in (self._keep_refreshing(), self._keep_saving(), self._keep_checking())
        ]

    async def close(self) -> None:
        """Stop following the live version."""
        for task in [*self._tasks, *self._retries, *([self._adopting] if self._adopting else [])]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def refresh(self) -> asyncio.Future[None]:
        """Read the pointer and all item changes, once for all callers in this turn of the event loop.

        Commands sent later in the same turn are answered later, so a caller that waits for both wakes up once. The
        future raises `StoreError` if Redis does not answer.
        """
        if self._refreshing is None:
            loop = asyncio.get_running_loop()
            self._refreshing = loop.create_future()
            self._read_updates(self._refreshing)
            loop.call_soon(self._end_turn)
        return self._refreshing

    def _end_turn(self) -> None:
        self._refreshing = None

    def find_version(self, version: str) -> Catalogue | None:
        """Return the catalogue of a version; None if it is not in memory."""
        for catalogue in (self.catalogue, self.previous):
            if catalogue is not None and catalogue.version == version:
                return catalogue
        return None

    def apply_local(self, item_id: str, facts: Facts) -> None:
        """Apply a change that this process has just written, in case Redis does not answer anymore."""
        self._apply([(item_id, facts)])

    def is_known(self, item_id: str) -> bool:
        """Return whether the catalogue has an item."""
        return self.catalogue is not None and item_id in self.catalogue.rows

    def would_be_available(self, item_id: str, facts: Facts) -> bool:
        """Return whether an item is available once this process makes a change of it."""
        known = self.catalogue
        return is_available_with(facts) if known is None else known.would_be_available(item_id, facts)

    @property
    def withheld(self) -> frozenset[str]:
        """Return the items that may be off by now, although the catalogue has them: none while Redis is heard."""
        return self._switched.find_lately() if self._is_lease_over() else frozenset()

    def _is_lease_over(self) -> bool:
        return time.monotonic() - self._heard_at > self._lease_seconds

    def _read_updates(self, refreshed: asyncio.Future[None]) -> None:
        pointer = encode_commands(("GET", self._keys.live))
        changes = encode_commands(self._changes_command())
        try:
            pointer_connection = self._redis.connection_for(self._keys.live)
            changes_connection = self._redis.connection_for(self._keys.item_changes)
        except StoreError as error:
            _fail(refreshed, error)
            return
        replies: asyncio.Future[Any]
        if pointer_connection is changes_connection:
            replies = pointer_connection.send(pointer + changes, 2)
        else:
            replies = asyncio.gather(pointer_connection.send(pointer, 1), changes_connection.send(changes, 1))
        replies.add_done_callback(lambda done: self._handle_replies(refreshed, done))

    def _handle_replies(self, refreshed: asyncio.Future[None], done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            refreshed.cancel()
            return
        if (error := done.exception()) is not None:
            _fail(refreshed, error)
            return
        replies = done.result()
        pointer, changes = (replies[0][0], replies[1][0]) if isinstance(replies[0], list) else replies
        if isinstance(pointer, Exception) or isinstance(changes, Exception):
            retry = asyncio.create_task(self._retry(refreshed))
            self._retries.add(retry)
            retry.add_done_callback(self._retries.discard)
            return
        self._handle_updates(refreshed, pointer, changes)

    def _handle_updates(self, refreshed: asyncio.Future[None], pointer: Reply, changes: Reply) -> None:
        self._heard_at, has_more = time.monotonic(), False
        try:
            self._follow_pointer(pointer)
            has_more = self._apply_stream(changes)
        except (TypeError, ValueError) as error:
            log.error("item changes are invalid", error=str(error))
        if has_more:
            self._outages_at_adoption = -1  # so far behind, changes may have left the stream unread
            self._read_updates(refreshed)
        elif not refreshed.done():
            refreshed.set_result(None)

    async def _retry(self, refreshed: asyncio.Future[None]) -> None:
        """Read pointer and changes from the nodes that their keys have moved to."""
        pointer, changes = ("GET", self._keys.live), self._changes_command()
        try:
            replies = await asyncio.gather(
                self._redis.execute(self._keys.live, pointer), self._redis.execute(self._keys.item_changes, changes)
            )
        except StoreError as error:
            _fail(refreshed, error)
        else:
            self._handle_updates(refreshed, replies[0][0], replies[1][0])

    def _changes_command(self) -> Command:
        return ("XREAD", "COUNT", MAX_CHANGES_PER_READ, "STREAMS", self._keys.item_changes, self._last_change)

    def _follow_pointer(self, pointer: Reply) -> None:
        self.pointer = None if pointer is None else decode_text(pointer)
        had_lists = self.catalogue is not None and self.catalogue.version != STATIC_VERSION
        self._health.report("empty", EMPTY if self.pointer is None and had_lists else None)
        if self.pointer is None:
            self._outages_at_adoption = -1  # what is published again may have lost what was changed online
        outages = sum(link.outages for redis in (self._redis, self._bulk_redis) for link in redis.connections)
        is_known = self.catalogue is not None and self.catalogue.version == self.pointer
        is_current = is_known and outages == self._outages_at_adoption
        if self._adopting is None and self.pointer is not None and not is_current:
            self._outages_at_adoption = outages
            self._adopting = asyncio.create_task(self._adopt(self.pointer))

    def _apply_stream(self, changes: Reply) -> bool:
        """Apply the entries of a reply that no other reply had; return whether the stream may have more."""
        if changes is None:
            return False
        changes_read: list[tuple[str, Facts]] = []
        for entry_id, fields in changes[0][1]:
            if entry_sort_key(name := decode_text(entry_id)) > entry_sort_key(self._last_change):
                self._last_change = name
                changes_read += read_facts(fields[0], fields[1])
        self._apply(changes_read)
        return len(changes[0][1]) == MAX_CHANGES_PER_READ

    def _apply(self, changes: Sequence[tuple[str, Facts]]) -> None:
        self._clock.observe_changes(changes)
        if self._changes_while_adopting is not None:
            self._changes_while_adopting += changes
        unavailable = set[str]() if self.catalogue is None else self.catalogue.unavailable
        before = frozenset(item_id for item_id, _ in changes if item_id in unavailable)
        for catalogue in (self.catalogue, self.previous):
            if catalogue is not None:
                apply_changes(catalogue, changes)
        if self.catalogue is not None:
            self._switched.note(self.catalogue, changes, before)

    async def _adopt(self, version: str) -> None:
        """Read a version's catalogue, and apply every change that was made online to it."""
        self._changes_while_adopting = []
        try:
            is_same = self.catalogue is not None and self.catalogue.version == version
            catalogue = self.catalogue if is_same and self.catalogue else await self._reader.read_catalogue(version)
            self._has_lost |= await self._has_lost_data(version)
            changes, unavailable = await self._reader.read_changes(), await self._reader.read_unavailable()
            self._clock.observe_changes(changes)
            self._clock.observe(max([catalogue.as_of, *catalogue.known_changes.values()]))
            apply_changes(catalogue, changes)
            # The changes say more than the set, which others may have added items to.
            changed = {item_id for item_id, facts in changes if not AVAILABILITY.isdisjoint(facts)}
            catalogue.set_unavailable(unavailable - changed)
            apply_changes(catalogue, self._changes_while_adopting)
            lost = self._switched.find_lost(dict([*changes, *self._changes_while_adopting]), catalogue)
            apply_changes(catalogue, lost.items())
            self._switched.note(catalogue, changes, None)
            wrong = changed & (unavailable ^ catalogue.unavailable)
            with suppress(StoreError):
                await self._stored.put_right(catalogue, lost, wrong)
            apply_changes(catalogue, self._changes_while_adopting)
            self._changes_while_adopting = None
            self._report_loss(version, self._has_lost or bool(lost))
            if not is_same:
                self.previous, self.catalogue = self.catalogue, catalogue
                await asyncio.to_thread(self._snapshot.save, catalogue)
                # Keep garbage collections from traversing what lives as long as the version.
                gc.collect()
                gc.freeze()
                log.info("version adopted", version=version, items=len(catalogue))
            self.adopted.set()
        except (StoreError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
            log.warning("version cannot be adopted", version=version, reason=str(error))
            self._outages_at_adoption = -1
            await asyncio.sleep(REFRESH_SECONDS)
        finally:
            self._changes_while_adopting = None
            self._adopting = None

    async def _has_lost_data(self, version: str) -> bool:
        """Return whether Redis lacks a change or a version that this worker has seen, as after a restore."""
        seen_before = self._last_change  # others are read while the reply is on its way
        if entry_sort_key(last := await self._reader.read_last_change()) < entry_sort_key(seen_before):
            self._last_change = last
            return True
        return version < self._newest_version and not await self._reader.has_version(self._newest_version)

    def _report_loss(self, version: str, has_lost: bool) -> None:
        """Tell of lost data until a version goes live that is newer than all before."""
        if has_lost:
            self._health.report("restored", RESTORED)
        elif version > self._newest_version:
            self._health.report("restored", None)
        self._newest_version, self._has_lost = max(version, self._newest_version), False

    async def _keep_refreshing(self) -> None:
        while True:
            with suppress(StoreError):
                await self.refresh()
            problem = (
                f"no word from Redis for more than {self._lease_seconds:g} s" if self._is_lease_over() else None
            )
            self._health.report("no_word", problem)
            await asyncio.sleep(REFRESH_SECONDS)

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            if self.catalogue is not None:
                await self._snapshot.save_offers(self.catalogue, self._switched.find_lately())
            await self._snapshot.save_switched_off(self._switched.off)

    async def _keep_checking(self) -> None:
        """Adopt the version once more if Redis has lost a part of what was switched off."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self.catalogue is not None and self.catalogue.version == self.pointer:
                with suppress(StoreError):
                    if await self._stored.lacks(self._switched.find_stored(self.catalogue)):
                        self._outages_at_adoption = -1


def _fail(refreshed: asyncio.Future[None], error: BaseException) -> None:
    if not refreshed.done():
        refreshed.set_exception(error)
        refreshed.exception()  # callers need not wait for it
