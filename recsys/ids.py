"""Mapping between external string ids and the int32 rows of models."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNKNOWN = -1

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class IdMap:
    """A sorted set of ids; the row of an id is its index, so that equal sets give equal rows.

    >>> ids = IdMap.from_ids(pl.Series(["b", "a", "b"]))
    >>> ids.rows(pl.Series(["b", "x"])).tolist()
    [1, -1]
    >>> ids.ids(np.array([1, 0])).to_list()
    ['b', 'a']
    """

    values: pl.Series

    @classmethod
    def from_ids(cls, ids: pl.Series) -> "IdMap":
        """Return the map of all distinct ids that are not null."""
        return cls(ids.cast(pl.String).drop_nulls().unique().sort().alias("id"))

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self.values)

    @cached_property
    def _index(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.values, "row": np.arange(len(self.values), dtype=np.int32)})

    def rows(self, ids: pl.Series) -> Rows:
        """Return the row of each id, `UNKNOWN` for an id that is not in the map."""
        frame = ids.cast(pl.String).alias("id").to_frame()
        joined = frame.join(self._index, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(UNKNOWN).to_numpy().astype(np.int32)

    def mask(self, ids: pl.Series) -> NDArray[np.bool_]:
        """Return whether each id of the map is among some ids, (ids,)."""
        mask = np.zeros(len(self.values), np.bool_)
        rows = self.rows(ids)
        mask[rows[rows != UNKNOWN]] = True
        return mask

    def ids(self, rows: NDArray[np.integer]) -> pl.Series:
        """Return the id of each row, null for `UNKNOWN`."""
        indices = pl.Series(rows, dtype=pl.Int64)
        return self.values.gather(indices.replace(UNKNOWN, None))
