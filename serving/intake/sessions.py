"""Sessions in Redis: the latest events of each user, as a sorted set by time, with a limit for each kind of event.

Each kind has a limit of its own, so that views do not push out purchases, carts, refunds and dislikes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from recsys.schema import PURCHASE, REFUND
from recsys.settings.online import Serving
from recsys.store.keys import Keys
from recsys.store.resp import encode_argument, encode_arguments, encode_head
from serving.engine.session_limits import MAX_CHOICES, SEEN_EVENTS, Entries
from serving.guard.counters import KeyedCommand
from serving.intake.event_parsing import Event, ValidRow

DAY_MS: Final = 86_400_000
UNIT_EVENTS: Final = frozenset((PURCHASE, REFUND))
"""Events whose quantity decides what a user has."""
_SEEN: Final = " or ".join(f"event == '{event}'" for event in sorted(SEEN_EVENTS))

# Adds entries (scores before members), then removes the earliest events of each name that are over its limit. The
# first arguments are the limit of views and clicks, that of other events, and the session's lifetime.
ADD: Final = f"""
redis.call('ZADD', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[1]) then
  local counts = {{}}
  for _, entry in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
    local event = string.match(entry, '^%S+ %S+ ([^\t]+)') or ''
    local limit = ({_SEEN}) and ARGV[1] or ARGV[2]
    counts[event] = (counts[event] or 0) + 1
    if counts[event] > tonumber(limit) then redis.call('ZREM', KEYS[1], entry) end
  end
end
return false
"""
# An entry is in the session when its guest logs in, or it is added after the log-in and replied with the user:
# between the two there is no time at which it could be lost.
ADD_TO_GUEST: Final = f"""
local user = redis.call('GET', KEYS[2])
if user then return user end
{ADD}
"""
JOIN: Final = """
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
"""


class SessionCommands:
    """Encodes the commands that write and read sessions."""

    def __init__(self, serving: Serving, keys: Keys) -> None:
        """Take the length and the lifetime of sessions from the settings."""
        self._keys = keys
        self._lifetime_ms = int(serving.session_days * DAY_MS)
        self._limits = (serving.session_events, max(MAX_CHOICES, serving.session_events), self._lifetime_ms)
        self._encoded_script, self._encoded_limits = (
            encode_arguments("EVAL", ADD, 1),
            encode_arguments(*self._limits),
        )

    def add(self, user_id: str, entries: Entries) -> KeyedCommand:
        """Return the command that adds entries to a session.

        A sorted set keeps the latest events in whatever order they arrive, and a repeated event only once.
        """
        key = self._keys.session(user_id)
        # Members and scores in turns become scores and members, which is ZADD's order.
        scored = b"".join([encode_argument(entries[place ^ 1]) for place in range(len(entries))])
        head = encode_head(7 + len(entries)) + self._encoded_script + encode_argument(key)
        return key, head + self._encoded_limits + scored

    def add_to_guest(self, guest_id: str, entries: Entries) -> KeyedCommand:
        """Return the command that adds entries to a guest's session.

        It replies with the user as whom the guest has logged in, and then adds nothing.
        """
        session, alias = self._keys.session(guest_id), self._keys.alias(guest_id)
        scored = [entries[place ^ 1] for place in range(len(entries))]
        return session, ("EVAL", ADD_TO_GUEST, 2, session, alias, *self._limits, *scored)

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


def find_logins(rows: Sequence[ValidRow]) -> list[tuple[str, str]]:
    """Return the users whose events name the session of a guest, each with that guest's stored user id."""
    pairs = {(row.event.user_id, row.guest_id) for row in rows}
    return sorted(
        (user_id, guest_id) for user_id, guest_id in pairs if user_id and guest_id and user_id != guest_id
    )


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
