"""Rates over sliding windows, from counts in fixed buckets of the windows' lengths.

An event counts in the bucket of its own time. What comes late counts while its bucket is the current one or the one
before; what is later counts for the longer windows alone, and what is ahead of the clock as if it were of now.
"""

from typing import Final, Literal

WINDOWS_MS: Final = (10_000, 300_000, 3_600_000)
WINDOW_NAMES: Final = ("10 s", "5 min", "an hour")
Counts = tuple[float, float, float]
"""Events in each of `WINDOWS_MS`."""
NO_COUNTS: Final[Counts] = (0.0, 0.0, 0.0)
CounterSubject = Literal["user", "session", "address", "device"]
"""Of what events are counted, each in every window."""


def bucket_number(at_ms: int, window_ms: int) -> int:
    """The number of the bucket of a window's length that a moment lies in."""
    return at_ms // window_ms


def is_countable(at_ms: int, now_ms: int, window_ms: int) -> bool:
    """Whether an event of a moment still counts for a window.

    >>> is_countable(9_999, 10_000, 10_000), is_countable(9_999, 20_000, 10_000)
    (True, False)
    """
    return at_ms // window_ms >= now_ms // window_ms - 1


def sliding_count(current: float, previous: float, at_ms: int, window_ms: int) -> float:
    """Events in the window that ends at `at_ms`: those of its bucket, and of the one before the share that still
    lies in the window, as if they had come evenly. 0 and up, more is more; there is no warm-up.

    >>> sliding_count(6, 20, 12_500, 10_000)
    21.0
    """
    return current + previous * (1 - at_ms % window_ms / window_ms)
