"""Whether this server and Redis use the same pseudonyms; while they do not, nothing of users is written."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from recsys.errors import StoreError
from recsys.pseudonyms import Pseudonyms, stored_fingerprint
from recsys.store.client.client import RedisClient
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.pseudonym_key import describe_mismatch
from serving.engine.redis_health import RedisHealth

CHECK_SECONDS: Final = 1.0
"""A rotation of keys waits longer than this for servers to notice it."""


class PseudonymKeyError(StoreError):
    """Redis holds users under other pseudonyms than this server."""


class PseudonymKey:
    """Compares the fingerprint of the server's pseudonym keys with the one in Redis."""

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        pseudonyms: Pseudonyms | None,
        health: RedisHealth,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds; a mismatch is a problem of `health`, and so of `/ready`."""
        self._redis, self._key, self.pseudonyms, self._health = redis, keys.pseudonyms, pseudonyms, health
        self._clock, self._checked_at = clock, -CHECK_SECONDS
        self._problem: str | None = None
        self._checking: asyncio.Task[None] | None = None
        self.is_right = False
        """Whether the last check found the same pseudonyms."""

    def check_soon(self) -> None:
        """Begin a check that is not waited for, if one is due."""
        if self._is_due() and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self.check_quietly())

    async def check_quietly(self) -> None:
        """Compare without an error; `is_right` has the result."""
        with suppress(StoreError):
            await self.check()

    async def check(self) -> None:
        """Compare again if the last time is `CHECK_SECONDS` ago; raises `PseudonymKeyError`, and `StoreError`."""
        if self._is_due():
            now = self._clock()
            self._problem = describe_mismatch(await self._read(), self.pseudonyms)
            self._health.report("pseudonym_key", self._problem)
            self._checked_at, self.is_right = now, self._problem is None
        if self._problem is not None:
            raise PseudonymKeyError(self._problem)

    def _is_due(self) -> bool:
        return self._clock() - self._checked_at >= CHECK_SECONDS

    async def _read(self) -> str:
        """Return the fingerprint in Redis, which becomes that of this server if there is none."""
        key = self._key
        (stored,) = await self._redis.execute(key, ("GET", key))
        if stored is None:
            own = stored_fingerprint(self.pseudonyms)
            _, stored = await self._redis.execute(key, ("SET", key, own, "NX"), ("GET", key))
        return decode_text(stored)
