"""Rates over sliding windows, from counts in fixed buckets of each window's length.

An event counts in the bucket of its own time. A late event counts while its bucket is the current or the previous
one; a later event counts for the longer windows only, and an event ahead of the clock counts as of now.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

WINDOWS_MS: Final = (10_000, 300_000, 3_600_000)
WINDOW_NAMES: Final = ("10 s", "5 min", "an hour")
Counts = tuple[float, float, float]
"""Events in each of `WINDOWS_MS`."""
NO_COUNTS: Final[Counts] = (0.0, 0.0, 0.0)
CounterSubject = Literal["user", "session", "address", "device"]
"""What events are counted by, in every window."""


def bucket_number(at_ms: int, window_ms: int) -> int:
    """Return the number of the bucket, of one window's length, that contains a moment."""
    return at_ms // window_ms


def is_countable(at_ms: int, now_ms: int, window_ms: int) -> bool:
    """Return whether an event at `at_ms` still counts for a window.

    >>> is_countable(9_999, 10_000, 10_000), is_countable(9_999, 20_000, 10_000)
    (True, False)
    """
    return at_ms // window_ms >= now_ms // window_ms - 1


def sliding_count(current: float, previous: float, at_ms: int, window_ms: int) -> float:
    """Estimate the events in the window that ends at `at_ms`.

    All events of the current bucket count, and of the previous one the share that still lies in the window, as if
    its events were evenly spread.

    >>> sliding_count(6, 20, 12_500, 10_000)
    21.0
    """
    return current + previous * (1 - at_ms % window_ms / window_ms)


@dataclass
class WindowCounters:
    """In-memory counters of events by name, in the current and the previous bucket of each window."""

    buckets: list[int] = field(default_factory=lambda: [0] * len(WINDOWS_MS))
    current: list[dict[str, int]] = field(default_factory=lambda: [defaultdict(int) for _ in WINDOWS_MS])
    previous: list[dict[str, int]] = field(default_factory=lambda: [{} for _ in WINDOWS_MS])

    def add(self, names: Iterable[str | None], at_ms: int) -> None:
        """Count an event; times must not decrease."""
        self.advance(at_ms)
        for name in names:
            if name is not None:
                for counts in self.current:
                    counts[name] += 1

    def advance(self, at_ms: int) -> None:
        """Start new buckets for the windows whose bucket has ended."""
        for window, window_ms in enumerate(WINDOWS_MS):
            bucket = at_ms // window_ms
            if bucket != self.buckets[window]:
                is_next = bucket == self.buckets[window] + 1
                self.previous[window] = self.current[window] if is_next else {}
                self.current[window] = defaultdict(int)
                self.buckets[window] = bucket

    def current_counts(self, name: str) -> list[int]:
        """Return the events in the current buckets."""
        return [counts.get(name, 0) for counts in self.current]

    def sliding_counts(self, name: str | None, at_ms: int) -> Counts:
        """Return the events in the windows that end at `at_ms`."""
        if name is None:
            return NO_COUNTS
        counts = [
            sliding_count(self.current[window].get(name, 0), self.previous[window].get(name, 0), at_ms, window_ms)
            for window, window_ms in enumerate(WINDOWS_MS)
        ]
        return counts[0], counts[1], counts[2]
