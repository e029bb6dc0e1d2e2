"""Exact top-N by factors on a torch device; its lists are bit for bit those of the CPU.

Imported only when such a device is requested or found: torch is an optional dependency.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.ids import UNKNOWN, Rows
from recsys.ranking.factor_index import FactorIndex, UserBlock, rank_block
from recsys.ranking.kernels import scan_candidates, sort_heaps
from recsys.ranking.top_k import Scores, empty_lists

# Scores on the device at a time: 256 MiB, and as much again to select from them.
DEVICE_SCORES = 1 << 26
# Candidates beyond the n best. When more than these lie within the rounding error, the CPU ranks the user.
EXTRA_CANDIDATES = 32


@dataclass(frozen=True)
class DeviceIndex:
    """A `FactorIndex` on a device."""

    index: FactorIndex
    vectors: torch.Tensor  # factors x items
    bias: torch.Tensor
    places: NDArray[np.int64]  # item row -> place in the index, -1 for an item that is not in it

    @classmethod
    def build(cls, device: str, index: FactorIndex, items: int) -> "DeviceIndex":
        """Copy the index of a catalogue of `items` items to the device."""
        places = np.full(items, UNKNOWN, np.int64)
        places[index.rows] = np.arange(len(index.rows))
        vectors = torch.tensor(index.vectors, device=device)
        return cls(index, vectors.T, torch.tensor(index.bias, device=device), places)

    @property
    def block_users(self) -> int:
        """The number of users ranked together."""
        return max(1, DEVICE_SCORES // len(self.index.rows))

    def rank_block(self, users: UserBlock, n: int) -> tuple[Rows, Scores]:
        """Rank the n best items of each user of a block: item rows and scores, both (users, n)."""
        best_rows, best_scores = empty_lists(len(users.vectors), n)
        width = min(n + EXTRA_CANDIDATES, len(self.index.rows))
        values, candidates = self._candidates(users, width)
        index = self.index
        scan_candidates(candidates, users.vectors, index.vectors, index.bias, index.rows, best_scores, best_rows)
        last = values[:, -1]  # an upper bound of every other item's score, as the device rounds it
        in_doubt = (last > -np.inf) & (last + users.margins >= best_scores[:, 0])
        sort_heaps(best_scores, best_rows)
        if width < len(index.rows) and in_doubt.any():
            doubtful = np.flatnonzero(in_doubt)
            best_rows[doubtful], best_scores[doubtful] = rank_block(index, users.select(doubtful), n)
        return best_rows, best_scores

    def _candidates(self, users: UserBlock, width: int) -> tuple[Scores, NDArray[np.int64]]:
        """Find the highest scores, descending, as the device rounds them, and their places; -1 for -inf."""
        device = self.vectors.device
        numbers = np.repeat(np.arange(len(users.vectors)), np.diff(users.seen_offsets))
        places = self.places[users.seen_rows]
        seen = torch.tensor(np.stack([numbers, places])[:, places >= 0], device=device)
        with _full_precision():
            scores = torch.tensor(users.vectors, device=device) @ self.vectors
        scores += self.bias
        scores[seen[0], seen[1]] = -torch.inf
        top = torch.topk(scores, width, dim=1)
        values = top.values.cpu().numpy()
        return values, np.where(values > -np.inf, top.indices.cpu().numpy(), UNKNOWN)


def has_cuda() -> bool:
    """Return whether torch finds a CUDA device."""
    return torch.cuda.is_available()


@contextmanager
def _full_precision() -> Generator[None]:
    """Switch TF32 off, which rounds more than `UserBlock.margins` allow for."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
