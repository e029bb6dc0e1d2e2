"""Who behaves like a script is found while events are taken in, and held back: the online half of anomalies.

All counts are in Redis, so that every worker has the same and none is lost with one. A batch of events costs one
more command for each of its users and four for all of them, in the trips that are made anyway; who looks suspicious
then is looked at closely.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from math import ceil
from typing import Final

from recsys.anomaly.circuit_breaker import DAY_MS, has_prices
from recsys.anomaly.limits import LIMITS
from recsys.anomaly.networks import is_within, networks_of
from recsys.anomaly.scoring import BUSY_EVENTS, FAST_ACTS, SUSPICIOUS_SHARE, Seen, hasty, judged, order_events
from recsys.anomaly.windows import NO_COUNTS, WINDOWS_MS, Counts, Kind, bucket_of
from recsys.errors import StoreError
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Command, Reply
from recsys.store.keys import Keys
from serving.engine.user_state import parse_session
from serving.guard.counters import KEPT_WINDOWS, Cell, Origin, Rates, sliding_counts
from serving.guard.flagger import Flagger
from serving.guard.observation import HOUR, HOUR_MS, UNKNOWN, Batch, Counting, Happened, Watched

CACHED_ADDRESSES: Final = 10_000
END_AGAIN_MS: Final = 10_000
"""A worker tells so often that a table ends."""
MAX_ENDING: Final = 10_000
MAX_BUSY: Final = 100_000
SUSPICIOUS: Final = tuple(ceil(SUSPICIOUS_SHARE * limit) for limit in LIMITS.events)

ListRequest = tuple[str, Command]


class Guard:
    """Looks at what is taken in, and flags."""

    def __init__(
        self,
        settings: Settings,
        links: RedisClient,
        keys: Keys,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
        count: Callable[..., None],
    ) -> None:
        """`count` adds to a counter of the worker: its name, labels, and `by`."""
        self._links, self._keys, self._now, self._count = links, keys, now, count
        self._flag_score = settings.anomalies.flag_threshold
        self._weights = settings.sources.event_weights
        self._orders = order_events(self._weights)
        self._rates = Rates(keys)
        self._counting = Counting(self._rates, self._weights, self._orders)
        self._flagger = Flagger(settings.anomalies, links, keys, count)
        self._allowed = frozenset(map(stored_id, settings.anomalies.allowed_users))
        networks = networks_of(settings.anomalies.allowed_networks)
        self._counts_for_nothing = lru_cache(CACHED_ADDRESSES)(partial(is_within, networks=networks))
        self._session_events = settings.serving.session_events
        self._ending: dict[str, int] = {}
        """When this worker last gave a key an end, Unix milliseconds."""
        self._busy: set[tuple[Cell, int]] = set()
        """Addresses and devices that are known to be busy in an hour: what they do is counted with all else."""

    async def ready(self) -> None:
        """Know the key of the hashes; raises `StoreError` when Redis does not tell."""
        if not self._rates.salted:
            key = self._keys.salt
            _, salt = await self._links.call(key, ("SET", key, secrets.token_hex(16), "NX"), ("GET", key))
            self._rates.salt(salt)

    def origin(self, ip: str | None, user_agent: str | None) -> Origin:
        """Hashes of where an event came from; unknown where it does not say, and for addresses that are allowed."""
        if ip is None or self._counts_for_nothing(ip):
            return UNKNOWN
        return self._rates.origin(ip, user_agent or "")

    def users_of(self, events: Sequence[Happened]) -> list[str]:
        """Whose events are looked at, unless they are held back already."""
        return list({event.user_id for event in events if event.user_id is not None} - self._allowed)

    def asking(self, users: Sequence[str]) -> list[ListRequest]:
        """The commands that ask who is held back.

        One, but in a Cluster one for each key: while a slot moves it tells of no two keys that are not there.
        """
        names = [*map(self._keys.flag, users), *map(self._keys.suspect, users)]
        if self._links.clustered:
            return [(name, ("GET", name)) for name in names]
        return [(names[0], ("MGET", *names))] if names else []

    def _free(self, users: Sequence[str], replies: Sequence[Reply]) -> set[str]:
        """Who is not held back, by the replies to `asking`."""
        found = replies if self._links.clustered or not users else replies[0]
        flags, suspects = found[: len(users)], found[len(users) :]
        return {
            user
            for user, flag, suspect in zip(users, flags, suspects, strict=True)
            if flag is None and suspect is None
        }

    def batch(
        self, events: Sequence[Happened], origins: Sequence[Origin], users: Sequence[str], replies: Sequence[Reply]
    ) -> Batch:
        """What is to be counted of some events, by the replies to `asking`: nothing of those who are held back."""
        free = self._free(users, replies)
        batch = Batch(int(self._now() * 1e3))
        for event, origin in zip(events, origins, strict=True):
            if event.user_id in free and self._weights[event.event]:
                self._counting.add(batch, event, origin)
        return batch

    def counting(self, batch: Batch) -> list[ListRequest]:
        """The commands that count a batch."""
        if not batch.users:
            return []
        day = batch.now_ms // DAY_MS
        active, prices = self._keys.active(day), self._keys.prices(day)
        asked = [self._rates.counting(bucket, cells) for bucket, cells in batch.counted.items()]
        ends = [
            (key, KEPT_WINDOWS * WINDOWS_MS[window])
            for (window, _), (key, _) in zip(batch.counted, asked, strict=True)
        ]
        if batch.purchases:
            asked.append((prices, ("HINCRBY", prices, "purchases", batch.purchases)))
            asked.append((prices, ("HINCRBY", prices, "priced", batch.priced)))
            ends.append((prices, 2 * DAY_MS))
        asked.append((active, ("PFADD", active, *batch.users)))
        ends.append((active, 2 * DAY_MS))
        hour = bucket_of(batch.now_ms, HOUR_MS)
        for key, members in self._spread(batch, lambda cell: (cell, hour) in self._busy).items():
            asked.append((key, ("PFADD", key, *members)))
            ends.append((key, 2 * HOUR_MS))
        latest = batch.now_ms - END_AGAIN_MS
        batch.ending = [key for key, _ in ends if self._ending.get(key, 0) <= latest]
        return asked + [(key, ("PEXPIRE", key, end)) for key, end in ends if key in batch.ending]

    def counted(self, batch: Batch, replies: Sequence[Reply]) -> None:
        """Take note of the replies to `counting`."""
        batch.counts = {
            bucket: dict(zip(cells, counts, strict=True))
            for (bucket, cells), counts in zip(batch.counted.items(), replies, strict=False)
        }
        if batch.purchases:
            place = len(batch.counted)
            batch.are_priced = has_prices(int(replies[place]), int(replies[place + 1]))
        if len(self._ending) > MAX_ENDING:
            self._ending.clear()
        self._ending |= dict.fromkeys(batch.ending, batch.now_ms)

    async def finish(self, batch: Batch) -> None:
        """Flag who of a batch is no shopper, once it is counted and glanced at.

        The events are taken by now: where Redis does not answer any more, the next ones tell the same.
        """
        if not batch.users:
            return
        self._count("events_scored", by=sum(watched.events for watched in batch.users.values()))
        suspects = [item for item in batch.users.items() if self._is_suspicious(batch, *item)]
        spread = self._newly_busy(batch)
        if not (suspects or spread):
            return
        with suppress(StoreError):
            if spread:
                await self._links.each(spread)
            for user, watched in suspects:
                verdict = judged(await self._look(user, watched, batch.are_priced), self._orders)
                if verdict.score >= self._flag_score:
                    await self._flagger.flag(user, verdict, batch.now_ms)

    def _is_suspicious(self, batch: Batch, user: str, watched: Watched) -> bool:
        """Whether what was counted just now, or the last acts, ask for a close look."""
        if len(watched.glance) >= 2 * FAST_ACTS and hasty([float(score) for score in watched.glance[1::2]]):
            return True
        cell = self._rates.user_cell(user)
        for window, least in enumerate(SUSPICIOUS):
            counts = batch.counts.get((window, watched.at_ms // WINDOWS_MS[window]))
            if counts is not None and counts.get(cell, 0) >= least:
                return True
        return False

    def _newly_busy(self, batch: Batch) -> list[ListRequest]:
        """The commands that count items and users of addresses and devices that have become busy just now."""
        hour = bucket_of(batch.now_ms, HOUR_MS)
        counts = batch.counts.get((HOUR, hour), {})
        cells = {cell for origin, *_ in batch.spread for cell in (origin.address_cell, origin.device_cell)}
        new = {cell for cell in cells if counts.get(cell, 0) >= BUSY_EVENTS and (cell, hour) not in self._busy}
        if len(self._busy) > MAX_BUSY:
            self._busy.clear()
        self._busy |= {(cell, hour) for cell in new}
        return [
            command
            for key, members in self._spread(batch, new.__contains__).items()
            for command in ((key, ("PFADD", key, *members)), (key, ("PEXPIRE", key, 2 * HOUR_MS)))
        ]

    def _spread(self, batch: Batch, is_busy: Callable[[Cell], bool]) -> dict[str, set[str]]:
        """Items of busy addresses and users of busy devices, to be counted each once, by the key they count in."""
        hour = bucket_of(batch.now_ms, HOUR_MS)
        found: dict[str, set[str]] = {}
        for origin, item, user in batch.spread:
            if is_busy(origin.address_cell):
                found.setdefault(self._keys.items_of(origin.address or "", hour), set()).add(item)
            if is_busy(origin.device_cell):
                found.setdefault(self._keys.users_of(origin.device or "", hour), set()).add(user)
        return found

    async def _look(self, user: str, watched: Watched, are_priced: bool) -> Seen:
        """All that is known of a user."""
        keys, at_ms, hour = self._keys, watched.at_ms, bucket_of(watched.at_ms, HOUR_MS)
        origin, session = watched.origin, keys.session(user)
        cells: dict[Kind, Cell] = {"user": self._rates.user_cell(user)}
        if watched.session is not None:
            cells["session"] = self._rates.session_cell(watched.session)
        if origin.address is not None:
            cells["address"], cells["device"] = origin.address_cell, origin.device_cell
        items, users = keys.items_of(origin.address or "", hour), keys.users_of(origin.device or "", hour)
        acts, item_count, user_count, *replies = await self._links.each(
            [
                (session, ("ZREVRANGE", session, 0, self._session_events - 1, "WITHSCORES")),
                (items, ("PFCOUNT", items)),
                (users, ("PFCOUNT", users)),
                *self._rates.reading(list(cells.values()), at_ms),
            ]
        )
        counts: dict[Kind, Counts] = {
            kind: sliding_counts(replies, place, at_ms) for place, kind in enumerate(cells)
        }
        return Seen(
            at_ms,
            parse_session(acts),
            counts["user"],
            counts.get("session", NO_COUNTS),
            counts.get("address", NO_COUNTS),
            counts.get("device", NO_COUNTS),
            item_count,
            user_count,
            watched.unpriced and are_priced,
            len(acts) < 2 * self._session_events,
        )
