"""Which items of a catalogue are variants of one product."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from recsys.schema import GROUP_ID

NO_GROUP: Final = -1
"""Number of the group of an item without one."""


class ItemGroups:
    """The group of each item of a catalogue, and the items of each group, most popular first."""

    def __init__(self, items: pl.DataFrame, ids: list[str], rows: Mapping[str, int]) -> None:
        """Build the index of a table of items; `ids` and `rows` are the catalogue's, which may add to them."""
        no_group_ids = pl.Series([None], dtype=pl.String).new_from_index(0, items.height)
        group_ids = items[GROUP_ID] if GROUP_ID in items.columns else no_group_ids
        distinct = group_ids.drop_nulls().unique().sort()
        numbers = np.arange(len(distinct))
        codes = group_ids.replace_strict(distinct, numbers, default=NO_GROUP, return_dtype=pl.Int32)
        self._item_ids, self._rows = ids, rows
        self._codes = codes.to_numpy().copy()
        self._ids: list[str] = distinct.to_list()
        self._numbers = {group_id: number for number, group_id in enumerate(self._ids)}
        self._build_index()

    def __bool__(self) -> bool:
        """Return whether there is a group."""
        return bool(self._ids)

    def group(self, item_id: str) -> int:
        """Return the number of an item's group, or of the group with this id; `NO_GROUP` if there is none."""
        row = self._rows.get(item_id)
        return self._numbers.get(item_id, NO_GROUP) if row is None else int(self._codes[row])

    def group_or_item(self, item_id: str) -> int | str:
        """Return the number of an item's group; its own id without one."""
        group = self.group(item_id) if self._ids else NO_GROUP
        return item_id if group == NO_GROUP else group

    def variants(self, group: int) -> list[str]:
        """Return the items of a group, most popular first."""
        rows: list[int] = self._order[self._starts[group] : self._starts[group + 1]].tolist()
        return [self._item_ids[row] for row in rows]

    def column(self) -> pl.Series:
        """Return the group ids of all items; may be called in a thread."""
        codes = self._codes.copy()  # before the ids, of which a thread may see more
        ids = [*self._ids, None]
        return pl.Series(ids, dtype=pl.String).gather(np.where(codes < 0, len(ids) - 1, codes))

    def append(self, count: int) -> None:
        """Add items without a group."""
        self._codes = np.append(self._codes, np.full(count, NO_GROUP, np.int32))

    def put(self, group_ids: Mapping[str, str | None]) -> None:
        """Set the groups of some items."""
        for item_id, group_id in group_ids.items():
            self._codes[self._rows[item_id]] = NO_GROUP if group_id is None else self._number(group_id)
        if group_ids:
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
