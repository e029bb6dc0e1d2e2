"""Forecast of the memory that lists take in Redis, and the list length that fits a memory limit.

The memory of a key and its value depends on the version of the server, its allocator and their lengths. It is
therefore measured: a few hundred of the lists are written, `MEMORY USAGE` is read, and they are removed. Only the
size of the hash table of keys is computed.
"""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis

from recsys.errors import StoreError
from recsys.store.catalogue import catalogue_bytes
from recsys.store.client.connect import Client, node_for_key, primaries, used_memory
from recsys.store.encoding import decode_text
from recsys.store.keys import CLUSTER_SLOTS, Keys
from recsys.store.publish.list_commands import Numbers
from recsys.store.publish.list_files import Source, sources

MIN_LENGTH: Final = 10
"""Lists are never cut below this length."""
SAMPLE_LISTS: Final = 500
MAX_LENGTH: Final = 10_000
"""Maximum length of a list that the settings allow."""
TABLE_BYTES: Final = 104
"""Approximate bytes of a hash table besides its buckets; a Cluster has one table per slot with keys."""
MAX_CHAIN_KEYS: Final = 40
"""Maximum number of keys in one bucket and its chain."""
HASHTABLE_SINCE: Final = (8, 1)
"""Version of Valkey from which seven keys share a bucket of 64 bytes; in earlier ones and in Redis each has 8."""


@dataclass(frozen=True)
class MemoryBudget:
    """The maximum bytes that Redis may hold, with `versions` versions in it."""

    bytes: int
    versions: int


@dataclass(frozen=True)
class _FileSizes:
    """The lists of one file: bytes of all ids at each position, and a sample of lists."""

    lists: int
    key_bytes: int
    position_bytes: Numbers
    sample: list[tuple[str, bytes]]

    def value_bytes(self, max_length: int | None) -> int:
        """Return the bytes of all values, with lists cut to `max_length` unless None."""
        return int(self.position_bytes[:max_length].sum()) - self.lists


@dataclass(frozen=True)
class MemoryForecast:
    """Forecast of the memory that the lists of a run take in Redis."""

    client: Client
    files: tuple[_FileSizes, ...]
    cut: tuple[bool, ...]
    catalogue: int

    @classmethod
    def from_files(cls, client: Client, keys: Keys, version: str, directory: Path) -> "MemoryForecast":
        """Read the sizes of all lists in a directory."""
        files = sources(keys, version, directory)
        sizes = tuple(_read_sizes(file) for file in files)
        return cls(client, sizes, tuple(file.cuttable for file in files), catalogue_bytes(directory))

    @property
    def longest(self) -> int:
        """Return the length of the longest list that may be cut."""
        cuttable = [file for file, cut in zip(self.files, self.cut, strict=True) if cut]
        return max((len(np.flatnonzero(file.position_bytes)) for file in cuttable), default=0)

    def bytes(self, max_length: int) -> int:
        """Return the growth of `used_memory` by all lists, with those of users and items cut to `max_length`."""
        lists = sum(file.lists for file in self.files)
        values = sum(
            _file_bytes(self.client, file, max_length if cut else None)
            for file, cut in zip(self.files, self.cut, strict=True)
        )
        before, after = self._tables()
        return values + self.catalogue + after - before if lists else 0

    def resizing_bytes(self) -> int:
        """Return the bytes needed in addition while the server moves its keys to a larger table."""
        before, after = self._tables()
        return before if after > before else 0

    def _tables(self) -> tuple[int, int]:
        """Return the bytes of the hash tables of keys, before and after."""
        nodes = primaries(self.client)
        keys_before = sum(node.dbsize() for node in nodes)
        tables = 1 if nodes[0] is self.client else CLUSTER_SLOTS
        wide_buckets = _has_wide_buckets(nodes[0])
        lists = sum(file.lists for file in self.files)
        before, after = (
            round(tables * _table_bytes(keys / tables, wide_buckets)) for keys in (keys_before, keys_before + lists)
        )
        return before, after


