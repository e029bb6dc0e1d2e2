"""What is counted of a batch of events, for the guard to judge by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from recsys.anomaly.windows import WINDOWS_MS, is_countable
from recsys.store.client.connection import Reply
from serving.guard.counters import Bucket, Cell, Origin, Rates

HOUR: Final = 2
HOUR_MS: Final = WINDOWS_MS[HOUR]
UNKNOWN: Final = Origin()

SHORTEST_MS: Final = WINDOWS_MS[0]

Cells = dict[Cell, int]


class Happened(Protocol):
    """What the guard looks at of an event."""

    user_id: str | None
    item_id: str
    event: str
    timestamp: datetime | None
    price: float | None
    session_id: str | None


@dataclass(slots=True)
class Watched:
    """What one batch has of a user."""

    at_ms: int
    events: int = 0
    unpriced: bool = False
    session: str | None = None
    origin: Origin = UNKNOWN
    glance: Sequence[Reply] = ()
    """Members and scores of the session, the latest first."""


@dataclass(slots=True)
class Batch:
    """Users of a batch who are not held back yet, and what is to be counted of them."""

    now_ms: int
    users: dict[str, Watched] = field(default_factory=dict[str, Watched])
    counted: dict[Bucket, Cells] = field(default_factory=dict[Bucket, Cells])
    tables: dict[int, list[Cells]] = field(default_factory=dict[int, list[Cells]])
    """Those of them that a moment counts in, by its bucket of the shortest window."""
    counts: Mapping[Bucket, Mapping[Cell, int]] = field(default_factory=dict[Bucket, Cells])
    """What there is in those places, once it is counted."""
    spread: list[tuple[Origin, str, str]] = field(default_factory=list[tuple[Origin, str, str]])
    """Origin, item and user of each event whose origin is known."""
    purchases: int = 0
    priced: int = 0
    ending: Sequence[str] = ()
    """Keys that are given an end with it."""
    are_priced: bool = False
    """Whether purchases of the shop have prices."""


class Counting:
    """Puts events into batches."""

    def __init__(self, rates: Rates, weights: Mapping[str, float], orders: frozenset[str]) -> None:
        """`weights` of events, and which of them are lines of orders."""
        self._rates, self._weights, self._orders = rates, weights, orders

    def add(self, batch: Batch, event: Happened, origin: Origin) -> None:
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
        elif at_ms > watched.at_ms:
            watched.at_ms = at_ms
        watched.events += 1
        if event.session_id is not None:
            watched.session = event.session_id
        if origin.address is not None:
            watched.origin = origin
        if event.event not in self._orders:
            self._count(batch, event, origin, at_ms)
        elif self._weights[event.event] > 0:
            batch.purchases += 1
            batch.priced += event.price is not None
            watched.unpriced |= event.price is None

    def _count(self, batch: Batch, event: Happened, origin: Origin, at_ms: int) -> None:
        assert event.user_id is not None
        tables = batch.tables.get(at_ms // SHORTEST_MS) or _tables(batch, at_ms)
        cells = [self._rates.user_cell(event.user_id)]
        if event.session_id is not None:
            cells.append(self._rates.session_cell(event.session_id))
        if origin.address is not None:
            cells += (origin.address_cell, origin.device_cell)
            batch.spread.append((origin, event.item_id, event.user_id))
        for table in tables:
            for cell in cells:
                table[cell] = table.get(cell, 0) + 1


def _tables(batch: Batch, at_ms: int) -> list[Cells]:
    """Where what happens at a moment counts; a bucket of the shortest window is part of one of each other."""
    found = [
        batch.counted.setdefault((window, at_ms // window_ms), {})
        for window, window_ms in enumerate(WINDOWS_MS)
        if is_countable(at_ms, batch.now_ms, window_ms)
    ]
    batch.tables[at_ms // SHORTEST_MS] = found
    return found
