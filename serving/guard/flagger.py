"""Who is held back by what happens online, and who is not although their events are no shopper's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import structlog

from recsys.anomaly.circuit_breaker import DAY_MS, breaker_allows_flag
from recsys.anomaly.scoring import Verdict
from recsys.schema import REASONS, SCORE, SHADOW, TIMESTAMP, USER_ID
from recsys.settings.anomalies import Anomalies
from recsys.store.client.client import RedisClient
from recsys.store.flags import Flag, encode_flag
from recsys.store.keys import FLAG_FIELD, Keys

Outcome = Literal["flagged", "shadow", "held_back", "allowed"]

log = structlog.get_logger()


class Flagger:
    """Flags users, but for those who are allowed, and for all where they would be too many."""

    def __init__(self, anomalies: Anomalies, links: RedisClient, keys: Keys, count: Callable[..., None]) -> None:
        """`count` adds to a counter of the worker: its name, labels, and `by`."""
        self._anomalies, self._links, self._keys, self._count = anomalies, links, keys, count

    async def flag(self, user: str, verdict: Verdict, now_ms: int) -> None:
        """Hold a user back, or note why not; once, whichever worker is first. Raises `StoreError`."""
        keys, day = self._keys, now_ms // DAY_MS
        flag_ms = int(self._anomalies.flag_hours * 3_600_000)
        allowed, active, flagged = await self._links.execute_each(
            [
                (keys.unflaggable, ("SISMEMBER", keys.unflaggable, user)),
                (keys.active(day), ("PFCOUNT", keys.active(day))),
                (keys.flagged(day), ("PFCOUNT", keys.flagged(day))),
            ]
        )
        if allowed:
            await self._spare(user, "allowed", flag_ms)
        elif not breaker_allows_flag(flagged, active, self._anomalies.max_flagged_share):
            until_midnight = (day + 1) * DAY_MS - now_ms
            if await self._spare(user, "held_back", until_midnight):
                await self._tell_once(day, flagged, active)
        elif self._anomalies.online == "shadow":
            if await self._spare(user, "shadow", flag_ms):
                await self._record(user, verdict, now_ms)
        elif await self._hold_back(user, verdict, now_ms, flag_ms):
            self._count("flags", "flagged")
            await self._record(user, verdict, now_ms)

    async def _hold_back(self, user: str, verdict: Verdict, now_ms: int, flag_ms: int) -> bool:
        """Write the flag and its place in the index, which is first; whether no other worker had."""
        keys = self._keys
        since = datetime.fromtimestamp(now_ms / 1e3, UTC)
        until = since + timedelta(milliseconds=flag_ms)
        flag = encode_flag(Flag(user, verdict.score, verdict.reasons, "online", since, until))
        await self._links.execute(
            keys.flags,
            ("ZREMRANGEBYSCORE", keys.flags, "-inf", now_ms),
            ("ZADD", keys.flags, "NX", now_ms + flag_ms, user),
        )
        (done,) = await self._links.execute(keys.flag(user), ("SET", keys.flag(user), flag, "NX", "PX", flag_ms))
        return done is not None

    async def _spare(self, user: str, outcome: Outcome, milliseconds: int) -> bool:
        """Note why a user is not flagged, and look away for so long; whether no other worker had."""
        key = self._keys.suspect(user)
        (done,) = await self._links.execute(key, ("SET", key, outcome, "NX", "PX", milliseconds))
        if done is not None:
            self._count("flags", outcome)
        return done is not None

    async def _record(self, user: str, verdict: Verdict, now_ms: int) -> None:
        """Write a flag to the stream, and count it among those of the day."""
        keys, flagged = self._keys, self._keys.flagged(now_ms // DAY_MS)
        entry: dict[str, Any] = {
            USER_ID: user,
            SCORE: verdict.score,
            REASONS: verdict.reasons,
            TIMESTAMP: datetime.fromtimestamp(now_ms / 1e3, UTC),
            SHADOW: self._anomalies.online == "shadow",
        }
        await self._links.execute_each(
            [
                (keys.events, ("XADD", keys.events, "*", FLAG_FIELD, msgspec.json.encode(entry))),
                (flagged, ("PFADD", flagged, user)),
                (flagged, ("PEXPIRE", flagged, 2 * DAY_MS)),
            ]
        )

    async def _tell_once(self, day: int, flagged: int, active: int) -> None:
        key = self._keys.breaker(day)
        (first,) = await self._links.execute(key, ("SET", key, 1, "NX", "PX", 2 * DAY_MS))
        if first is not None:
            log.warning("no more users are flagged automatically today", flagged=flagged, active=active)
