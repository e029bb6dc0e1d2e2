"""The guard's observations of a batch of events: immutable values, computed from the events alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from recsys.anomaly.windows import WINDOWS_MS, is_countable
from serving.guard.counters import UNKNOWN_ORIGIN, Bucket, Cell, EventCounters, Origin

HOUR: Final = 2
"""Index of the hour among `WINDOWS_MS`."""
HOUR_MS: Final = WINDOWS_MS[HOUR]
SHORTEST_MS: Final = WINDOWS_MS[0]

CellCounts = dict[Cell, int]


class ObservedEvent(Protocol):
    """The fields of an event that the guard uses."""

    user_id: str | None
    item_id: str
    event: str
    timestamp: datetime | None
    price: float | None
    session_id: str | None


class UserObservation(NamedTuple):
    """The observations of one user in one batch."""

    at_ms: int
    """Time of the latest event in Unix milliseconds; at most the time of the batch."""
    events: int
    has_unpriced_purchase: bool
    session_id: str | None
    origin: Origin


class OriginUse(NamedTuple):
    """An event from a known origin: the item and the user that are counted there."""

    origin: Origin
    item_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class BatchObservations:
    """The observations of one batch, of users who are neither flagged nor allowed."""

    now_ms: int = 0
    users: Mapping[str, UserObservation] = field(default_factory=dict[str, UserObservation])
    increments: Mapping[Bucket, CellCounts] = field(default_factory=dict[Bucket, CellCounts])
    """Events to add to each cell of each bucket."""
    origin_uses: Sequence[OriginUse] = ()
    purchases: int = 0
    priced_purchases: int = 0


class Observer:
    """Computes the observations of a batch."""

    def __init__(self, counters: EventCounters, weights: Mapping[str, float], order_events: frozenset[str]) -> None:
        """`weights` has the weight of each event name, `order_events` the names that are lines of orders."""
        self._counters, self._weights, self._order_events = counters, weights, order_events

    def observe(self, events: Iterable[tuple[ObservedEvent, Origin]], now_ms: int) -> BatchObservations:
        """Return the observations of events; an event too late for any window is ignored."""
        tally = _Tally(now_ms)
        for event, origin in events:
            self._add(tally, event, origin)
        users = {user_id: user.observation() for user_id, user in tally.users.items()}
        return BatchObservations(
            now_ms, users, tally.increments, tally.origin_uses, tally.purchases, tally.priced_purchases
        )

    def _add(self, tally: "_Tally", event: ObservedEvent, origin: Origin) -> None:
        assert event.timestamp is not None
        assert event.user_id is not None
        at_ms = min(int(event.timestamp.timestamp() * 1e3), tally.now_ms)
        if at_ms // HOUR_MS < tally.now_ms // HOUR_MS - 1:
            return
        user = tally.users.get(event.user_id)
        if user is None:
            user = tally.users[event.user_id] = _UserTally(at_ms)
        elif at_ms > user.at_ms:
            user.at_ms = at_ms
        user.events += 1
        if event.session_id is not None:
            user.session_id = event.session_id
        if origin.address is not None:
            user.origin = origin
        if event.event not in self._order_events:
            self._count(tally, event, origin, at_ms)
        elif self._weights[event.event] > 0:
            tally.purchases += 1
            tally.priced_purchases += event.price is not None
            user.has_unpriced_purchase |= event.price is None

    def _count(self, tally: "_Tally", event: ObservedEvent, origin: Origin, at_ms: int) -> None:
        assert event.user_id is not None
        cells = [self._counters.user_cell(event.user_id)]
        if event.session_id is not None:
            cells.append(self._counters.session_cell(event.session_id))
        if origin.address is not None:
            cells += (origin.address_cell, origin.device_cell)
            tally.origin_uses.append(OriginUse(origin, event.item_id, event.user_id))
        for counts in tally.buckets(at_ms):
            for cell in cells:
                counts[cell] = counts.get(cell, 0) + 1


@dataclass(slots=True)
class _UserTally:
    """A `UserObservation` that is still being counted."""

    at_ms: int
    events: int = 0
    has_unpriced_purchase: bool = False
    session_id: str | None = None
    origin: Origin = UNKNOWN_ORIGIN

    def observation(self) -> UserObservation:
        return UserObservation(self.at_ms, self.events, self.has_unpriced_purchase, self.session_id, self.origin)


@dataclass(slots=True)
class _Tally:
    """`BatchObservations` that are still being counted."""

    now_ms: int
    users: dict[str, _UserTally] = field(default_factory=dict[str, _UserTally])
    increments: dict[Bucket, CellCounts] = field(default_factory=dict[Bucket, CellCounts])
    origin_uses: list[OriginUse] = field(default_factory=list[OriginUse])
    purchases: int = 0
    priced_purchases: int = 0
    _buckets: dict[int, list[CellCounts]] = field(default_factory=dict[int, list[CellCounts]])
    """Bucket number in the shortest window -> the values of `increments` that its events count in."""

    def buckets(self, at_ms: int) -> list[CellCounts]:
        """Return the counts of the buckets that a moment falls in, one for each window that it still counts for.

        A bucket of the shortest window lies within one bucket of each longer window.
        """
        shortest = at_ms // SHORTEST_MS
        if shortest not in self._buckets:
            self._buckets[shortest] = [
                self.increments.setdefault((window, at_ms // window_ms), {})
                for window, window_ms in enumerate(WINDOWS_MS)
                if is_countable(at_ms, self.now_ms, window_ms)
            ]
        return self._buckets[shortest]