def find_list_length(client: Client, keys: Keys, version: str, directory: Path, budget: MemoryBudget) -> int | None:
    """Return the length to cut lists to, so that all kept versions fit the budget; None if they fit uncut.

    The new version may take its share of the memory that other data does not use, and no more than is free now.
    Raises `StoreError`, before a list is written, if lists of `MIN_LENGTH` do not fit.
    """
    forecast = MemoryForecast.from_files(client, keys, version, directory)
    used = used_memory(client)
    other_versions = sum(size for name, (size, _) in _sizes(client, keys).items() if name != version)
    share = (budget.bytes - max(used - other_versions, 0)) // budget.versions
    available = min(share, budget.bytes - used - forecast.resizing_bytes())
    low, high = min(MIN_LENGTH, forecast.longest), forecast.longest
    if forecast.bytes(high) <= available:
        return None
    needed = forecast.bytes(low)
    if needed > available:
        raise StoreError(
            f"version {version}: lists of {low} need {needed:,} bytes; of redis.max_memory, {budget.bytes:,}, "
            f"{max(available, 0):,} are left for one version: raise it, or keep fewer versions"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if forecast.bytes(middle) <= available else (low, middle)
    return low


def record_version_size(client: Client, keys: Keys, version: str, size: int, max_length: int | None) -> None:
    """Record the memory of a version and the length its lists were cut to, for the next publish."""
    client.hset(keys.sizes, version, f"{max(size, 0)} {max_length or 0}")


def read_list_cut(client: Client, keys: Keys, version: str) -> int | None:
    """Return the length that the lists of a version were cut to, None if they were not."""
    return _sizes(client, keys).get(version, (0, 0))[1] or None


def _sizes(client: Client, keys: Keys) -> dict[str, tuple[int, int]]:
    recorded: dict[Any, Any] = client.hgetall(keys.sizes)
    parts = {decode_text(name): decode_text(value).split(" ") for name, value in recorded.items()}
    return {name: (int(size), int(max_length)) for name, (size, max_length) in parts.items()}


def _read_sizes(source: Source) -> _FileSizes:
    stride = max(1, source.count() // SAMPLE_LISTS)
    position_bytes = np.zeros(MAX_LENGTH, np.int64)
    lists = key_bytes = 0
    sample: list[tuple[str, bytes]] = []
    for block in source.blocks():
        block.add_sizes(position_bytes)
        key_bytes += block.key_bytes()
        # The first row of the block that a walk over all lists by `stride` visits.
        sample += block.pairs(block.rows[-lists % stride :: stride])
        lists += len(block.rows)
    return _FileSizes(lists, key_bytes, position_bytes, sample)


def _file_bytes(client: Client, file: _FileSizes, max_length: int | None) -> int:
    """Return the memory of the sample, scaled to all lists, plus the bytes by which their lengths differ."""
    if not file.sample:
        return 0
    cut = [(key, _cut(value, max_length)) for key, value in file.sample]
    measured = _measure(client, cut)
    length = sum(len(key.encode()) + len(value) for key, value in cut)
    overhead = (measured - length) / len(cut)
    return round(file.lists * overhead) + file.key_bytes + file.value_bytes(max_length)


def _cut(value: bytes, max_length: int | None) -> bytes:
    return value if max_length is None else b" ".join(value.split(b" ")[:max_length])


def _measure(client: Client, pairs: list[tuple[str, bytes]]) -> int:
    """Write some keys, return their memory, and remove them."""
    nodes: defaultdict[redis.Redis, list[tuple[str, bytes]]] = defaultdict(list)
    for key, value in pairs:
        nodes[node_for_key(client, key)].append((key, value))
    total = 0
    for node, part in nodes.items():
        with node.pipeline(transaction=False) as pipeline:
            for key, value in part:
                pipeline.set(key, value)
                pipeline.execute_command("MEMORY USAGE", key)
                pipeline.unlink(key)
            replies: list[Any] = pipeline.execute()
        total += sum(int(size) for size in replies[1::3])
    return total


def _has_wide_buckets(node: redis.Redis) -> bool:
    info: Any = node.info("server")
    version = str(info.get("valkey_version", "0.0")).split(".")
    return (int(version[0]), int(version[1])) >= HASHTABLE_SINCE


def _table_bytes(keys: float, wide_buckets: bool) -> float:
    """Return the bytes of a hash table; its number of buckets is a power of two.

    A bucket of seven keys that overflows continues in a chained bucket.
    """
    if keys == 0:
        return 0
    if not wide_buckets:
        return TABLE_BYTES + 8 * _power_of_two(keys)
    buckets = _power_of_two(keys / 7)
    in_one = np.arange(1, MAX_CHAIN_KEYS)
    share = np.exp(in_one * np.log(max(keys / buckets, 1e-9)) - keys / buckets - np.cumsum(np.log(in_one)))
    # A bucket with a successor holds six keys and the link to it; the last of a chain holds seven.
    chain = np.where(in_one <= 7, 1, np.ceil((in_one - 1) / 6))
    return TABLE_BYTES + 64 * buckets * (1 + float(((chain - 1) * share).sum()))


def _power_of_two(number: float) -> int:
    return 1 << max(0, int(np.ceil(np.log2(max(number, 1)))))
