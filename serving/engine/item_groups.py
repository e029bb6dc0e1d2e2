"""Which items of a catalogue are variants of one product, as arrays over the rows of the catalogue."""

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

NO_GROUP: Final = -1
"""Number of the group of an item without one."""


class GroupLabels(Protocol):
    """The group of each row, as a number and as an id."""

    codes: NDArray[np.int32]

    def find(self, name: str) -> int:
        """Return the number of a group id, below 0 for an unknown one."""
        ...

    def encode(self, name: str | None) -> int:
        """Return the number of a group id; a new id gets a new number."""
        ...

    def column(self) -> pl.Series:
        """Return the group ids of all rows."""
        ...


class ItemGroups:
    """The groups of the items of a catalogue, and the rows of the items of each group, most popular first."""

    def __init__(self, labels: GroupLabels) -> None:
        """Build the index of rows by group."""
        self._labels = labels
        self._build_index()

    def group(self, row: int) -> int:
        """Return the number of an item's group, `NO_GROUP` without one."""
        return int(self._labels.codes[row])

    def find(self, group_id: str) -> int:
        """Return the number of a group by its id, `NO_GROUP` if there is none."""
        return max(self._labels.find(group_id), NO_GROUP)

    def rows(self, group: int) -> list[int]:
        """Return the rows of the items of a group."""
        rows: list[int] = self._order[self._starts[group] : self._starts[group + 1]].tolist()
        return rows

    def column(self) -> pl.Series:
        """Return the group ids of all items."""
        return self._labels.column()

    def append(self, count: int) -> None:
        """Add items without a group."""
        self._labels.codes = np.append(self._labels.codes, np.full(count, NO_GROUP, np.int32))

    def put(self, group_ids: Mapping[int, str | None]) -> None:
        """Set the groups of some rows."""
        for row, group_id in group_ids.items():
            self._labels.codes[row] = self._labels.encode(group_id)
        self._build_index()

    def _build_index(self) -> None:
        codes = self._labels.codes
        variants = np.flatnonzero(codes != NO_GROUP)
        self._order = variants[np.argsort(codes[variants], kind="stable")]
        self._starts = np.append(0, np.cumsum(np.bincount(codes[variants])))
