"""Sessions in Redis: the latest events of each user, as a sorted set by time."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from recsys.schema import PURCHASE, REFUND
from recsys.settings.online import Serving
from recsys.store.keys import Keys
from recsys.store.resp import encode_argument, encode_arguments, encode_head
from serving.api import MAX_EVENTS
from serving.guard.counters import KeyedCommand
from serving.intake.event_parsing import Event
from serving.requests import guest_user_id

DAY_MS: Final = 86_400_000
REMOVE_BY_RANK: Final = encode_head(4, "ZREMRANGEBYRANK")
EXPIRE: Final = encode_head(3, "PEXPIRE")
UNIT_EVENTS: Final = frozenset((PURCHASE, REFUND))
"""Events whose quantity decides what a user has."""

# An entry is in the session when its guest logs in, or it is added after the log-in and replied with the user:
# between the two there is no time at which it could be lost.
ADD_TO_GUEST: Final = """
local user = redis.call('GET', KEYS[2])
if user then return user end
redis.call('ZADD', KEYS[1], unpack(ARGV, 3))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return false
"""
JOIN: Final = """
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
"""

Entries = Sequence[Any]
"""Members of a session and their scores, in turns, as Redis replies with them."""


class SessionCommands:
    """Encodes the commands that write and read sessions."""

    def __init__(self, serving: Serving, keys: Keys) -> None:
        """Take the length and the lifetime of sessions from the settings."""
        self._keys = keys
        self._last_removed, self._lifetime_ms = -serving.session_events - 1, int(serving.session_days * DAY_MS)
        self._beyond_length = encode_arguments(0, self._last_removed)
        self._lifetime = encode_argument(self._lifetime_ms)

    def add(self, user_id: str, entries: Entries) -> list[KeyedCommand]:
        """Return the commands that add entries to a session.

        A sorted set keeps the latest events in whatever order they arrive, and a repeated event only once.
        """
        key = self._keys.session(user_id)
        encoded_key = encode_argument(key)
        # Members and scores in turns become scores and members, which is ZADD's order.
        scored = b"".join([encode_argument(entries[place ^ 1]) for place in range(len(entries))])
        return [
            (key, _encode_add(len(entries)) + encoded_key + scored),
            (key, REMOVE_BY_RANK + encoded_key + self._beyond_length),
            (key, EXPIRE + encoded_key + self._lifetime),
        ]

    def add_to_guest(self, guest_id: str, entries: Entries) -> KeyedCommand:
        """Return the command that adds entries to a guest's session.

        It replies with the user as whom the guest has logged in, and then adds nothing.
        """
        session, alias = self._keys.session(guest_id), self._keys.alias(guest_id)
        scored = [entries[place ^ 1] for place in range(len(entries))]
        return session, ("EVAL", ADD_TO_GUEST, 2, session, alias, self._last_removed, self._lifetime_ms, *scored)

    def join(self, guest_id: str, user_id: str) -> KeyedCommand:
        """Return the command that makes a guest's further entries those of a user; it replies with the session."""
        session, alias = self._keys.session(guest_id), self._keys.alias(guest_id)
        return session, ("EVAL", JOIN, 2, session, alias, user_id, self._lifetime_ms)

    def remove(self, user_id: str) -> KeyedCommand:
        """Return the command that removes a session."""
        key = self._keys.session(user_id)
        return key, ("UNLINK", key)


def collect_entries(
    events: Sequence[Event],
    weights: Mapping[str, float],
    value_weights: Mapping[str, Sequence[tuple[float, float]]],
) -> dict[str, list[Any]]:
    """Return the session entries of each user, from the events whose weight, also by their value, is not zero."""
    entries: dict[str, list[Any]] = {}
    for event in events:
        if event.event_id and event.user_id and event.timestamp and _weigh(event, weights, value_weights):
            quantity = f"\t{event.quantity:.12g}" if event.event in UNIT_EVENTS and event.quantity else ""
            member = f"{event.event_id} {event.item_id} {event.event}{quantity}".encode()
            entries.setdefault(event.user_id, []).extend((member, int(event.timestamp.timestamp() * 1e3)))
    return entries


def find_logins(events: Sequence[Event], stored_id: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return the users whose events name the session of a guest, each with that guest's stored user id."""
    pairs = {
        (event.user_id, stored_id(guest_user_id(event.session_id)))
        for event in events
        if event.session_id is not None and event.user_id is not None
    }
    return sorted((user_id, guest_id) for user_id, guest_id in pairs if user_id != guest_id)


def _weigh(
    event: Event, weights: Mapping[str, float], value_weights: Mapping[str, Sequence[tuple[float, float]]]
) -> float:
    points = value_weights.get(event.event)
    return weights[event.event] if points is None or event.value is None else weigh_value(event.value, points)


def weigh_value(value: float, points: Sequence[tuple[float, float]]) -> float:
    """Return the weight at a value, interpolated between points, as `features.event_weights` does by night."""
    (first, lowest), (_, highest) = points[0], points[-1]
    if value <= first:
        return lowest
    for (left, low), (right, high) in pairwise(points):
        if value < right:
            return low + (high - low) * ((value - left) / (right - left))
    return highest


@lru_cache(MAX_EVENTS)
def _encode_add(length: int) -> bytes:
    return encode_head(2 + length, "ZADD")
