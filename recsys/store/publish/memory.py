"""What lists take in the server's memory, foretold by a sample, and how long they may be to fit a budget.

How a server lays out a key and a value depends on its version, its allocator and their lengths. So nothing of
that is assumed: a few hundred of the lists are written, `MEMORY USAGE` asked, and removed; only the table that
finds a key is reckoned.
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
from recsys.store.client.connect import Client, node_for_key, primaries
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.publish.list_commands import SLOTS, Numbers
from recsys.store.publish.list_files import Source, sources

SHORTEST: Final = 10
"""Lists are never cut below this."""
SAMPLE_LISTS: Final = 500
PLACES: Final = 10_000
"""Longest list that settings allow."""
TABLE_BYTES: Final = 104
"""About what a table takes besides its buckets; a Cluster has one for each slot with keys."""
CROWD: Final = 40
"""More keys than this never meet in one bucket."""
HASHTABLE_SINCE: Final = (8, 1)
"""Valkey's version from which on seven keys share a bucket of 64 bytes; before, and in Redis, each has one of 8."""


@dataclass(frozen=True)
class MemoryBudget:
    """The most bytes that a Redis may hold, `versions` versions among them."""

    bytes: int
    versions: int


@dataclass(frozen=True)
class _File:
    """One file's lists: the bytes of all ids at each place, and a sample of whole lists."""

    lists: int
    key_bytes: int
    place_bytes: Numbers
    sample: list[tuple[str, bytes]]

    def value_bytes(self, longest: int | None) -> int:
        """Bytes of all values when lists are cut, or with None as they are."""
        return int(self.place_bytes[:longest].sum()) - self.lists


@dataclass(frozen=True)
class MemoryForecast:
    """What a run's lists would take in a server's memory."""

    client: Client
    files: tuple[_File, ...]
    cut: tuple[bool, ...]
    catalogue: int

    @classmethod
    def from_files(cls, client: Client, keys: Keys, version: str, directory: Path) -> "MemoryForecast":
        """Read the lists once for their sizes."""
        found = sources(keys, version, directory)
        files = tuple(_read(source) for source in found)
        return cls(client, files, tuple(source.cuttable for source in found), catalogue_bytes(directory))

    @property
    def longest(self) -> int:
        """The longest list that may be cut."""
        cuttable = [file for file, cut in zip(self.files, self.cut, strict=True) if cut]
        return max((len(np.flatnonzero(file.place_bytes)) for file in cuttable), default=0)

    def bytes(self, longest: int) -> int:
        """How much `used_memory` grows by all lists when those of users and items are cut to `longest`."""
        lists = sum(file.lists for file in self.files)
        values = sum(
            _file_bytes(self.client, file, longest if cut else None)
            for file, cut in zip(self.files, self.cut, strict=True)
        )
        before, after = self._tables()
        return values + self.catalogue + after - before if lists else 0

    def resizing_bytes(self) -> int:
        """What is needed besides while the server moves its keys to a larger table."""
        before, after = self._tables()
        return before if after > before else 0

    def _tables(self) -> tuple[int, int]:
        """Bytes of the tables that find a key, before and after."""
        nodes = primaries(self.client)
        there = sum(node.dbsize() for node in nodes)
        tables = 1 if nodes[0] is self.client else SLOTS
        seven = _seven_in_a_bucket(nodes[0])
        lists = sum(file.lists for file in self.files)
        before, after = (round(tables * _table_bytes(keys / tables, seven)) for keys in (there, there + lists))
        return before, after


