"""Rates over sliding windows, from counts in fixed buckets of each window's length.

An event counts in the bucket of its own time. A late event counts while its bucket is the current or the previous
one; a later event counts for the longer windows only, and an event ahead of the clock counts as of now.
"""

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
