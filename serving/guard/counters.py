"""Event counters in Redis whose memory does not grow with the number of users: a count-min sketch of one row.

(Cormode and Muthukrishnan 2005.) Each bucket of each window has a table of 16-bit counters; a keyed hash gives
every user, session, address and device a cell in it. A count may be too high, because others share the
cell, on average by the events of the table over `CELLS`, but it is never too low. A user's count is compared with
the user's own acts before it becomes evidence.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from recsys.anomaly.windows import WINDOWS_MS, Counts, bucket_number, sliding_count
from recsys.store.client.connection import Reply
from recsys.store.keys import Keys
from recsys.store.resp import Command, encode_argument, encode_arguments, encode_head

CELLS: Final = 1 << 18
"""Cells of users in a table, and as many for everything else: one megabyte. A window has at most 4 tables."""
KEPT_WINDOWS: Final = 3
"""A table expires after this many lengths of its window."""
MAX_CACHED_CELLS: Final = 50_000
MAX_CACHED_ORIGINS: Final = 10_000

KeyedCommand = tuple[str, Command]
"""A command, after the key that decides which node of a Cluster it goes to."""
Cell = bytes
"""The place of a counter in a table, encoded as an argument of BITFIELD."""
Bucket = tuple[int, int]
"""Index into `WINDOWS_MS`, and number of the bucket."""

INCREMENT: Final = encode_arguments("INCRBY", "u16")
GET: Final = encode_arguments("GET", "u16")
_encode_count: Final = lru_cache(1_000)(encode_argument)


class Origin(NamedTuple):
    """Hashes of an event's IP address and of address and user agent together, and the cells of both."""

    address: str | None = None
    device: str | None = None
    address_cell: Cell = b""
    device_cell: Cell = b""


UNKNOWN_ORIGIN: Final = Origin()
"""The origin of events without an IP address, or whose address is in an allowed network."""


class EventCounters:
    """Assigns cells to users, sessions and origins, and encodes the commands that increment and read them."""

    def __init__(self, keys: Keys) -> None:
        """Create counters that hash without a key until `set_hash_key` is called."""
        self._keys = keys
        self._hash = hashlib.blake2b()
        self.has_hash_key = False
        self.user_cell = lru_cache(MAX_CACHED_CELLS)(self._user_cell)
        self.session_cell = lru_cache(MAX_CACHED_CELLS)(self._session_cell)
        self.origin = lru_cache(MAX_CACHED_ORIGINS)(self._origin)

    def set_hash_key(self, key: bytes) -> None:
        """Use `key` for all hashes; it must be the same in all workers."""
        self._hash, self.has_hash_key = hashlib.blake2b(digest_size=8, key=key), True

    def increment(self, bucket: Bucket, cells: Mapping[Cell, int]) -> KeyedCommand:
        """Return the command that adds to the cells of a bucket; it replies with the new counts, in their order."""
        key = self.key(bucket)
        encoded = [_encode_increment_head(key, len(cells))]
        for cell, count in cells.items():
            encoded += (INCREMENT, cell, _encode_count(count))
        return key, b"".join(encoded)

    def key(self, bucket: Bucket) -> str:
        """Return the key of a bucket's table."""
        window, number = bucket
        return self._keys.rates(WINDOWS_MS[window], number)

    def read(self, cells: Sequence[Cell], at_ms: int) -> list[KeyedCommand]:
        """Return the commands that read cells as of a moment; `sliding_counts` takes their replies."""
        gets = b"".join([GET + cell for cell in cells])
        keys = [
            self.key((window, bucket_number(at_ms, window_ms) - age))
            for window, window_ms in enumerate(WINDOWS_MS)
            for age in (0, 1)
        ]
        return [(key, encode_head(2 + 3 * len(cells), "BITFIELD_RO", key) + gets) for key in keys]

    def _user_cell(self, user_id: str) -> Cell:
        return _encode_cell(self._digest(user_id), 0)

    def _session_cell(self, session_id: str) -> Cell:
        return _encode_cell(self._digest(f"session\0{session_id}"), CELLS)

    def _origin(self, ip: str, user_agent: str) -> Origin:
        address, device = self._digest(ip), self._digest(f"{ip}\0{user_agent}")
        return Origin(address.hex(), device.hex(), _encode_cell(address, CELLS), _encode_cell(device, CELLS))

    def _digest(self, text: str) -> bytes:
        digest = self._hash.copy()
        digest.update(text.encode())
        return digest.digest()


@lru_cache(1_000)
def _encode_increment_head(key: str, cells: int) -> bytes:
    return encode_head(4 + 4 * cells, "BITFIELD", key, "OVERFLOW", "SAT")


def sliding_counts(replies: Sequence[Reply], cell: int, at_ms: int) -> Counts:
    """Return the events of one cell in each window; `cell` is its index in the call to `EventCounters.read`."""
    counts = [
        sliding_count(replies[2 * window][cell], replies[2 * window + 1][cell], at_ms, window_ms)
        for window, window_ms in enumerate(WINDOWS_MS)
    ]
    return counts[0], counts[1], counts[2]


def _encode_cell(digest: bytes, first: int) -> Cell:
    return encode_argument(f"#{first + int.from_bytes(digest, 'little') % CELLS}")
