"""Synchronization of a worker with the live version: its catalogue, and the items changed online since.

All reads of one turn of the event loop go to Redis together with a read of the pointer and of the stream of item
changes, so no answer that starts after an item was switched off contains it. A new version is adopted once its
catalogue is loaded; until then answers come from the previous version, which Redis keeps. No answer mixes the two.
"""

import asyncio
import gc
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
import structlog

from recsys.errors import StoreError
from recsys.store.catalogue import read_catalogue
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_list, decode_text
from recsys.store.item_changes import Facts, newer_facts
from recsys.store.keys import Keys, popular_name
from recsys.store.resp import Command, encode_commands
from serving.engine.catalogue import Catalogue, catalogue_without_facts
from serving.engine.catalogue_snapshot import CatalogueSnapshot
from serving.engine.offers import AVAILABILITY, is_available_with

REFRESH_SECONDS: Final = 0.25
"""Interval at which a worker without requests reads pointer and changes."""
START_READS: Final = 5
"""How often a worker that starts tries to read the pointer, before it answers from what was saved."""
START_PAUSE_SECONDS: Final = 0.05
SAVE_SECONDS: Final = 1.0
MAX_CHANGES_PER_READ: Final = 1_000
SCAN_COUNT: Final = 1_000
NO_CHANGE: Final = "0-0"

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
    ) -> None:
        """Create it; `redis` has the timeout of requests, `bulk_redis` a longer one for whole catalogues.

        The last adopted version is saved in `directory`, for a start without Redis. `not_recommendable` is a
        regular expression of the names of items that are no goods.
        """
        self._redis, self._bulk_redis, self._keys = redis, bulk_redis, keys
        self._not_recommendable = not_recommendable
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
        for _ in range(START_READS):
            with suppress(StoreError):
                await self.refresh()
                break
            await asyncio.sleep(START_PAUSE_SECONDS)
        if self._adopting is not None:
            await self._adopting
        self._tasks = [asyncio.create_task(work) for work in (self._keep_refreshing(), self._keep_saving())]

    async def close(self) -> None:
        """Stop following the live version."""
        for task in [*self._tasks, *self._retries, *([self._adopting] if self._adopting else [])]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def refresh(self) -> asyncio.Future[None]:
        """Read the pointer and the item changes, once for all callers in this turn of the event loop.

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

    def would_be_available(self, item_id: str, facts: Facts) -> bool:
        """Return whether an item is available once this process makes a change of it."""
        return (
            is_available_with(facts)
            if self.catalogue is None
            else self.catalogue.would_be_available(item_id, facts)
        )

    def _read_updates(self, refreshed: asyncio.Future[None]) -> None:
        pointer = encode_commands(("GET", self._keys.live))
        changes = encode_commands(self._changes_command())
        try:
            pointer_connection = self._redis.connection_for(self._keys.live)
            changes_connection = self._redis.connection_for(self._keys.item_changes)
        except StoreError as error:
            _fail(refreshed, error)
            return
        if pointer_connection is changes_connection:
            replies = pointer_connection.send(pointer + changes, 2)
            replies.add_done_callback(lambda done: self._handle_replies(refreshed, done))
            return
        both = asyncio.gather(pointer_connection.send(pointer, 1), changes_connection.send(changes, 1))
        both.add_done_callback(lambda done: self._handle_replies(refreshed, done))

    def _handle_replies(self, refreshed: asyncio.Future[None], done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            refreshed.cancel()
            return
        error = done.exception()
        if error is not None:
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
        try:
            self._follow_pointer(pointer)
            self._apply_stream(changes)
        except (TypeError, ValueError) as error:
            log.error("item changes are invalid", error=str(error))
        if not refreshed.done():
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
            return
        self._handle_updates(refreshed, replies[0][0], replies[1][0])

    def _changes_command(self) -> Command:
        return ("XREAD", "COUNT", MAX_CHANGES_PER_READ, "STREAMS", self._keys.item_changes, self._last_change)

    def _follow_pointer(self, pointer: Reply) -> None:
        self.pointer = None if pointer is None else decode_text(pointer)
        outages = sum(link.outages for link in self._redis.connections)
        is_known = self.catalogue is not None and self.catalogue.version == self.pointer
        if (
            self._adopting is None
            and self.pointer is not None
            and (not is_known or outages != self._outages_at_adoption)
        ):
            self._outages_at_adoption = outages
            self._adopting = asyncio.create_task(self._adopt(self.pointer))

    def _apply_stream(self, changes: Reply) -> None:
        if changes is None:
            return
        changes_read: list[tuple[str, Facts]] = []
        for entry_id, fields in changes[0][1]:
            self._last_change = decode_text(entry_id)
            changes_read += _read_facts(fields[0], fields[1])
        self._apply(changes_read)

    def _apply(self, changes: Sequence[tuple[str, Facts]]) -> None:
        if self._changes_while_adopting is not None:
            self._changes_while_adopting += changes
        for catalogue in (self.catalogue, self.previous):
            if catalogue is not None:
                apply_changes(catalogue, changes)

    async def _adopt(self, version: str) -> None:
        """Read a version's catalogue, and apply every change that was made online to it."""
        self._changes_while_adopting = []
        try:
            is_same = self.catalogue is not None and self.catalogue.version == version
            catalogue = self.catalogue if is_same and self.catalogue else await self._read_catalogue(version)
            changes, unavailable = await self._read_changes(), await self._read_unavailable()
            apply_changes(catalogue, changes)
            # The changes say more than the set, which others may have added items to.
            changed = {item_id for item_id, facts in changes if not AVAILABILITY.isdisjoint(facts)}
            catalogue.set_unavailable([item_id for item_id in unavailable if item_id not in changed])
            apply_changes(catalogue, self._changes_while_adopting)
            self._changes_while_adopting = None
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

    async def _read_catalogue(self, version: str) -> Catalogue:
        key = self._keys.catalogue(version)
        parts = {
            field: await self._execute_slow("HGET", key, field) for field in await self._execute_slow("HKEYS", key)
        }
        popular = self._keys.ranking(version, popular_name())
        names = None if parts else await self._execute_slow("GET", popular)
        await self._check_kept(version)
        if parts:
            return await asyncio.to_thread(
                lambda: Catalogue(version, read_catalogue(parts), self._not_recommendable)
            )
        return catalogue_without_facts(version, decode_list(names), self._not_recommendable)

    async def _check_kept(self, version: str) -> None:
        """Raise `StoreError` if a version that is no longer live may have been removed while it was read."""
        pointer = await self._execute_slow("GET", self._keys.live)
        if pointer is not None and decode_text(pointer) == version:
            return
        state = await self._execute_slow("HGET", self._keys.versions, version)
        if state is None or not decode_text(state).isdecimal():
            raise StoreError("it is no longer live, and is being removed")

    async def _read_changes(self) -> list[tuple[str, Facts]]:
        """Return all item changes ever made online."""
        changes_read: list[tuple[str, Facts]] = []
        cursor = b"0"
        while True:
            cursor, fields = await self._execute_slow("HSCAN", self._keys.items, cursor, "COUNT", SCAN_COUNT)
            for item_id, value in zip(fields[::2], fields[1::2], strict=True):
                changes_read += _read_facts(item_id, value)
            if int(cursor) == 0:
                return changes_read

    async def _read_unavailable(self) -> list[str]:
        return [decode_text(item_id) for item_id in await self._execute_slow("SMEMBERS", self._keys.unavailable)]

    async def _execute_slow(self, verb: str, key: str, *arguments: str | bytes | int) -> Reply:
        """Execute a command that may take longer than a request is allowed to."""
        (reply,) = await self._bulk_redis.execute(key, (verb, key, *arguments))
        return reply

    async def _keep_refreshing(self) -> None:
        while True:
            with suppress(StoreError):
                await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            if self.catalogue is not None:
                await self._snapshot.save_offers(self.catalogue)


def _read_facts(item_id: bytes, value: bytes) -> list[tuple[str, Facts]]:
    """Return an item's change as a list of one; an empty list if it cannot be read."""
    try:
        return [(decode_text(item_id), msgspec.json.decode(value, type=dict[str, Any]))]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.error("item change is not a JSON object", item_id=item_id.decode(errors="replace"))
        return []


def apply_changes(catalogue: Catalogue, changes: Iterable[tuple[str, Facts]]) -> None:
    """Apply changes in order to a catalogue, except those that its version already includes."""
    merged: dict[str, Facts] = {}
    for item_id, change in changes:
        facts = newer_facts(change, catalogue.known_changes.get(item_id), catalogue.as_of)
        if facts:
            merged[item_id] = {**merged.get(item_id, {}), **facts}
    catalogue.put(merged)


def _fail(refreshed: asyncio.Future[None], error: BaseException) -> None:
    if not refreshed.done():
        refreshed.set_exception(error)
        refreshed.exception()  # callers need not wait for it
