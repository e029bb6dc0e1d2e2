"""What users may ask for: to be erased, and to opt out of personal lists."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import msgspec

from recsys.schema import TIMESTAMP, USER_ID
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.keys import ERASURE_FIELD, OPT_OUT_FIELD, Keys
from recsys.store.user_keys import (
    ERASED_SECONDS,
    LISTS,
    SESSIONS,
    erasure_mark,
    is_entry_of,
    logins_of,
    user_keys,
)

BLOCK_ENTRIES: Final = 1_000
"""Entries of the stream that are read at once; other requests are answered in between."""


class UserRequests:
    """Erases users from Redis and queues the erasure from the lake; keeps who has opted out."""

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        now: Callable[[], float],
        on_erased: Callable[[Mapping[str, int]], None],
    ) -> None:
        """`now` gives Unix seconds; `on_erased` is called with the marks of erased users and their times."""
        self._redis, self._keys, self._now, self._on_erased = redis, keys, now, on_erased

    async def erase(self, user_id: str, request_id: str) -> None:
        """Erase a user, by the stored id, and guests who logged in as the user lately; raises `StoreError`.

        The request to erase the user from the lake comes first: if Redis fails after it, an archive does the rest.
        """
        keys, now = self._keys, self._now()
        at = datetime.fromtimestamp(now, UTC).isoformat()
        request = {"request_id": request_id, USER_ID: user_id, TIMESTAMP: at}
        await self._append(ERASURE_FIELD, request)
        guests = await self._remove_entries({user_id}, now)
        if guests:
            await self._remove_entries(guests, now)
        users = sorted({user_id, *guests})
        names = chain.from_iterable((await self._keys_of(users)).values())
        await self._redis.execute_each(
            [
                *((name, ("UNLINK", name)) for name in names),
                (keys.flags, ("ZREM", keys.flags, *users)),
                (keys.unflaggable, ("SREM", keys.unflaggable, *users)),
            ]
        )
        await self._tell_servers(users, now)
        await self._redis.wait_for_replicas(keys.events)

    async def opt_out(self, user_id: str) -> None:
        """Give a user, by the stored id, popular lists only, and take no more events; raises `StoreError`.

        The session and the lists of all versions go, which a backend may read without this server.
        """
        key, now = self._keys.opt_out(user_id), self._now()
        at = datetime.fromtimestamp(now, UTC).isoformat()
        await self._redis.execute(key, ("SET", key, at))
        await self._append(OPT_OUT_FIELD, {USER_ID: user_id, TIMESTAMP: at, "is_opted_out": True})
        held = await self._keys_of([user_id])
        names = [*held[SESSIONS], *held[LISTS]]
        await self._redis.execute_each([(name, ("UNLINK", name)) for name in names])
        await self._tell_servers([user_id], now)
        await self._redis.wait_for_replicas(key, self._keys.events)

    async def opt_in(self, user_id: str) -> None:
        """Give a user personal lists again; raises `StoreError`."""
        key, at = self._keys.opt_out(user_id), datetime.fromtimestamp(self._now(), UTC).isoformat()
        await self._redis.execute(key, ("UNLINK", key))
        await self._append(OPT_OUT_FIELD, {USER_ID: user_id, TIMESTAMP: at, "is_opted_out": False})
        await self._redis.wait_for_replicas(key, self._keys.events)

    async def opted_out_since(self, user_id: str) -> str | None:
        """Return since when a user has opted out, None for one who has not; raises `StoreError`."""
        key = self._keys.opt_out(user_id)
        (value,) = await self._redis.execute(key, ("GET", key))
        return None if value is None else decode_text(value)

    async def find_opted_out(self, users: Sequence[str], guests: Sequence[str]) -> frozenset[str]:
        """Return those of some users who have opted out, and of guests who are such users; raises `StoreError`."""
        values = await self._read([*map(self._keys.opt_out, users), *map(self._keys.alias, guests)])
        opted_out = {user_id for user_id, since in zip(users, values, strict=False) if since is not None}
        owners = {
            guest_id: decode_text(owner)
            for guest_id, owner in zip(guests, values[len(users) :], strict=True)
            if owner is not None
        }
        others = sorted(set(owners.values()).difference(users))
        since_when = await self._read([self._keys.opt_out(user_id) for user_id in others])
        opted_out |= {user_id for user_id, since in zip(others, since_when, strict=True) if since is not None}
        return frozenset(opted_out | {guest_id for guest_id, owner in owners.items() if owner in opted_out})

    async def _read(self, names: Sequence[str]) -> Sequence[Reply]:
        """Return the values of some keys, None for one that is not there."""
        return await self._redis.execute_each([(name, ("GET", name)) for name in names]) if names else []

    async def _keys_of(self, users: Sequence[str]) -> dict[str, list[str]]:
        """Return the keys of some users, by what they hold, those of versions that are being loaded left out.

        Their publisher removes the lists of the users after the load, by the requests in the stream.
        """
        live, states = await self._redis.execute_each(
            [(self._keys.live, ("GET", self._keys.live)), (self._keys.versions, ("HGETALL", self._keys.versions))]
        )
        versions = [
            decode_text(name)
            for name, state in zip(states[::2], states[1::2], strict=True)
            if name == live or decode_text(state).isdecimal()
        ]
        held = defaultdict[str, list[str]](list)
        for user_id in users:
            for kind, names in user_keys(self._keys, versions, user_id).items():
                held[kind] += names
        return held

    async def _tell_servers(self, users: Sequence[str], now: float) -> None:
        """Make all servers forget what they remember of users, and refuse events from before."""
        key, marks = self._keys.erased, {erasure_mark(user): int(now * 1e3) for user in users}
        scores = [value for mark, at_ms in marks.items() for value in (at_ms, mark)]
        await self._redis.execute(
            key,
            ("ZREMRANGEBYSCORE", key, "-inf", int((now - ERASED_SECONDS) * 1e3)),
            ("ZADD", key, "GT", *scores),
        )
        self._on_erased(marks)

    async def _append(self, field: str, request: Mapping[str, Any]) -> None:
        events = self._keys.events
        await self._redis.execute(events, ("XADD", events, "*", field, msgspec.json.encode(request)))

    async def _remove_entries(self, users: set[str], until: float) -> set[str]:
        """Remove the entries of the stream about some users; return the guests who logged in as one of them."""
        events, start, guests = self._keys.events, "-", set[str]()
        while True:
            (block,) = await self._redis.execute(events, ("XRANGE", events, start, "+", "COUNT", BLOCK_ENTRIES))
            removed: list[bytes] = []
            for entry_id, values in block:
                fields = dict(zip(values[::2], values[1::2], strict=True))
                if is_entry_of(fields, users):
                    removed.append(entry_id)
                    guests |= logins_of(fields, users)
            if removed:
                await self._redis.execute(events, ("XDEL", events, *removed))
            if len(block) < BLOCK_ENTRIES or int(block[-1][0].partition(b"-")[0]) > (until + 60) * 1e3:
                return guests - users
            start = f"({decode_text(block[-1][0])}"
            await asyncio.sleep(0)
