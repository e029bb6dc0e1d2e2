"""Items and users as vectors: the index that top-N by factors searches, and the search of one block on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Rows
from recsys.ranking.top_k import Scores, empty_lists

Factors = NDArray[np.float32]
Norms = NDArray[np.float64]

TILE_ITEMS = 512  # 256 users x 512 items of scores are 512 KiB, which fits a core's second-level cache


@dataclass(frozen=True)
class FactorIndex:
    """Item vectors in descending order of the highest score that a user of average norm could give them."""

    rows: Rows  # (items,), the item row of each entry
    vectors: Factors  # items x factors
    bias: Factors  # (items,), added to the dot product
    norms: Norms  # (items,), of the vectors

    @classmethod
    def build(cls, vectors: Factors, bias: Factors, user_norm: float) -> Self:
        """Index all items, for users whose vectors have a norm of about `user_norm`."""
        norms = row_norms(vectors)
        order = np.argsort(-(user_norm * norms + bias), kind="stable")
        return cls(order.astype(np.int32), vectors[order], bias[order], norms[order])

    @cached_property
    def tile_starts(self) -> NDArray[np.intp]:
        """The first entry of each tile of `TILE_ITEMS` items."""
        return np.arange(0, len(self.rows), TILE_ITEMS)

    @cached_property
    def tile_bounds(self) -> tuple[Norms, Norms]:
        """The largest norm and the largest bias of each tile."""
        bias = np.maximum.reduceat(self.bias, self.tile_starts)
        return np.maximum.reduceat(self.norms, self.tile_starts), bias.astype(np.float64)

    def without(self, items: NDArray[np.bool_] | None) -> "FactorIndex":
        """Return the index without the item rows that are True in `items`, (items,)."""
        if items is None:
            return self
        kept = ~items[self.rows]
        return FactorIndex(self.rows[kept], self.vectors[kept], self.bias[kept], self.norms[kept])


@dataclass(frozen=True)
class UserBlock:
    """Users ranked together: their vectors, the bounds of their scores, and their excluded items."""

    vectors: Factors
    norms: Norms
    margins: Factors  # (users,), the largest rounding error of a score
    seen_offsets: NDArray[np.int64]
    seen_rows: Rows

    def select(self, users: NDArray[np.intp]) -> "UserBlock":
        """Return the block of some of the users, given by ascending places."""
        counts = np.diff(self.seen_offsets)
        chosen = np.repeat(np.isin(np.arange(len(counts)), users), counts)
        offsets = np.concatenate([[0], np.cumsum(counts[users])])
        return UserBlock(
            self.vectors[users], self.norms[users], self.margins[users], offsets, self.seen_rows[chosen]
        )


BlockRanker = Callable[[UserBlock, int], tuple[Rows, Scores]]


def row_norms(vectors: Factors) -> Norms:
    """Return the Euclidean norm of each row, in double precision, which no float32 overflows."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


def rank_block(index: FactorIndex, users: UserBlock, n: int) -> tuple[Rows, Scores]:
    """Rank the n best items of each user of a block, on the CPU: item rows and scores, both (users, n)."""
    from recsys.ranking.kernels import scan_tile, sort_heaps

    best_rows, best_scores = empty_lists(len(users.vectors), n)
    buffer = np.empty(len(users.vectors) * min(TILE_ITEMS, len(index.rows)), np.float32)
    has_bias = index.bias.any()
    for start, norm, bias in zip(index.tile_starts, *index.tile_bounds, strict=True):
        tile = slice(start, start + TILE_ITEMS)
        # Users for whom an item of the tile may reach the worst of the n best scores so far.
        active = np.flatnonzero(users.norms * norm + bias + users.margins >= best_scores[:, 0])
        if len(active) == 0:
            continue
        vectors = index.vectors[tile]
        scores = buffer[: len(active) * len(vectors)].reshape(len(active), len(vectors))
        np.matmul(users.vectors[active], vectors.T, out=scores)
        if has_bias:
            scores += index.bias[tile]
        items = (vectors, index.bias[tile], index.rows[tile])
        seen = (users.seen_offsets, users.seen_rows)
        scan_tile(scores, active, users.margins, users.vectors, *items, *seen, best_scores, best_rows)
    sort_heaps(best_scores, best_rows)
    return best_rows, best_scores
