"""The n best items of every user by the dot product of factors: exact, without all scores, the same anywhere.

Blocks of users are multiplied with tiles of items, so small that the scores are compared while they are in the
processor's cache. Two things save most of the work. Items come by the highest score that an average user could
give them, and by the Cauchy-Schwarz inequality no score passes length of user x length of item + bias: a user for
whom no item of a tile can reach the n best so far takes no part in its product. What a matrix product rounds
depends on the machine and on the shape of the block, so its scores only select: all items within the rounding error
of the n best are scored once more, in double precision and in one order. So batch and single, any number of
threads, CPU and CUDA give the same lists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys.errors import ModelError, SettingsError
from recsys.ids import UNKNOWN, Rows
from recsys.ranking.top_k import Exclude, Scores, blocks_of, in_threads, padding
from recsys.settings.types import Device

Factors = NDArray[np.float32]
Lengths = NDArray[np.float64]

USERS = 256
ITEMS = 512  # 256 x 512 scores are 512 KiB, a core's second cache
# A score's rounding error is below (factors + SLACK) x EPSILON x (length x length + bias), half of EPSILON being
# that of one operation.
SLACK = 8
EPSILON = 2.0**-23
LARGEST = 1e38
TINY = float(np.finfo(np.float32).tiny)  # what products below float32's range may lose


@dataclass(frozen=True)
class FactorIndex:
    """Items by the highest score that a user of average length could give, the order in which they are tried."""

    rows: Rows  # (items,), the item row of each
    vectors: Factors  # items x factors
    bias: Factors  # (items,), added to the dot product
    lengths: Lengths  # (items,), of the vectors

    @classmethod
    def of(cls, vectors: Factors, bias: Factors, user_length: float) -> Self:
        """The index of all items, for users whose vectors are about so long."""
        lengths = lengths_of(vectors)
        order = np.argsort(-(user_length * lengths + bias), kind="stable")
        return cls(order.astype(np.int32), vectors[order], bias[order], lengths[order])

    @cached_property
    def tile_starts(self) -> NDArray[np.intp]:
        """Where each tile of `ITEMS` items starts."""
        return np.arange(0, len(self.rows), ITEMS)

    @cached_property
    def tile_bounds(self) -> tuple[Lengths, Lengths]:
        """The greatest length and the greatest bias in each tile."""
        bias = np.maximum.reduceat(self.bias, self.tile_starts)
        return np.maximum.reduceat(self.lengths, self.tile_starts), bias.astype(np.float64)

    def without(self, items: NDArray[np.bool_] | None) -> "FactorIndex":
        """The index without the items that are True, one entry for each item row."""
        if items is None:
            return self
        kept = ~items[self.rows]
        return FactorIndex(self.rows[kept], self.vectors[kept], self.bias[kept], self.lengths[kept])


@dataclass(frozen=True)
class UserBlock:
    """Users ranked together: their vectors, what bounds their scores, and what each must not be shown."""

    vectors: Factors
    lengths: Lengths
    margins: Factors  # (users,), a score's largest rounding error
    seen_offsets: NDArray[np.int64]
    seen_rows: Rows

    def only(self, users: NDArray[np.intp]) -> "UserBlock":
        """Some of the users."""
        counts = np.diff(self.seen_offsets)
        chosen = np.repeat(np.isin(np.arange(len(counts)), users), counts)
        offsets = np.concatenate([[0], np.cumsum(counts[users])])
        return UserBlock(
            self.vectors[users], self.lengths[users], self.margins[users], offsets, self.seen_rows[chosen]
        )


Ranker = Callable[[UserBlock, int], tuple[Rows, Scores]]


def lengths_of(vectors: Factors) -> Lengths:
    """The Euclidean length of each row, in double precision, which no float32 overflows."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


