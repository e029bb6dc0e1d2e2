"""The files of a run's lists, read one block at a time."""

# pyarrow has no stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow.parquet import ParquetFile, read_metadata

from recsys.errors import StoreError
from recsys.schema import ITEM_ID, USER_ID
from recsys.store.keys import TAG_END, Keys, hash_tag
from recsys.store.publish import list_commands
from recsys.store.publish.list_commands import Bytes, Numbers

USER_ITEMS_FILE: Final = "user_items.parquet"
AGAIN_FILE: Final = "again_items.parquet"
NEW_FILE: Final = "new_items.parquet"
SIMILAR_ITEMS_FILE: Final = "similar_items.parquet"
POPULAR_FILE: Final = "popular.parquet"
BOUGHT_WITH_FILE: Final = "bought_with.parquet"
HISTORY_FILE: Final = "history.parquet"
DISLIKED_FILE: Final = "disliked.parquet"
PROFILES_FILE: Final = "profiles.parquet"
OPTIONAL_FILES: Final = (AGAIN_FILE, NEW_FILE, BOUGHT_WITH_FILE, HISTORY_FILE, DISLIKED_FILE, PROFILES_FILE)
"""Files that a run may lack."""
NAME: Final = "name"
ITEMS: Final = "items"

BLOCK_LISTS: Final = 4_096
UNCUT: Final = 2**31
"""Longer than any list."""


@dataclass(frozen=True)
class Block:
    """Some lists of one file; arrays are as in `list_commands.set_commands`, `rows` are the non-empty lists."""

    prefix: bytes
    suffix: bytes
    owner_starts: Numbers
    owners: Bytes
    list_starts: Numbers
    items: NDArray[np.int32]
    id_starts: Numbers
    ids: Bytes
    rows: Numbers
    max_length: int

    def set_commands(self, rows: Numbers, per_command: int) -> tuple[Bytes, int]:
        """Return MSET commands for some rows, and the bytes of their values."""
        return list_commands.set_commands(
            self.prefix,
            self.suffix,
            self.owner_starts,
            self.owners,
            self.list_starts,
            self.items,
            self.id_starts,
            self.ids,
            rows,
            self.max_length,
            per_command,
        )

    def slots(self) -> NDArray[np.int16]:
        """Return the Cluster slot of the key of each of `rows`."""
        return list_commands.slots(self.prefix, self.suffix, self.owner_starts, self.owners, self.rows)

    def key_bytes(self) -> int:
        """Return the total length of the keys of `rows`."""
        affix_bytes = (len(self.prefix) + len(self.suffix)) * len(self.rows)
        return affix_bytes + int(np.diff(self.owner_starts)[self.rows].sum())

    def add_sizes(self, out: Numbers) -> None:
        """Add to `out[p]` the bytes of the ids at position p of all lists, each with the separator after it."""
        list_commands.add_sizes(self.list_starts, self.items, np.diff(self.id_starts), self.rows, out)

    def pairs(self, rows: Numbers) -> list[tuple[str, bytes]]:
        """Return keys and values of some rows; slow, for samples."""
        return [(self._key(int(row)), self._value(int(row))) for row in rows]

    def _key(self, row: int) -> str:
        owner = self.owners[self.owner_starts[row] : self.owner_starts[row + 1]]
        return (self.prefix + owner.tobytes() + self.suffix).decode()

    def _value(self, row: int) -> bytes:
        start = self.list_starts[row]
        end = min(self.list_starts[row + 1], start + self.max_length)
        return b" ".join(self._id(number) for number in self.items[start:end])

    def _id(self, number: int) -> bytes:
        return self._id_bytes[self.id_starts[number] : self.id_starts[number + 1]]

    @cached_property
    def _id_bytes(self) -> bytes:
        return self.ids.tobytes()


