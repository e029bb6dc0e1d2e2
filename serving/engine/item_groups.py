"""Which items of a catalogue are variants of one product, as arrays over the rows of the catalogue."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

NO_GROUP: Final = -1
"""Number of the group of an item without one."""


class ItemGroups:
    """The groups of the items of a catalogue, and the rows of the items of each group, most popular first."""

    def __init__(self, group_ids: pl.Series) -> None:
        """Build the index of a column of group ids, null for items without one."""
        distinct = group_ids.drop_nulls().unique().sort()
        self._ids: list[str] = distinct.to_list()
        self._numbers = {group_id: number for number, group_id in enumerate(self._ids)}
        numbers = np.arange(len(distinct))
        codes = group_ids.replace_strict(distinct, numbers, default=NO_GROUP, return_dtype=pl.Int32)
        self._codes = codes.to_numpy().copy()
        self._build_index()

    def group(self, row: int) -> int:
        """Return the number of an item's group, `NO_GROUP` without one."""
        return int(self._codes[row])

    def find(self, group_id: str) -> int:
        """Return the number of a group by its id, `NO_GROUP` if there is none."""
        return self._numbers.get(group_id, NO_GROUP)

    def rows(self, group: int) -> list[int]:
        """Return the rows of the items of a group."""
        rows: list[int] = self._order[self._starts[group] : self._starts[group + 1]].tolist()
        return rows

    def column(self) -> pl.Series:
        """Return the group ids of all items; may be called in a thread."""
        codes = self._codes.copy()  # before the ids, of which a thread may see more
        ids = [*self._ids, None]
        return pl.Series(ids, dtype=pl.String).gather(np.where(codes < 0, len(ids) - 1, codes))

    def append(self, count: int) -> None:
        """Add items without a group."""
        self._codes = np.append(self._codes, np.full(count, NO_GROUP, np.int32))

    def put(self, group_ids: Mapping[int, str | None]) -> None:
        """Set the groups of some rows."""
        for row, group_id in group_ids.items():
            self._codes[row] = NO_GROUP if group_id is None else self._number(group_id)
        self._build_index()

    def _number(self, group_id: str) -> int:
        """Return the number of a group; a new one gets a new number."""
        number = self._numbers.setdefault(group_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(group_id)
        return number

    def _build_index(self) -> None:
        variants = np.flatnonzero(self._codes != NO_GROUP)
        codes = self._codes[variants]
        self._order = variants[np.argsort(codes, kind="stable")]
        self._starts = np.append(0, np.cumsum(np.bincount(codes, minlength=len(self._ids))))
