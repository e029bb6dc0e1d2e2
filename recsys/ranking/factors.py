"""Exact top-N by the dot product of factors, without computing all scores, with the same result on every device.

Blocks of users are multiplied with tiles of items, small enough that scores are compared while they are in the
processor's cache. Two things save most of the work. Items are ordered by the highest score that an average user
could give them, and by the Cauchy-Schwarz inequality no score exceeds norm of user x norm of item + bias: a user
for whom no item of a tile can reach the n best so far is left out of its product. The rounding of a matrix product
depends on the machine and on the shape of the block, so its scores only select: all items within the rounding error
of the n best are scored again, in double precision and in a fixed order of summation. So batches and single users,
any number of threads, CPU and CUDA give the same lists.
"""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys.errors import ModelError, SettingsError
from recsys.ids import UNKNOWN, Rows
from recsys.ranking.factor_index import BlockRanker, FactorIndex, Factors, UserBlock, rank_block, row_norms
from recsys.ranking.top_k import Exclusion, Scores, empty_lists, run_in_threads, split_into_blocks
from recsys.settings.types import Device

BLOCK_USERS = 256
# A score's rounding error is below (factors + SLACK) x EPSILON x (norm x norm + bias), half of EPSILON being that
# of one operation.
SLACK = 8
EPSILON = 2.0**-23
MAX_SCORE = 1e38
TINY = float(np.finfo(np.float32).tiny)  # the error of products below float32's range


def rank_factors(
    user_vectors: Factors, index: FactorIndex, rows: Rows, n: int, exclude: Exclusion, device: Device = "auto"
) -> tuple[Rows, Scores]:
    """Rank the items of `index` for each of `rows`: item rows and scores, both (len(rows), n), best first.

    Where fewer than n items are left, and for row -1 or a vector of zeros, the rest is item row -1 with score -inf.
    Raises `ModelError` when a score may exceed float32, so none is ever infinite or NaN, and `SettingsError` when
    `device` is "cuda" and there is none.
    """
    best_rows, best_scores = empty_lists(len(rows), n)
    places = np.flatnonzero(rows != UNKNOWN)
    places = places[user_vectors[rows[places]].any(axis=1)]
    torch_device = find_cuda(device)
    items = len(index.rows)
    index = index.without(exclude.items)
    if n == 0 or len(index.rows) == 0:
        return best_rows, best_scores

    def rank_by(rank: BlockRanker, block: NDArray[np.intp]) -> None:
        users = _user_block(user_vectors, index, rows[block], exclude)
        best_rows[block], best_scores[block] = rank(users, n)

    if torch_device is not None:
        from recsys.ranking.cuda import DeviceIndex

        device_index = DeviceIndex.build(torch_device, index, items)
        for block in split_into_blocks(places, device_index.block_users):
            rank_by(device_index.rank_block, block)
    else:
        with threadpool_limits(1, "blas"):  # `run_in_threads` uses all processors
            run_in_threads(partial(rank_by, partial(rank_block, index)), split_into_blocks(places, BLOCK_USERS))
    return best_rows, best_scores


def find_cuda(device: Device) -> str | None:
    """Return the torch device to rank on, or None for the CPU, which needs no torch.

    Raises `SettingsError` when `device` is "cuda" and there is none.
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
    """Check for torch and a driver, before an import of torch that takes seconds."""
    driver = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
    return driver and find_spec("torch") is not None


def _user_block(user_vectors: Factors, index: FactorIndex, rows: Rows, exclude: Exclusion) -> UserBlock:
    vectors = user_vectors[rows]
    norms = row_norms(vectors)
    largest = norms * index.norms.max() + np.abs(index.bias).max()
    if not (largest < MAX_SCORE).all():
        raise ModelError("the factors are too large to rank by: a score may exceed what a 32-bit number holds")
    margins = (largest * (vectors.shape[1] + SLACK) * EPSILON + TINY).astype(np.float32)
    return UserBlock(vectors, norms, margins, *exclude.seen_items(rows))