@dataclass(frozen=True)
class Source:
    """One file of lists: the column of their owners, and the prefix and suffix of their keys.

    A profile is a list of one text, which may contain spaces, unlike an id.
    """

    path: Path
    owner: str
    prefix: bytes
    suffix: bytes
    max_length: int
    cuttable: bool
    withheld: frozenset[str] = frozenset()
    """Owners whose lists are left out."""

    def count(self) -> int:
        """Return the number of lists, including empty ones."""
        return int(_metadata(self.path).num_rows)

    def blocks(self) -> Iterator[Block]:
        """Yield the lists, `BLOCK_LISTS` at a time, whatever the size of the file's row groups."""
        metadata = _metadata(self.path)
        paths = (str(metadata.schema.column(column).path) for column in range(metadata.num_columns))
        ids = [path for path in paths if path.startswith(f"{ITEMS}.")]
        # Reading ids as dictionary indices takes a fifth of the time of reading them as text.
        with ParquetFile(self.path, metadata=metadata, read_dictionary=ids) as file:
            for group in range(metadata.num_row_groups):
                batches: Any = file.iter_batches(
                    BLOCK_LISTS, row_groups=[group], columns=[self.owner, ITEMS], use_threads=False
                )
                for batch in batches:
                    yield self._block(batch.column(0), batch.column(1))

    def _block(self, owners: Any, lists: Any) -> Block:
        names = lists.values.dictionary
        if owners.null_count or lists.values.null_count:
            raise StoreError(f"{self.path}: there is a list without an owner, or an item without an id")
        starts = lists.offsets.to_numpy().astype(np.int64)
        owner_starts, owner_bytes = _strings(_hash_tags(owners) if self.suffix else owners)
        id_starts, id_bytes = _strings(names)
        has_list: NDArray[np.bool_] = np.diff(starts) > 0
        if self.withheld:
            withheld = pc.is_in(owners, value_set=pyarrow.array(sorted(self.withheld), owners.type))
            has_list &= ~np.asarray(withheld.to_numpy(zero_copy_only=False), np.bool_)
        rows = np.flatnonzero(has_list)
        return Block(
            self.prefix,
            self.suffix,
            owner_starts,
            owner_bytes,
            starts,
            lists.values.indices.to_numpy(),
            id_starts,
            id_bytes,
            rows,
            self.max_length,
        )


def _metadata(path: Path) -> Any:
    return read_metadata(path)


def _hash_tags(owners: Any) -> Any:
    """Return ids as they are in the braces of keys, see `hash_tag`."""
    if not pc.any(pc.starts_with(owners, TAG_END)).as_py():
        return owners
    return pc.replace_substring_regex(owners, f"^{re.escape(TAG_END)}", hash_tag(TAG_END))


def _strings(array: Any) -> tuple[Numbers, Bytes]:
    """Return the start of each text of an Arrow array, with the end of the last, and the bytes of all."""
    _, starts, data = array.buffers()
    width = np.int64 if str(array.type).startswith("large") else np.int32
    offsets = np.frombuffer(starts, width)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    return offsets, list_commands.padded(b"" if data is None else data)


def sources(
    keys: Keys, version: str, directory: Path, max_length: int = UNCUT, withheld: frozenset[str] = frozenset()
) -> Sequence[Source]:
    """Return the files of a run's lists, without those of `withheld` users.

    `max_length` cuts the lists of users and items, no others.

    Raises `StoreError` if a file is missing that is not in `OPTIONAL_FILES`.
    """
    files: tuple[tuple[str, str, Callable[[str, str], str], bool], ...] = (
        (USER_ITEMS_FILE, USER_ID, keys.user_items, True),
        (AGAIN_FILE, USER_ID, keys.again_items, True),
        (NEW_FILE, USER_ID, keys.new_items, True),
        (SIMILAR_ITEMS_FILE, ITEM_ID, keys.similar_items, True),
        (POPULAR_FILE, NAME, keys.ranking, False),
        (BOUGHT_WITH_FILE, ITEM_ID, keys.bought_together, True),
        (HISTORY_FILE, USER_ID, keys.history, False),
        (DISLIKED_FILE, USER_ID, keys.disliked, False),
        (PROFILES_FILE, USER_ID, keys.profile, False),
    )
    available: list[Source] = []
    for name, owner, key, cuttable in files:
        path = directory / name
        if not path.is_file():
            if name in OPTIONAL_FILES:
                continue
            raise StoreError(f"{path}: there is no such file to publish")
        # No id has a line end, so that it marks the place of the owner in a key.
        prefix, _, suffix = key(version, "\n").encode().partition(b"\n")
        length, left_out = max_length if cuttable else UNCUT, withheld if owner == USER_ID else frozenset[str]()
        available.append(Source(path, owner, prefix, suffix, length, cuttable, left_out))
    return available


def count_lists(directory: Path) -> int | None:
    """Return the number of lists of a run, including empty ones; None if a required file is missing."""
    required = [directory / name for name in (USER_ITEMS_FILE, SIMILAR_ITEMS_FILE, POPULAR_FILE)]
    if not all(file.is_file() for file in required):
        return None
    optional = [directory / name for name in OPTIONAL_FILES]
    return sum(_metadata(file).num_rows for file in required + [file for file in optional if file.is_file()])
