"""External string ids and the int32 rows that stand for them inside models."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNKNOWN = -1

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class IdMap:
    """A sorted set of ids; an id's row is its place in that order, so equal sets give equal rows.

    >>> ids = IdMap.of(pl.Series(["b", "a", "b"]))
    >>> ids.rows(pl.Series(["b", "x"])).tolist()
    [1, -1]
    >>> ids.ids(np.array([1, 0])).to_list()
    ['b', 'a']
    """

    values: pl.Series

    @classmethod
    def of(cls, ids: pl.Series) -> "IdMap":
        """Every distinct id of `ids`, nulls left out."""
        return cls(ids.cast(pl.String).drop_nulls().unique().sort().alias("id"))

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _index(self) -> pl.DataFrame:
        return pl.DataFrame({"id": self.values, "row": np.arange(len(self.values), dtype=np.int32)})

    def rows(self, ids: pl.Series) -> Rows:
        """The row of each id, `UNKNOWN` for an id that is not here."""
        asked = ids.cast(pl.String).alias("id").to_frame()
        found = asked.join(self._index, on="id", how="left", maintain_order="left")
        return found["row"].fill_null(UNKNOWN).to_numpy().astype(np.int32)

    def ids(self, rows: NDArray[np.integer]) -> pl.Series:
        """The id of each row, null for `UNKNOWN`."""
        wanted = pl.Series(rows, dtype=pl.Int64)
        return self.values.gather(wanted.replace(UNKNOWN, None))