def find_list_length(client: Client, keys: Keys, version: str, directory: Path, budget: MemoryBudget) -> int | None:
    """The length that lists have to be cut to so that as many versions as are kept fit the budget; None for none.

    The new version may take its share of what is not taken by other data, and no more than is free now. Raises
    `StoreError`, before a list is written, when lists of `SHORTEST` do not fit.
    """
    forecast = MemoryForecast.from_files(client, keys, version, directory)
    used = used_memory(client)
    known = sum(size for name, (size, _) in _sizes(client, keys).items() if name != version)
    share = (budget.bytes - max(used - known, 0)) // budget.versions
    most = min(share, budget.bytes - used - forecast.resizing_bytes())
    low, high = min(SHORTEST, forecast.longest), forecast.longest
    if forecast.bytes(high) <= most:
        return None
    needed = forecast.bytes(low)
    if needed > most:
        raise StoreError(
            f"version {version}: lists of {low} need {needed:,} bytes; of redis.max_memory, {budget.bytes:,}, "
            f"{max(most, 0):,} are left for one version: raise it, or keep fewer versions"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if forecast.bytes(middle) <= most else (low, middle)
    return low


def used_memory(client: Client) -> int:
    """The memory that the server, or all primaries of the Cluster, have in use."""
    found: list[Any] = [node.info("memory") for node in primaries(client)]
    return sum(int(memory["used_memory"]) for memory in found)


def record_version_size(client: Client, keys: Keys, version: str, size: int, longest: int | None) -> None:
    """Keep what a version takes and was cut to, for the next publish to reckon with."""
    client.hset(keys.sizes, version, f"{max(size, 0)} {longest or 0}")


def read_list_cut(client: Client, keys: Keys, version: str) -> int | None:
    """The length that a version's lists were cut to, None where they were not."""
    return _sizes(client, keys).get(version, (0, 0))[1] or None


def _sizes(client: Client, keys: Keys) -> dict[str, tuple[int, int]]:
    noted: dict[Any, Any] = client.hgetall(keys.sizes)
    parts = {decode_text(name): decode_text(value).split(" ") for name, value in noted.items()}
    return {name: (int(size), int(longest)) for name, (size, longest) in parts.items()}


def _read(source: Source) -> _File:
    stride = max(1, source.count() // SAMPLE_LISTS)
    place_bytes = np.zeros(PLACES, np.int64)
    lists = key_bytes = 0
    sample: list[tuple[str, bytes]] = []
    for block in source.blocks():
        block.add_sizes(place_bytes)
        key_bytes += block.key_bytes()
        # The first of the block that a walk over all lists by strides would meet.
        sample += block.pairs(block.rows[-lists % stride :: stride])
        lists += len(block.rows)
    return _File(lists, key_bytes, place_bytes, sample)


def _file_bytes(client: Client, file: _File, longest: int | None) -> int:
    """The sample's memory, and byte by byte what all lists are longer or shorter than the sample."""
    if not file.sample:
        return 0
    cut = [(key, _cut(value, longest)) for key, value in file.sample]
    measured = _measure(client, cut)
    length = sum(len(key.encode()) + len(value) for key, value in cut)
    each = (measured - length) / len(cut)
    return round(file.lists * each) + file.key_bytes + file.value_bytes(longest)


def _cut(value: bytes, longest: int | None) -> bytes:
    return value if longest is None else b" ".join(value.split(b" ")[:longest])


def _measure(client: Client, pairs: list[tuple[str, bytes]]) -> int:
    """What some keys and values take; they are gone again."""
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


def _seven_in_a_bucket(node: redis.Redis) -> bool:
    facts: Any = node.info("server")
    version = str(facts.get("valkey_version", "0.0")).split(".")
    return (int(version[0]), int(version[1])) >= HASHTABLE_SINCE


def _table_bytes(keys: float, seven_in_a_bucket: bool) -> float:
    """A table has the next power of two of buckets; one of seven that overflows goes on in another."""
    if keys == 0:
        return 0
    if not seven_in_a_bucket:
        return TABLE_BYTES + 8 * _power_of_two(keys)
    buckets = _power_of_two(keys / 7)
    in_one = np.arange(1, CROWD)
    share = np.exp(in_one * np.log(max(keys / buckets, 1e-9)) - keys / buckets - np.cumsum(np.log(in_one)))
    # Six and the way to the next, but in the last of the chain.
    chain = np.where(in_one <= 7, 1, np.ceil((in_one - 1) / 6))
    return TABLE_BYTES + 64 * buckets * (1 + float(((chain - 1) * share).sum()))


def _power_of_two(number: float) -> int:
    return 1 << max(0, int(np.ceil(np.log2(max(number, 1)))))
