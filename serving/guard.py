"""Who behaves like a script is found while events are taken in, and held back: the online half of anomalies.

All counts are in Redis, so that every worker has the same and none is lost with one. A batch of events costs two
more commands for each of its users, and four pairs for all of them; who looks suspicious then is looked at closely.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from math import ceil
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
import structlog

from recsys.anomaly.acts import Act
from recsys.anomaly.breaker import DAY_MS, has_prices, stays_closed
from recsys.anomaly.limits import LIMITS
from recsys.anomaly.scoring import (
    BUSY_EVENTS,
    GLANCED,
    SUSPICIOUS_SHARE,
    Seen,
    Verdict,
    hasty,
    judged,
    order_events,
)
from recsys.anomaly.windows import NO_COUNTS, WINDOWS_MS, Counts, bucket_of
from recsys.errors import StoreError
from recsys.schema import REASONS, SCORE, SHADOW, TIMESTAMP, USER_ID
from recsys.settings import Settings
from recsys.store.flags import Flag, encode_flag
from recsys.store.keys import FLAG_FIELD, Keys
from recsys.store.link import Command, Reply
from recsys.store.links import Links
from serving.known import acts_of
from serving.rates import Bucket, Rates, sliding_counts

HOUR: Final = 2
HOUR_MS: Final = WINDOWS_MS[HOUR]
CACHED_ADDRESSES: Final = 10_000
SUSPICIOUS: Final = tuple(ceil(SUSPICIOUS_SHARE * limit) for limit in LIMITS.events)

Outcome = Literal["flagged", "shadow", "held_back", "allowed"]
Asked = tuple[str, Command]

log = structlog.get_logger()


class Happened(Protocol):
    """What the guard looks at of an event."""

    user_id: str | None
    item_id: str
    event: str
    timestamp: datetime | None
    price: float | None
    session_id: str | None


class Origin(NamedTuple):
    """Where an event came from, as hashes: the address, and address and browser together."""

    address: str | None = None
    device: str | None = None


UNKNOWN: Final = Origin()


@dataclass
class Watched:
    """What one batch has of a user."""

    at_ms: int
    events: int = 0
    unpriced: bool = False
    session: str | None = None
    origin: Origin = UNKNOWN
    glance: Sequence[Reply] = ()
    """Members and scores of the session, the latest first."""


@dataclass
class Batch:
    """Users of a batch who are not held back yet, and what is to be counted of them."""

    now_ms: int
    users: dict[str, Watched] = field(default_factory=dict[str, Watched])
    counted: dict[Bucket, dict[str, int]] = field(default_factory=dict[Bucket, dict[str, int]])
    items: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Items of each address."""
    devices: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Users of each device."""
    purchases: int = 0
    priced: int = 0


class Guard:
    """Looks at what is taken in, and flags."""

    def __init__(
        self,
        settings: Settings,
        links: Links,
        keys: Keys,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
        count: Callable[..., None],
    ) -> None:
        """`count` adds to a counter of the worker: its name, labels, and `by`."""
        self._links, self._keys, self._now, self._count = links, keys, now, count
        self._anomalies = settings.anomalies
        self._weights = settings.sources.event_weights
        self._orders = order_events(self._weights)
        self._rates = Rates(keys)
        self._allowed = frozenset(map(stored_id, settings.anomalies.allowed_users))
        self._networks = [ip_network(network) for network in settings.anomalies.allowed_networks]
        self._counts_for_nothing = lru_cache(CACHED_ADDRESSES)(self._is_allowed_address)
        self._session_events = settings.serving.session_events

    async def ready(self) -> None:
        """Know the key of the hashes; raises `StoreError` when Redis does not tell."""
        if not self._rates.salted:
            key = self._keys.salt
            _, salt = await self._links.call(key, ("SET", key, secrets.token_hex(16), "NX"), ("GET", key))
            self._rates.salt(salt)

    def origin(self, ip: str | None, user_agent: str | None) -> Origin:
        """Hashes of where an event came from; unknown where it does not say, and for addresses that are allowed."""
        if ip is None or (self._networks and self._counts_for_nothing(ip)):
            return UNKNOWN
        return Origin(self._rates.hash_of(ip), self._rates.hash_of(ip, user_agent or ""))

    async def begin(self, events: Sequence[Happened], origins: Sequence[Origin]) -> Batch:
        """What is to be counted of a batch: nothing of those who are held back already."""
        now_ms = int(self._now() * 1e3)
        users = list({event.user_id for event in events if event.user_id is not None} - self._allowed)
        keys = self._keys
        held = await self._links.each(
            [(keys.flag(user), ("EXISTS", keys.flag(user), keys.suspect(user))) for user in users]
        )
        free = {user for user, is_held in zip(users, held, strict=True) if not is_held}
        batch = Batch(now_ms)
        for event, origin in zip(events, origins, strict=True):
            if event.user_id in free and self._weights[event.event]:
                self._add(batch, event, origin)
        return batch

    async def count(self, batch: Batch) -> list[Reply]:
        """Count a batch; may go in the same trip as its sessions. Raises `StoreError`."""
        if not batch.users:
            return []
        keys, day = self._keys, batch.now_ms // DAY_MS
        active, prices = keys.active(day), keys.prices(day)
        asked = self._rates.counting(batch.counted)
        asked += [(active, ("PFADD", active, *batch.users)), (active, ("PEXPIRE", active, 2 * DAY_MS))]
        if batch.purchases:
            asked.append((prices, ("HINCRBY", prices, "purchases", batch.purchases)))
            asked.append((prices, ("HINCRBY", prices, "priced", batch.priced)))
            asked.append((prices, ("PEXPIRE", prices, 2 * DAY_MS)))
        return await self._links.each(asked)

    async def finish(self, batch: Batch, counts: Sequence[Reply]) -> None:
        """Flag who of a batch is no shopper, once it is counted and glanced at.

        The events are taken by now: where Redis does not answer any more, the next ones tell the same.
        """
        if not batch.users:
            return
        self._count("events_scored", by=sum(watched.events for watched in batch.users.values()))
        now = {
            bucket: dict(zip(cells, counts[2 * place], strict=True))
            for place, (bucket, cells) in enumerate(batch.counted.items())
        }
        priced = bool(batch.purchases) and has_prices(*map(int, counts[-3:-1]))
        suspects = [user for user, watched in batch.users.items() if self._is_suspicious(user, watched, now)]
        with suppress(StoreError):
            spread = self._spreading(batch, now)
            if spread:
                await self._links.each(spread)
            for user in suspects:
                watched = batch.users[user]
                seen = await self._look(user, watched, priced)
                verdict = judged(seen, self._orders)
                if verdict.score >= self._anomalies.flag_score:
                    await self._flag(user, verdict, batch.now_ms)

    def _add(self, batch: Batch, event: Happened, origin: Origin) -> None:
        """Count an event of a user who is not held back, unless it is too late to count for any window."""
        assert event.timestamp is not None
        assert event.user_id is not None
        now_ms = batch.now_ms
        at_ms = min(int(event.timestamp.timestamp() * 1e3), now_ms)
        if at_ms // HOUR_MS < now_ms // HOUR_MS - 1:
            return
        watched = batch.users.get(event.user_id)
        if watched is None:
            watched = batch.users[event.user_id] = Watched(at_ms)
        watched.at_ms = max(watched.at_ms, at_ms)
        watched.events += 1
        watched.session = event.session_id or watched.session
        watched.origin = origin if origin.address is not None else watched.origin
        if event.event in self._orders:
            if self._weights[event.event] > 0:
                batch.purchases += 1
                batch.priced += event.price is not None
                watched.unpriced |= event.price is None
            return
        cells = self._rates.user_cells(event.user_id)
        if event.session_id is not None:
            cells += self._rates.cells("session", event.session_id)
        address, device = origin
        if address is not None and device is not None:
            cells += self._rates.cells("address", address) + self._rates.cells("device", device)
            batch.items.setdefault(address, set()).add(event.item_id)
            batch.devices.setdefault(device, set()).add(event.user_id)
        for window, window_ms in enumerate(WINDOWS_MS):
            bucket = at_ms // window_ms
            if bucket >= now_ms // window_ms - 1:
                table = batch.counted.setdefault((window, bucket), {})
                for cell in cells:
                    table[cell] = table.get(cell, 0) + 1

    def _is_suspicious(self, user: str, watched: Watched, now: dict[Bucket, dict[str, int]]) -> bool:
        """Whether what was counted just now, or the last acts, ask for a close look."""
        one, other = self._rates.user_cells(user)
        for window, least in enumerate(SUSPICIOUS):
            table = now.get((window, watched.at_ms // WINDOWS_MS[window]))
            if table is not None and min(table.get(one, 0), table.get(other, 0)) >= least:
                return True
        return hasty([float(score) for score in watched.glance[1::2]])

    def _spreading(self, batch: Batch, now: dict[Bucket, dict[str, int]]) -> list[Asked]:
        """Items of busy addresses and users of busy devices, to be counted each once."""
        asked: list[Asked] = []
        hour = bucket_of(batch.now_ms, HOUR_MS)
        table = now.get((HOUR, hour), {})
        for kind, found, key_of in (
            ("address", batch.items, self._keys.items_of),
            ("device", batch.devices, self._keys.users_of),
        ):
            for name, members in found.items():
                (cell,) = self._rates.cells(kind, name)
                if table.get(cell, 0) >= BUSY_EVENTS:
                    key = key_of(name, hour)
                    asked += [(key, ("PFADD", key, *members)), (key, ("PEXPIRE", key, 2 * HOUR_MS))]
        return asked

    async def _look(self, user: str, watched: Watched, priced: bool) -> Seen:
        """All that is known of a user."""
        keys, at_ms, hour = self._keys, watched.at_ms, bucket_of(watched.at_ms, HOUR_MS)
        cells = list(self._rates.user_cells(user))
        address, device = watched.origin
        named = [("session", watched.session), ("address", address), ("device", device)]
        places = {"user": [0, 1]}
        for kind, name in named:
            if name is not None:
                places[kind] = [len(cells)]
                cells += self._rates.cells(kind, name)
        session = keys.session(user)
        items, users = keys.items_of(address or "", hour), keys.users_of(device or "", hour)
        acts, item_count, user_count, *replies = await self._links.each(
            [
                (session, ("ZREVRANGE", session, 0, self._session_events - 1, "WITHSCORES")),
                (items, ("PFCOUNT", items)),
                (users, ("PFCOUNT", users)),
                *self._rates.reading(cells, at_ms),
            ]
        )
        counts: dict[str, Counts] = {kind: sliding_counts(replies, found, at_ms) for kind, found in places.items()}
        return Seen(
            at_ms,
            [Act(act.at, act.item_id, act.event) for act in acts_of(acts)],
            counts["user"],
            counts.get("session", NO_COUNTS),
            counts.get("address", NO_COUNTS),
            counts.get("device", NO_COUNTS),
            item_count,
            user_count,
            watched.unpriced and priced,
        )

    async def _flag(self, user: str, verdict: Verdict, now_ms: int) -> None:
        """Hold a user back, or say why not; once, whichever worker is first."""
        keys, day = self._keys, now_ms // DAY_MS
        flag_ms = int(self._anomalies.flag_hours * 3_600_000)
        allowed, active, flagged = await self._links.each(
            [
                (keys.allowed, ("SISMEMBER", keys.allowed, user)),
                (keys.active(day), ("PFCOUNT", keys.active(day))),
                (keys.flagged(day), ("PFCOUNT", keys.flagged(day))),
            ]
        )
        if allowed:
            await self._spare(user, "allowed", flag_ms)
        elif not stays_closed(flagged, active, self._anomalies.most_flagged):
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
        await self._links.call(
            keys.flags,
            ("ZREMRANGEBYSCORE", keys.flags, "-inf", now_ms),
            ("ZADD", keys.flags, "NX", now_ms + flag_ms, user),
        )
        (done,) = await self._links.call(keys.flag(user), ("SET", keys.flag(user), flag, "NX", "PX", flag_ms))
        return done is not None

    async def _spare(self, user: str, outcome: Outcome, milliseconds: int) -> bool:
        """Note why a user is not flagged, and look away for so long; whether no other worker had."""
        key = self._keys.suspect(user)
        (done,) = await self._links.call(key, ("SET", key, outcome, "NX", "PX", milliseconds))
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
        await self._links.each(
            [
                (keys.events, ("XADD", keys.events, "*", FLAG_FIELD, msgspec.json.encode(entry))),
                (flagged, ("PFADD", flagged, user)),
                (flagged, ("PEXPIRE", flagged, 2 * DAY_MS)),
            ]
        )

    async def _tell_once(self, day: int, flagged: int, active: int) -> None:
        key = self._keys.breaker(day)
        (first,) = await self._links.call(key, ("SET", key, 1, "NX", "PX", 2 * DAY_MS))
        if first is not None:
            log.warning("no more users are flagged automatically today", flagged=flagged, active=active)

    def _is_allowed_address(self, ip: str) -> bool:
        try:
            address = ip_address(ip)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def glance(session: str) -> Command:
    """What is asked of a user's session, a key, once a batch is in it."""
    return ("ZREVRANGE", session, 0, GLANCED - 1, "WITHSCORES")
