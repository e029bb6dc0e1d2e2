"""The live version as a worker follows it: its catalogue, and the items that were changed since.

With whatever a turn of the event loop asks of Redis goes one look at the pointer and at the stream of item changes,
so an item switched off is in no answer that is begun after it. A new version is adopted when its catalogue is here:
until then answers are of the one before, which Redis keeps; none is of both.
"""

import asyncio
import gc
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl
import structlog

from recsys.errors import StoreError
from recsys.files import atomic_write
from recsys.store.catalogue import read_catalogue
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_list, decode_text
from recsys.store.keys import Keys, popular_name
from recsys.store.resp import Command, encode_commands
from serving.engine.catalogue import Catalogue, catalogue_without_facts

BEAT_SECONDS: Final = 0.25
"""A worker without requests looks so often."""
SAVE_SECONDS: Final = 1.0
CHANGES_AT_ONCE: Final = 1_000
SCAN_COUNT: Final = 1_000
NO_CHANGE: Final = "0-0"
UPDATED_AT: Final = "updated_at"
UNAVAILABLE_FILE: Final = "unavailable.txt"
CATALOGUE_GLOB: Final = "catalogue-*.parquet"

Facts = Mapping[str, Any]

log = structlog.get_logger()


class CatalogueSync:
    """The catalogue to answer from, kept up to date."""

    def __init__(
        self, links: RedisClient, bulk: RedisClient, keys: Keys, directory: Path, static_list: Path | None
    ) -> None:
        """`links` answers fast or not at all; `bulk` is for what takes longer. The last version adopted is kept in
        `directory`, for a start without Redis.
        """
        self._links, self._bulk, self._keys = links, bulk, keys
        self._directory = directory
        self._static_list = static_list
        self.catalogue: Catalogue | None = None
        self.previous: Catalogue | None = None
        self.pointer: str | None = None
        self._last_change = NO_CHANGE
        self._heard_meanwhile: list[tuple[str, Facts]] | None = None
        self._beating: asyncio.Future[None] | None = None
        self._again: set[asyncio.Task[None]] = set()
        self._adopting: asyncio.Task[None] | None = None
        self._opened = -1  # what was changed before this process began is put over what it finds
        self._saved_unavailable: frozenset[str] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        self.adopted = asyncio.Event()

    async def open(self) -> None:
        """Take what the last process left, then the live version, if Redis answers, and follow it."""
        await asyncio.to_thread(self._restore)
        with suppress(StoreError):
            await self.refresh()
        if self._adopting is not None:
            await self._adopting
        self._tasks = [asyncio.create_task(work) for work in (self._follow(), self._save())]

    async def close(self) -> None:
        """Stop following."""
        for task in [*self._tasks, *self._again, *([self._adopting] if self._adopting else [])]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def refresh(self) -> asyncio.Future[None]:
        """Look at the pointer and the changes, once for all who ask in this turn of the loop.

        What is asked after it in the same turn is answered after it, so that whoever waits for both wakes up once.
        """
        if self._beating is None:
            loop = asyncio.get_running_loop()
            self._beating = loop.create_future()
            self._look(self._beating)
            loop.call_soon(self._beaten)
        return self._beating

    def _beaten(self) -> None:
        self._beating = None

    def find_version(self, version: str) -> Catalogue | None:
        """The catalogue of a version that is still known here."""
        return next((each for each in (self.catalogue, self.previous) if each and each.version == version), None)

    def apply_local(self, item_id: str, facts: Facts) -> None:
        """A change that this process has just made: it holds here even if Redis does not answer from now on."""
        self._put([(item_id, facts)])

    def _look(self, beat: asyncio.Future[None]) -> None:
        pointer = encode_commands(("GET", self._keys.live))
        changes = encode_commands(self._changes())
        try:
            first, second = (
                self._links.connection_for(self._keys.live),
                self._links.connection_for(self._keys.item_changes),
            )
        except StoreError as error:
            _fail(beat, error)
            return
        if first is second:
            asked = first.send(pointer + changes, 2)
            asked.add_done_callback(lambda done: self._told(beat, done))
            return
        both = asyncio.gather(first.send(pointer, 1), second.send(changes, 1))
        both.add_done_callback(lambda done: self._told(beat, done))

    def _told(self, beat: asyncio.Future[None], done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            beat.cancel()
            return
        error = done.exception()
        if error is not None:
            _fail(beat, error)
            return
        found = done.result()
        pointer, changes = (found[0][0], found[1][0]) if isinstance(found[0], list) else found
        if isinstance(pointer, Exception) or isinstance(changes, Exception):
            again = asyncio.create_task(self._look_again(beat))
            self._again.add(again)
            again.add_done_callback(self._again.discard)
            return
        self._heard(beat, pointer, changes)

    def _heard(self, beat: asyncio.Future[None], pointer: Reply, changes: Reply) -> None:
        try:
            self._point(pointer)
            self._take(changes)
        except (TypeError, ValueError) as error:
            log.error("changes of items are not as expected", error=str(error))
        if not beat.done():
            beat.set_result(None)

    async def _look_again(self, beat: asyncio.Future[None]) -> None:
        """Look where the keys have moved to."""
        pointer, changes = ("GET", self._keys.live), self._changes()
        try:
            found = await asyncio.gather(
                self._links.execute(self._keys.live, pointer), self._links.execute(self._keys.item_changes, changes)
            )
        except StoreError as error:
            _fail(beat, error)
            return
        self._heard(beat, found[0][0], found[1][0])

    def _changes(self) -> Command:
        return ("XREAD", "COUNT", CHANGES_AT_ONCE, "STREAMS", self._keys.item_changes, self._last_change)

    def _point(self, pointer: Reply) -> None:
        self.pointer = None if pointer is None else decode_text(pointer)
        opened = sum(link.outages for link in self._links.connections)
        known = self.catalogue is not None and self.catalogue.version == self.pointer
        if self._adopting is None and self.pointer is not None and (not known or opened != self._opened):
            self._opened = opened
            self._adopting = asyncio.create_task(self._adopt(self.pointer))

    def _take(self, changes: Reply) -> None:
        if changes is None:
            return
        found: list[tuple[str, Facts]] = []
        for entry_id, fields in changes[0][1]:
            self._last_change = decode_text(entry_id)
            found += _read_facts(fields[0], fields[1])
        self._put(found)

    def _put(self, changes: Sequence[tuple[str, Facts]]) -> None:
        if self._heard_meanwhile is not None:
            self._heard_meanwhile += changes
        for catalogue in (self.catalogue, self.previous):
            if catalogue is not None:
                _put_over(catalogue, changes)

    async def _adopt(self, version: str) -> None:
        """Read a version's catalogue and put every change that was made online over it."""
        self._heard_meanwhile = []
        try:
            same = self.catalogue is not None and self.catalogue.version == version
            catalogue = self.catalogue if same and self.catalogue else await self._read(version)
            changes, switched_off = await self._changed(), await self._switched_off()
            _put_over(catalogue, changes)
            catalogue.set_unavailable(switched_off)
            _put_over(catalogue, self._heard_meanwhile)
            self._heard_meanwhile = None
            if not same:
                self.previous, self.catalogue = self.catalogue, catalogue
                await asyncio.to_thread(self._keep, catalogue)
                # What lives as long as the version need not be looked at by every collection of garbage.
                gc.collect()
                gc.freeze()
                log.info("adopted", version=version, items=len(catalogue))
            self.adopted.set()
        except (StoreError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
            log.warning("the live version could not be adopted", version=version, reason=str(error))
            self._opened = -1
            await asyncio.sleep(BEAT_SECONDS)
        finally:
            self._heard_meanwhile = None
            self._adopting = None

    async def _read(self, version: str) -> Catalogue:
        key = self._keys.catalogue(version)
        parts = {field: await self._ask("HGET", key, field) for field in await self._ask("HKEYS", key)}
        popular = self._keys.ranking(version, popular_name())
        names = None if parts else await self._ask("GET", popular)
        await self._check_kept(version)
        if parts:
            return await asyncio.to_thread(lambda: Catalogue(version, read_catalogue(parts)))
        return catalogue_without_facts(version, decode_list(names))

    async def _check_kept(self, version: str) -> None:
        """Raise `StoreError` where a version that is live no longer may have been removed while it was read."""
        pointer = await self._ask("GET", self._keys.live)
        if pointer is not None and decode_text(pointer) == version:
            return
        state = await self._ask("HGET", self._keys.versions, version)
        if state is None or not decode_text(state).isdecimal():
            raise StoreError("it is live no longer, and is being removed")

    async def _changed(self) -> list[tuple[str, Facts]]:
        """What was put online, whenever."""
        found: list[tuple[str, Facts]] = []
        cursor = b"0"
        while True:
            cursor, fields = await self._ask("HSCAN", self._keys.items, cursor, "COUNT", SCAN_COUNT)
            for item_id, value in zip(fields[::2], fields[1::2], strict=True):
                found += _read_facts(item_id, value)
            if int(cursor) == 0:
                return found

    async def _switched_off(self) -> list[str]:
        return [decode_text(item_id) for item_id in await self._ask("SMEMBERS", self._keys.unavailable)]

    async def _ask(self, verb: str, key: str, *arguments: str | bytes | int) -> Reply:
        """What may take longer than a request may."""
        (reply,) = await self._bulk.execute(key, (verb, key, *arguments))
        return reply

    async def _follow(self) -> None:
        while True:
            with suppress(StoreError):
                await self.refresh()
            await asyncio.sleep(BEAT_SECONDS)

    # What a start without Redis begins from.

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            catalogue = self.catalogue
            if catalogue is not None and frozenset(catalogue.unavailable) != self._saved_unavailable:
                self._saved_unavailable = frozenset(catalogue.unavailable)
                with suppress(OSError):
                    await asyncio.to_thread(
                        _write_lines, self._directory / UNAVAILABLE_FILE, self._saved_unavailable
                    )

    def _keep(self, catalogue: Catalogue) -> None:
        file = self._directory / f"catalogue-{catalogue.version}.parquet"
        try:
            with atomic_write(file) as aside:
                catalogue.table().write_parquet(aside)
            for other in self._directory.glob(CATALOGUE_GLOB):
                if other != file:
                    other.unlink(missing_ok=True)
        except (OSError, pl.exceptions.PolarsError) as error:  # it may have changed meanwhile
            log.warning("the catalogue could not be kept for a start without Redis", reason=str(error))

    def _restore(self) -> None:
        kept = sorted(self._directory.glob(CATALOGUE_GLOB))
        withheld = self._directory / UNAVAILABLE_FILE
        try:
            if kept:
                version = kept[-1].stem.removeprefix("catalogue-")
                self.catalogue = Catalogue(version, pl.read_parquet(kept[-1]))
            elif self._static_list is not None:
                self.catalogue = catalogue_without_facts("static", self._static_list.read_text().split())
            if self.catalogue is not None and withheld.exists():
                self.catalogue.set_unavailable(withheld.read_text().split())
        except (OSError, pl.exceptions.PolarsError) as error:
            log.warning("what was kept for a start without Redis cannot be read", reason=str(error))


def _read_facts(item_id: bytes, value: bytes) -> list[tuple[str, Facts]]:
    """A change of an item, if it can be read."""
    try:
        return [(decode_text(item_id), msgspec.json.decode(value, type=dict[str, Any]))]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.error("a change of an item is no JSON object")
        return []


def _put_over(catalogue: Catalogue, changes: Iterable[tuple[str, Facts]]) -> None:
    """Put changes, in their order, over a catalogue, which has those already that are older than its version."""
    found: dict[str, Facts] = {}
    for item_id, facts in changes:
        when: str | None = facts.get(UPDATED_AT)
        if when is None or datetime.fromisoformat(when) >= catalogue.as_of:
            found[item_id] = {**found.get(item_id, {}), **facts}
    catalogue.put(found)


def _fail(beat: asyncio.Future[None], error: BaseException) -> None:
    if not beat.done():
        beat.set_exception(error)
        beat.exception()  # not everybody who asked for it waits for it


def _write_lines(file: Path, lines: frozenset[str]) -> None:
    with atomic_write(file) as aside:
        aside.write_text("\n".join(sorted(lines)))