def rank_factors(
    user_vectors: Factors, index: FactorIndex, rows: Rows, n: int, exclude: Exclude, device: Device = "auto"
) -> tuple[Rows, Scores]:
    """Rank the items of `index` for each of `rows`: item rows and scores, both (len(rows), n), best first.

    Where fewer than n items are left, and for row -1 or a vector of zeros, the rest is item row -1 with score -inf.
    Raises `ModelError` where a score may pass what float32 holds, and so none is ever infinite or not a number;
    `SettingsError` where `device` is cuda and there is none.
    """
    best_rows, best_scores = padding(len(rows), n)
    known = np.flatnonzero(rows != UNKNOWN)
    known = known[user_vectors[rows[known]].any(axis=1)]
    torch_device = find_cuda(device)
    items = len(index.rows)
    index = index.without(exclude.items)
    if n == 0 or len(index.rows) == 0:
        return best_rows, best_scores

    def rank_by(rank: Ranker, block: NDArray[np.intp]) -> None:
        users = _user_block(user_vectors, index, rows[block], exclude)
        best_rows[block], best_scores[block] = rank(users, n)

    if torch_device is not None:
        from recsys.ranking.cuda import DeviceIndex

        on_device = DeviceIndex.on(torch_device, index, items)
        for block in blocks_of(known, on_device.block_users):
            rank_by(on_device.rank_block, block)
    else:
        with threadpool_limits(1, "blas"):  # the threads are ours
            in_threads(partial(rank_by, partial(rank_block, index)), blocks_of(known, USERS))
    return best_rows, best_scores


def find_cuda(device: Device) -> str | None:
    """The device of torch to rank on, or None for the CPU without torch.

    Raises `SettingsError` where CUDA is asked for and there is none.
    """
    if device == "cpu" or (device == "auto" and not _may_have_cuda()):
        return None
    try:
        from recsys.ranking.cuda import has_cuda
    except ImportError:
        raise SettingsError("device = 'cuda' needs torch: install recsys-engine[neural]") from None
    if device == "cuda" and not has_cuda():
        raise SettingsError("device = 'cuda': torch finds no CUDA device here; expected one, or 'auto'")
    return "cuda" if has_cuda() else None


def _may_have_cuda() -> bool:
    """Whether torch, which takes seconds to import, is worth asking: it is installed, and there is a driver."""
    driver = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
    return driver and find_spec("torch") is not None


def rank_block(index: FactorIndex, users: UserBlock, n: int) -> tuple[Rows, Scores]:
    """The n best items of each user of the block, and their scores."""
    from recsys.ranking.kernels import scan_tile, sort_heaps

    best_rows, best_scores = padding(len(users.vectors), n)
    space = np.empty(len(users.vectors) * min(ITEMS, len(index.rows)), np.float32)
    biased = index.bias.any()
    for start, length, bias in zip(index.tile_starts, *index.tile_bounds, strict=True):
        tile = slice(start, start + ITEMS)
        # Those whose worst score of the n best so far an item of the tile may reach.
        taking_part = np.flatnonzero(users.lengths * length + bias + users.margins >= best_scores[:, 0])
        if len(taking_part) == 0:
            continue
        vectors = index.vectors[tile]
        scores = space[: len(taking_part) * len(vectors)].reshape(len(taking_part), len(vectors))
        np.matmul(users.vectors[taking_part], vectors.T, out=scores)
        if biased:
            scores += index.bias[tile]
        parts = (vectors, index.bias[tile], index.rows[tile])
        seen = (users.seen_offsets, users.seen_rows)
        scan_tile(scores, taking_part, users.margins, users.vectors, *parts, *seen, best_scores, best_rows)
    sort_heaps(best_scores, best_rows)
    return best_rows, best_scores


def _user_block(user_vectors: Factors, index: FactorIndex, rows: Rows, exclude: Exclude) -> UserBlock:
    vectors = user_vectors[rows]
    lengths = lengths_of(vectors)
    largest = lengths * index.lengths.max() + np.abs(index.bias).max()
    if not (largest < LARGEST).all():
        raise ModelError("the factors are too large to rank by: a score may pass what a 32-bit number holds")
    margins = (largest * (vectors.shape[1] + SLACK) * EPSILON + TINY).astype(np.float32)
    return UserBlock(vectors, lengths, margins, *exclude.seen(rows))
