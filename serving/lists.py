"""Lists of the live version, read for one user after the other: what a request loads."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, cast

from recsys.errors import NothingPublishedError, StoreError
from recsys.store.connection_async import AsyncClient, answered_in_time
from recsys.store.encoding import decode, text
from recsys.store.keys import Keys, popular_name
from recsys.store.read import UserItems

POPULAR_SECONDS: Final = 5.0
LOOKS: Final = 3


@dataclass(frozen=True)
class _Popular:
    version: str
    items: list[str]
    read_at: float


class Lists:
    """Reads the live version's lists, one round trip to Redis a user.

    The version that was live last time is only guessed to be so still: the pointer comes back together with the
    list, and when it has moved, the list is looked up again under the version that it names. So an answer is always
    of the version that is live, and whole; a removed one is never taken for a user without a list. The popular list
    is kept for up to `POPULAR_SECONDS`, and never longer than its version is live.
    """

    def __init__(self, client: AsyncClient, keys: Keys, seconds: float, connections: int) -> None:
        """`seconds` bounds each read, however many round trips it takes and however long it waits for its turn;
        no more than `connections` are under way at once.
        """
        self._client = client
        self._keys = keys
        self._seconds = seconds
        self._turns = asyncio.Semaphore(connections)
        self._version: str | None = None
        self._popular: _Popular | None = None

    async def user(self, user_id: str) -> UserItems:
        """The user's own list, the popular one where the user has none; none where there is neither.

        Raises `StoreError` when nothing is published and when Redis does not answer in time.
        """
        async with answered_in_time(self._seconds), self._turns:
            version = self._version or await self._live()
            for _ in range(LOOKS):
                live, value = await self._look(self._keys.user_items(version, user_id))
                self._version = live
                if live == version and value:
                    return UserItems(decode(value), "personal", version)
                if live == version:
                    live, items = await self._popular_items(version)
                    if live == version:
                        return UserItems(items, "popular", version)
                version = live
        raise StoreError(f"{self._keys.live}: has moved {LOOKS} times during one request")

    async def live(self) -> str:
        """The live version; raises `StoreError` as `user` does."""
        async with answered_in_time(self._seconds), self._turns:
            return await self._live()

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._client.aclose()

    async def _live(self) -> str:
        return self._published(cast("bytes | None", await self._client.get(self._keys.live)))

    async def _look(self, key: str) -> tuple[str, bytes | None]:
        """The live version and the value of a key, in one round trip.

        The key first: a version is removed only when it is live no more, so the pointer, read after the key, tells
        whether a list that is not there was missing or removed. A pipeline, for the nodes of a Cluster that hold
        the two need not be the same.
        """
        pipeline: Any = self._client.pipeline(transaction=False)
        value, pointer = await pipeline.get(key).get(self._keys.live).execute()
        return self._published(pointer), value

    def _published(self, pointer: bytes | None) -> str:
        if pointer is None:
            raise NothingPublishedError(
                f"{self._keys.live}: no version is live: run `recsys nightly` to publish one"
            )
        return text(pointer)

    async def _popular_items(self, version: str) -> tuple[str, list[str]]:
        """The live version, as far as is known, and the popular list of `version`."""
        now = time.monotonic()
        kept = self._popular
        if kept is not None and kept.version == version and now - kept.read_at < POPULAR_SECONDS:
            return version, kept.items
        live, value = await self._look(self._keys.ranking(version, popular_name()))
        if live == version:
            self._popular = _Popular(version, decode(value), now)
        return live, decode(value)
