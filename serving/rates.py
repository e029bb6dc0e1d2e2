"""Counters of events in Redis that take the same memory however many users there are: a count-min sketch.

(Cormode and Muthukrishnan 2005.) A table of 16-bit counters for each bucket of each window; what is counted has a
place in it by a keyed hash, a user two, of which the lesser is read. So a count may be too high, by what happens to
share its places, but never too low.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from recsys.anomaly.windows import WINDOWS_MS, Counts, bucket_of, sliding
from recsys.store.keys import Keys
from recsys.store.link import Command, Reply

CELLS: Final = 1 << 18
"""Places of users in a table, and as many of all else: a megabyte. There are at most 4 tables of a window."""
KEPT_WINDOWS: Final = 3
CACHED: Final = 50_000

Cells = tuple[str, ...]
Bucket = tuple[int, int]
"""Which of `WINDOWS_MS`, and the number of the bucket."""


class Rates:
    """Where what is counted has its places, and the commands that count it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._salt = b""
        self.user_cells = lru_cache(CACHED)(self._user_cells)
        self.cells = lru_cache(CACHED)(self._cells)

    @property
    def salted(self) -> bool:
        """Whether the key of the hashes is known."""
        return bool(self._salt)

    def salt(self, salt: bytes) -> None:
        """Use a key."""
        self._salt = salt

    def hash_of(self, *parts: str) -> str:
        """What something is called that must not be kept as it is."""
        return self._digest("\0".join(parts))[:8].hex()

    def counting(self, counted: Mapping[Bucket, Mapping[str, int]]) -> list[tuple[str, Command]]:
        """The commands that count, two for each bucket, each with the key that tells where.

        The reply to the first of the two has the new counts, in the order of the places.
        """
        commands: list[tuple[str, Command]] = []
        for (window, bucket), cells in counted.items():
            key = self._keys.rates(WINDOWS_MS[window], bucket)
            parts: list[str | int] = ["BITFIELD", key, "OVERFLOW", "SAT"]
            for cell, count in cells.items():
                parts += ("INCRBY", "u16", cell, count)
            commands.append((key, tuple(parts)))
            commands.append((key, ("PEXPIRE", key, KEPT_WINDOWS * WINDOWS_MS[window])))
        return commands

    def reading(self, cells: Sequence[str], at_ms: int) -> list[tuple[str, Command]]:
        """The commands that read places as of a moment, for `sliding_counts`."""
        commands: list[tuple[str, Command]] = []
        for window_ms in WINDOWS_MS:
            for bucket in (bucket_of(at_ms, window_ms), bucket_of(at_ms, window_ms) - 1):
                key = self._keys.rates(window_ms, bucket)
                commands.append((key, ("BITFIELD_RO", key, *_gets(cells))))
        return commands

    def _user_cells(self, user_id: str) -> Cells:
        digest = self._digest(user_id)
        return tuple(f"#{int.from_bytes(digest[at : at + 8], 'little') % CELLS}" for at in (0, 8))

    def _cells(self, kind: str, name: str) -> Cells:
        digest = self._digest(f"{kind}\0{name}")
        return (f"#{CELLS + int.from_bytes(digest[:8], 'little') % CELLS}",)

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._salt).digest()


def sliding_counts(replies: Sequence[Reply], places: Iterable[int], at_ms: int) -> Counts:
    """Events in the windows, by replies to `Rates.reading`; of several places the lesser count holds."""
    wanted = list(places)
    found: list[float] = []
    for window, window_ms in enumerate(WINDOWS_MS):
        current, previous = replies[2 * window], replies[2 * window + 1]
        found.append(min(sliding(current[place], previous[place], at_ms, window_ms) for place in wanted))
    return found[0], found[1], found[2]


def _gets(cells: Sequence[str]) -> Iterable[str]:
    for cell in cells:
        yield from ("GET", "u16", cell)
