"""Erasures as a server learns of them: it forgets what it remembers of the users, and takes no earlier events."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from recsys.errors import StoreError
from recsys.store.client.client import RedisClient
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.user_keys import ERASED_SECONDS, FOREVER_MS, erasure_mark

READ_SECONDS: Final = 0.5
REPEAT_SECONDS: Final = 5.0
"""Seconds for which users are forgotten again: an answer in the making may be remembered after the erasure."""
OVERLAP_MS: Final = 10_000
"""Milliseconds before the latest erasure from which erasures are read again: clocks differ."""
MAX_MARKS: Final = 10_000
"""Erasures that are kept, the latest ones."""


class ErasedUsers:
    """Follows the erasures of the last day, whichever server or job made them."""

    def __init__(
        self, redis: RedisClient, keys: Keys, forget: Callable[[Callable[[str], bool] | None], None]
    ) -> None:
        """Call `forget` with whether a user is to be forgotten; with None, all users are."""
        self._redis, self._keys, self._forget = redis, keys, forget
        self._marks: dict[str, int] = {}
        self._noted_at: dict[str, float] = {}
        self._read_at = time.monotonic()
        self._latest_ms = 0
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to follow erasures, every `READ_SECONDS`."""
        self._task = asyncio.create_task(self._keep_reading())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def is_before_erasure(self, user_id: str | None, timestamp: datetime | None) -> bool:
        """Return whether an event is of a person who was erased after it."""
        if not self._marks or user_id is None or timestamp is None:
            return False
        erased_ms = self._marks.get(erasure_mark(user_id))
        return erased_ms is not None and timestamp.timestamp() * 1e3 < erased_ms

    def note(self, marks: Mapping[str, int]) -> None:
        """Forget the users of some marks, each with Unix milliseconds of the erasure."""
        now = time.monotonic()
        for mark, at in marks.items():
            if self._marks.get(mark) != at:
                self._marks[mark], self._noted_at[mark] = at, now
        latest = sorted(self._marks, key=self._marks.__getitem__)[-MAX_MARKS:]
        self._marks = {mark: self._marks[mark] for mark in latest}
        self._noted_at = {mark: self._noted_at[mark] for mark in latest}
        new = {mark for mark in marks if now - self._noted_at.get(mark, now) < REPEAT_SECONDS}
        if new:
            self._forget(lambda user_id: erasure_mark(user_id) in new)

    async def read(self) -> None:
        """Read the erasures that are new; raises `StoreError`."""
        key, since = self._keys.erased, max(0, self._latest_ms - OVERLAP_MS)
        (replies,) = await self._redis.execute(
            key, ("ZREVRANGEBYSCORE", key, "+inf", since, "WITHSCORES", "LIMIT", 0, MAX_MARKS)
        )
        now = time.monotonic()
        has_missed = now - self._read_at > ERASED_SECONDS or len(replies) == 2 * MAX_MARKS
        self._read_at = now
        marks = {decode_text(mark): int(float(at)) for mark, at in zip(replies[::2], replies[1::2], strict=True)}
        if has_missed:
            self._forget(None)
        if marks:
            self._latest_ms = max((at for at in marks.values() if at < FOREVER_MS), default=self._latest_ms)
            self.note(marks)

    async def _keep_reading(self) -> None:
        while True:
            with suppress(StoreError):
                await self.read()
            await asyncio.sleep(READ_SECONDS)
