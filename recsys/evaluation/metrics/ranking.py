"""Ranking metrics of each user's list: recall, precision, F1, NDCG, MAP, MRR and hit rate at k."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.ids import Rows

Counts = NDArray[np.integer]
Values = NDArray[np.float64]

METRICS = ("recall", "precision", "f1", "ndcg", "map", "mrr", "hit_rate")
BLOCK_ENTRIES = 1 << 21  # list entries in one block; each takes about 100 bytes


def metric_names(cutoffs: Sequence[int]) -> list[str]:
    """Return the names of all metrics at all cutoffs, as in `ndcg@20`."""
    return [f"{metric}@{k}" for metric in METRICS for k in cutoffs]


def evaluate_lists(
    recommended: Rows,
    relevant: csr_matrix,
    relevant_counts: Counts,
    cutoffs: Sequence[int],
) -> dict[str, Values]:
    """Evaluate one list for each of U users; return the values of each metric by user, (U,), from 0 to 1.

    - `recommended`: (U, n) item rows, best first, distinct in a row, -1 after the last; n is at least the
      largest cutoff.
    - `relevant`: (U, items), an entry for each relevant item that the model knows.
    - `relevant_counts`: (U,) the number of all relevant items, at least 1, including items unknown to the model,
      which no list can hold.

    Recall divides by the number of relevant items, precision by k. NDCG uses binary relevance and an ideal list cut
    at k (Järvelin and Kekäläinen, 2002). MAP divides by the number of relevant items, so its maximum is k over that
    number for users with more than k.
    Raises `ValueError` if the lists are shorter than the largest cutoff.
    """
    if recommended.shape[1] < max(cutoffs):
        raise ValueError(f"lists of {recommended.shape[1]} items cannot be measured at {max(cutoffs)}")
    users, depth = recommended.shape[0], max(cutoffs)
    values = {name: np.empty(users) for name in metric_names(cutoffs)}
    block = max(1, BLOCK_ENTRIES // depth)
    for start in range(0, users, block):
        rows = slice(start, start + block)
        lists = recommended[rows, :depth]
        relevant_rows = relevant[rows]
        measured = _evaluate_block(
            find_hits(lists, relevant_rows),
            relevant_counts[rows].astype(np.float64),
            cutoffs,
        )
        for name, part in measured.items():
            values[name][rows] = part
    return values


def find_hits(recommended: Rows, relevant: csr_matrix) -> NDArray[np.bool_]:
    """Mark the entries of `recommended` (U, n) that are relevant to the user, (U, n)."""
    users, items = relevant.shape
    ordered = relevant.sorted_indices()
    user_rows = np.repeat(np.arange(users, dtype=np.int64), np.diff(ordered.indptr))
    relevant_keys = user_rows * items + ordered.indices
    keys = np.arange(users, dtype=np.int64)[:, None] * items + recommended
    positions = np.searchsorted(relevant_keys, keys)
    is_relevant = np.append(relevant_keys, -1)[positions] == keys
    return is_relevant & (recommended >= 0)


def _evaluate_block(
    hits: NDArray[np.bool_],
    relevant_counts: Values,
    cutoffs: Sequence[int],
) -> dict[str, Values]:
    positions = np.arange(1, hits.shape[1] + 1, dtype=np.float64)
    discounts = 1 / np.log2(positions + 1)
    hits_so_far = hits.cumsum(axis=1)
    gains = (hits * discounts).cumsum(axis=1)
    ideal_gains = discounts.cumsum()
    precisions = (hits * hits_so_far / positions).cumsum(axis=1)
    reciprocal_ranks = np.maximum.accumulate(hits / positions, axis=1)

    values: dict[str, Values] = {}
    for k in cutoffs:
        cut = k - 1
        hit_counts = hits_so_far[:, cut].astype(np.float64)
        ideal = ideal_gains[np.minimum(k, relevant_counts).astype(np.intp) - 1]
        values[f"recall@{k}"] = hit_counts / relevant_counts
        values[f"precision@{k}"] = hit_counts / k
        # The harmonic mean of recall and precision, written so that 0 hits give 0 rather than 0 / 0.
        values[f"f1@{k}"] = 2 * hit_counts / (k + relevant_counts)
        values[f"ndcg@{k}"] = gains[:, cut] / ideal
        values[f"map@{k}"] = precisions[:, cut] / relevant_counts
        values[f"mrr@{k}"] = reciprocal_ranks[:, cut]
        values[f"hit_rate@{k}"] = (hit_counts > 0).astype(np.float64)
    return values
