"""Flag users by their online score, except released users and users beyond the daily limit."""

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

FlagOutcome = Literal["flagged", "shadow", "held_back", "allowed"]
"""`shadow`: recorded only; `held_back`: stopped by the circuit breaker; `allowed`: released by an analyst. They are
values of the key `suspect` and of a metric's label."""

log = structlog.get_logger()


class Flagger:
    """Writes each flag once, even if several workers see the user."""

    def __init__(self, anomalies: Anomalies, redis: RedisClient, keys: Keys, count: Callable[..., None]) -> None:
        """`count` adds to a counter of the worker: its name, labels, and `by`."""
        self._anomalies, self._redis, self._keys, self._count = anomalies, redis, keys, count

    async def flag(self, user: str, verdict: Verdict, now_ms: int) -> None:
        """Flag a user over the threshold, or record why not. Raises `StoreError`."""
        keys, day = self._keys, now_ms // DAY_MS
        flag_ms = int(self._anomalies.flag_hours * 3_600_000)
        allowed, active, flagged = await self._redis.execute_each(
            [
                (keys.unflaggable, ("SISMEMBER", keys.unflaggable, user)),
                (keys.active(day), ("PFCOUNT", keys.active(day))),
                (keys.flagged(day), ("PFCOUNT", keys.flagged(day))),
            ]
        )
        if allowed:
            await self._skip(user, "allowed", flag_ms)
        elif not breaker_allows_flag(flagged, active, self._anomalies.max_flagged_share):
            until_midnight = (day + 1) * DAY_MS - now_ms
            if await self._skip(user, "held_back", until_midnight):
                await self._warn_once(day, flagged, active)
        elif self._anomalies.online == "shadow":
            if await self._skip(user, "shadow", flag_ms):
                await self._record(user, verdict, now_ms)
        elif await self._write_flag(user, verdict, now_ms, flag_ms):
            self._count("flags", "flagged")
            await self._record(user, verdict, now_ms)

    async def _write_flag(self, user: str, verdict: Verdict, now_ms: int, flag_ms: int) -> bool:
        """Write the index entry, then the flag; return whether this worker was the first to write it."""
        keys = self._keys
        since = datetime.fromtimestamp(now_ms / 1e3, UTC)
        until = since + timedelta(milliseconds=flag_ms)
        flag = encode_flag(Flag(user, verdict.score, verdict.reasons, "online", since, until))
        await self._redis.execute(
            keys.flags,
            ("ZREMRANGEBYSCORE", keys.flags, "-inf", now_ms),
            ("ZADD", keys.flags, "NX", now_ms + flag_ms, user),
        )
        (written,) = await self._redis.execute(keys.flag(user), ("SET", keys.flag(user), flag, "NX", "PX", flag_ms))
        return written is not None

    async def _skip(self, user: str, outcome: FlagOutcome, milliseconds: int) -> bool:
        """Record why a user is not flagged, and skip the user from now on; return whether this worker was first."""
        key = self._keys.suspect(user)
        (written,) = await self._redis.execute(key, ("SET", key, outcome, "NX", "PX", milliseconds))
        if written is not None:
            self._count("flags", outcome)
        return written is not None

    async def _record(self, user: str, verdict: Verdict, now_ms: int) -> None:
        """Append a flag to the event stream, and count the user among the day's flagged users."""
        keys, flagged = self._keys, self._keys.flagged(now_ms // DAY_MS)
        entry: dict[str, Any] = {
            USER_ID: user,
            SCORE: verdict.score,
            REASONS: verdict.reasons,
            TIMESTAMP: datetime.fromtimestamp(now_ms / 1e3, UTC),
            SHADOW: self._anomalies.online == "shadow",
        }
        await self._redis.execute_each(
            [
                (keys.events, ("XADD", keys.events, "*", FLAG_FIELD, msgspec.json.encode(entry))),
                (flagged, ("PFADD", flagged, user)),
                (flagged, ("PEXPIRE", flagged, 2 * DAY_MS)),
            ]
        )

    async def _warn_once(self, day: int, flagged: int, active: int) -> None:
        """Log that the circuit breaker has opened, once a day over all workers."""
        key = self._keys.breaker(day)
        (first,) = await self._redis.execute(key, ("SET", key, 1, "NX", "PX", 2 * DAY_MS))
        if first is not None:
            log.warning("automatic flagging stopped for today", flagged=flagged, active=active)
