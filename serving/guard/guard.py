"""The guard: detects bots while their events are taken in, and flags them.

Intake calls three methods in turn and sends their commands with its own, so that most batches need no extra round
trip. `read_commands` returns commands that read which users are flagged already, `write_commands` returns commands
that count the batch, and `flag_suspects` scores the users whose counts look suspicious. A batch costs one more
command for each of its users and about four for all of them together. All counts are in Redis: every worker sees
the same counts, and none is lost with a worker.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from math import ceil
from typing import Final

from recsys.anomaly.circuit_breaker import DAY_MS
from recsys.anomaly.limits import LIMITS
from recsys.anomaly.networks import is_within, parse_networks
from recsys.anomaly.scoring import (
    FAST_ACTS,
    RECENT_ACTS,
    SUSPICIOUS_SHARE,
    has_suspicious_timing,
    score_user,
    select_order_events,
)
from recsys.anomaly.windows import WINDOWS_MS
from recsys.errors import StoreError
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.keys import Keys
from recsys.store.resp import encode_argument, encode_arguments, encode_head
from serving.guard.commands import BatchReplies, GuardReads, GuardWrites, parse_replies
from serving.guard.counters import KEPT_WINDOWS, UNKNOWN_ORIGIN, EventCounters, KeyedCommand, Origin
from serving.guard.flagger import Flagger
from serving.guard.observation import BatchObservations, ObservedEvent, Observer, UserObservation
from serving.guard.origin_traffic import KEPT_MS, OriginTraffic
from serving.guard.signals import SignalReader

MAX_CACHED_ADDRESSES: Final = 10_000
EXPIRY_INTERVAL_MS: Final = 10_000
"""A worker sets the expiry of a key at most this often."""
MAX_EXPIRIES: Final = 10_000
"""Keys whose last expiry a worker remembers."""
SUSPICIOUS_EVENTS: Final = tuple(ceil(SUSPICIOUS_SHARE * limit) for limit in LIMITS.events)
"""Events of a user in each window from which the user is scored."""

READ_LATEST: Final = encode_head(5, "ZREVRANGE")
LATEST: Final = encode_arguments(0, RECENT_ACTS - 1, "WITHSCORES")


class Guard:
    """Observes batches of events, and flags users who behave like bots."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisClient,
        keys: Keys,
        pseudonyms: Pseudonyms | None,
        now: Callable[[], float],
        count: Callable[..., None],
    ) -> None:
        """`now` gives Unix seconds; `count` adds to a counter of the worker: its name, labels, and `by`."""
        self._redis, self._keys, self._now, self._count = redis, keys, now, count
        self._flag_threshold = settings.anomalies.flag_threshold
        self._weights = settings.sources.event_weights
        self._order_events = select_order_events(self._weights)
        self._counters = EventCounters(keys)
        self._observer = Observer(self._counters, self._weights, self._order_events)
        self._traffic = OriginTraffic(keys)
        self._signals = SignalReader(redis, keys, self._counters, settings.serving.session_events)
        self._flagger = Flagger(settings.anomalies, redis, keys, count)
        allowed = settings.anomalies.allowed_users
        self._allowed_users = frozenset(allowed if pseudonyms is None else map(pseudonyms.user, allowed))
        if pseudonyms is not None:
            self._counters.set_hash_key(pseudonyms.origin_key())
        networks = parse_networks(settings.anomalies.allowed_networks)
        self._is_allowed_address = lru_cache(MAX_CACHED_ADDRESSES)(partial(is_within, networks=networks))
        self._expiry_set_ms: dict[str, int] = {}
        """When this worker last set the expiry of a key, Unix milliseconds."""

    async def ready(self) -> None:
        """Read the key of the hashes, once; the first worker creates it. Raises `StoreError`.

        With pseudonyms the key is made of theirs, and is not in Redis.
        """
        if not self._counters.has_hash_key:
            key = self._keys.salt
            _, salt = await self._redis.execute(key, ("SET", key, secrets.token_hex(16), "NX"), ("GET", key))
            self._counters.set_hash_key(salt)

    def origin(self, ip: str | None, user_agent: str | None) -> Origin:
        """Hash the origin of an event; it is unknown without an address, and for addresses of allowed networks."""
        if ip is None or self._is_allowed_address(ip):
            return UNKNOWN_ORIGIN
        return self._counters.origin(ip, user_agent or "")

    def read_commands(self, events: Sequence[ObservedEvent]) -> GuardReads:
        """Return the commands that read which users of a batch are flagged, or were recently skipped.

        It is one command; in a Cluster it is one for each key, because a node does not answer for two absent keys
        while their slot moves.
        """
        users = list({event.user_id for event in events if event.user_id is not None} - self._allowed_users)
        names = [*map(self._keys.flag, users), *map(self._keys.suspect, users)]
        if self._redis.is_cluster:
            return GuardReads(users, [(name, ("GET", name)) for name in names])
        return GuardReads(users, [(names[0], ("MGET", *names))] if names else [])

    def write_commands(
        self,
        events: Sequence[ObservedEvent],
        origins: Sequence[Origin],
        reads: GuardReads,
        replies: Sequence[Reply],
    ) -> GuardWrites:
        """Observe a batch, given the replies to `reads`, and return the commands that count it.

        Events of flagged users and events without weight are not counted. `origins` has the origin of each event.
        """
        unflagged = self._unflagged_users(reads.users, replies)
        observed = (
            (event, origin)
            for event, origin in zip(events, origins, strict=True)
            if event.user_id in unflagged and self._weights[event.event]
        )
        observations = self._observer.observe(observed, int(self._now() * 1e3))
        if not observations.users:
            return GuardWrites(observations)
        latest = [self._read_latest(user_id) for user_id in observations.users]
        counting, lifetimes = self._count_batch(observations)
        renewed_at_ms = observations.now_ms - EXPIRY_INTERVAL_MS
        expiring = [key for key in lifetimes if self._expiry_set_ms.get(key, 0) <= renewed_at_ms]
        expiries: list[KeyedCommand] = [(key, ("PEXPIRE", key, lifetimes[key])) for key in expiring]
        return GuardWrites(observations, latest + counting + expiries, expiring)

    async def flag_suspects(self, writes: GuardWrites, replies: Sequence[Reply]) -> None:
        """Score the users who look suspicious, given the replies to `writes`, and flag those over the threshold.

        The events are stored by now, so errors of Redis are ignored: the users' next events are scored again.
        """
        observations = writes.observations
        if not observations.users:
            return
        batch = parse_replies(observations, replies)
        self._remember_expiries(writes)
        self._count("events_scored", by=sum(user.events for user in observations.users.values()))
        suspects = [
            (user_id, observation)
            for user_id, observation in observations.users.items()
            if self._is_suspicious(user_id, observation, batch)
        ]
        newly_busy = self._traffic.count_newly_busy(observations, batch.counts)
        if not (suspects or newly_busy):
            return
        with suppress(StoreError):
            if newly_busy:
                await self._redis.execute_each(newly_busy)
            for user_id, observation in suspects:
                signals = await self._signals.read(user_id, observation, batch.are_purchases_priced)
                verdict = score_user(signals, self._order_events)
                if verdict.score >= self._flag_threshold:
                    await self._flagger.flag(user_id, verdict, observations.now_ms)

    def _unflagged_users(self, users: Sequence[str], replies: Sequence[Reply]) -> set[str]:
        values = replies if self._redis.is_cluster or not users else replies[0]
        flags, suspects = values[: len(users)], values[len(users) :]
        return {
            user
            for user, flag, suspect in zip(users, flags, suspects, strict=True)
            if flag is None and suspect is None
        }

    def _read_latest(self, user_id: str) -> KeyedCommand:
        key = self._keys.session(user_id)
        return key, READ_LATEST + encode_argument(key) + LATEST

    def _count_batch(self, observations: BatchObservations) -> tuple[list[KeyedCommand], dict[str, int]]:
        """Return the commands that count a batch, and how many milliseconds each of their keys is kept."""
        day = observations.now_ms // DAY_MS
        active, prices = self._keys.active(day), self._keys.prices(day)
        commands: list[KeyedCommand] = []
        lifetimes: dict[str, int] = {}
        for bucket, cells in observations.increments.items():
            key, command = self._counters.increment(bucket, cells)
            commands.append((key, command))
            lifetimes[key] = KEPT_WINDOWS * WINDOWS_MS[bucket[0]]
        if observations.purchases:
            commands.append((prices, ("HINCRBY", prices, "purchases", observations.purchases)))
            commands.append((prices, ("HINCRBY", prices, "priced", observations.priced_purchases)))
            lifetimes[prices] = 2 * DAY_MS
        commands.append((active, ("PFADD", active, *observations.users)))
        lifetimes[active] = 2 * DAY_MS
        for key, command in self._traffic.count_busy(observations):
            commands.append((key, command))
            lifetimes[key] = KEPT_MS
        return commands, lifetimes

    def _remember_expiries(self, writes: GuardWrites) -> None:
        if len(self._expiry_set_ms) > MAX_EXPIRIES:
            self._expiry_set_ms.clear()
        self._expiry_set_ms |= dict.fromkeys(writes.expiring, writes.observations.now_ms)

    def _is_suspicious(self, user_id: str, observation: UserObservation, batch: BatchReplies) -> bool:
        """Return whether the latest acts or the counts after this batch are reasons to score the user."""
        latest_acts = batch.latest_acts[user_id]
        if len(latest_acts) >= 2 * FAST_ACTS and has_suspicious_timing([float(time) for time in latest_acts[1::2]]):
            return True
        cell = self._counters.user_cell(user_id)
        for window, minimum in enumerate(SUSPICIOUS_EVENTS):
            counts = batch.counts.get((window, observation.at_ms // WINDOWS_MS[window]))
            if counts is not None and counts.get(cell, 0) >= minimum:
                return True
        return False
