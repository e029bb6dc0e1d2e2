"""Counters of events in Redis that take the same memory however many users there are: a sketch.

(Count-min, Cormode and Muthukrishnan 2005, of one row.) A table of 16-bit counters for each bucket of each window
counted in; what is counted has a place in it by a keyed hash. So a count may be too high, by what happens to share
its place, on average by the table's events over `CELLS`, but never too low. A user's is held against the user's own
acts before it speaks against anybody.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from recsys.anomaly.windows import WINDOWS_MS, Counts, bucket_number, sliding_count
from recsys.store.client.connection import Command, Reply
from recsys.store.keys import Keys
from recsys.store.resp import encode_argument, encode_arguments, encode_head

CELLS: Final = 1 << 18
"""Places of users in a table, and as many of all else: a megabyte. There are at most 4 tables of a window."""
KEPT_WINDOWS: Final = 3
CACHED: Final = 50_000
CACHED_ORIGINS: Final = 10_000

Cell = bytes
"""A place, as it is put into commands."""
Bucket = tuple[int, int]
"""Which of `WINDOWS_MS`, and the number of the bucket."""

ADDING: Final = encode_arguments("INCRBY", "u16")
GETTING: Final = encode_arguments("GET", "u16")
_number: Final = lru_cache(1_000)(encode_argument)


class Origin(NamedTuple):
    """Where an event came from, as hashes: the address, and address and browser together; and their places."""

    address: str | None = None
    device: str | None = None
    address_cell: Cell = b""
    device_cell: Cell = b""


class Rates:
    """Where what is counted has its places, and the commands that count it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._hash = hashlib.blake2b()
        self.salted = False
        """Whether the key of the hashes is known."""
        self.user_cell = lru_cache(CACHED)(self._user_cell)
        self.session_cell = lru_cache(CACHED)(self._session_cell)
        self.origin = lru_cache(CACHED_ORIGINS)(self._origin)

    def salt(self, salt: bytes) -> None:
        """Use a key."""
        self._hash, self.salted = hashlib.blake2b(digest_size=8, key=salt), True

    def counting(self, bucket: Bucket, cells: Mapping[Cell, int]) -> tuple[str, Command]:
        """The command that counts in a bucket, and its key; the reply has the new counts, in the order of cells."""
        key = self.key(bucket)
        packed = [_counting(key, len(cells))]
        for cell, count in cells.items():
            packed += (ADDING, cell, _number(count))
        return key, b"".join(packed)

    def key(self, bucket: Bucket) -> str:
        """Where a bucket is."""
        window, number = bucket
        return self._keys.rates(WINDOWS_MS[window], number)

    def reading(self, cells: Sequence[Cell], at_ms: int) -> list[tuple[str, Command]]:
        """The commands that read places as of a moment, for `sliding_counts`."""
        gets = b"".join([GETTING + cell for cell in cells])
        keys = [
            self.key((window, bucket_number(at_ms, window_ms) - age))
            for window, window_ms in enumerate(WINDOWS_MS)
            for age in (0, 1)
        ]
        return [(key, encode_head(2 + 3 * len(cells), "BITFIELD_RO", key) + gets) for key in keys]

    def _user_cell(self, user_id: str) -> Cell:
        return _cell(self._digest(user_id), 0)

    def _session_cell(self, session_id: str) -> Cell:
        return _cell(self._digest(f"session\0{session_id}"), CELLS)

    def _origin(self, ip: str, user_agent: str) -> Origin:
        address, device = self._digest(ip), self._digest(f"{ip}\0{user_agent}")
        return Origin(address.hex(), device.hex(), _cell(address, CELLS), _cell(device, CELLS))

    def _digest(self, text: str) -> bytes:
        digest = self._hash.copy()
        digest.update(text.encode())
        return digest.digest()


@lru_cache(1_000)
def _counting(key: str, cells: int) -> bytes:
    """The beginning of a command that counts in so many places."""
    return encode_head(4 + 4 * cells, "BITFIELD", key, "OVERFLOW", "SAT")


def sliding_counts(replies: Sequence[Reply], place: int, at_ms: int) -> Counts:
    """Events in the windows, by replies to `Rates.reading`."""
    found = [
        sliding_count(replies[2 * window][place], replies[2 * window + 1][place], at_ms, window_ms)
        for window, window_ms in enumerate(WINDOWS_MS)
    ]
    return found[0], found[1], found[2]


def _cell(digest: bytes, first: int) -> Cell:
    return encode_argument(f"#{first + int.from_bytes(digest, 'little') % CELLS}")
