"""How good lists are, user by user: recall, precision, F1, NDCG, MAP, MRR, hit rate and AUC at k."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.ids import Rows

Counts = NDArray[np.integer]
Values = NDArray[np.float64]

METRICS = ("recall", "precision", "f1", "ndcg", "map", "mrr", "hit_rate", "auc")
BLOCK_ENTRIES = 1 << 21  # list entries measured at a time; each takes about 100 bytes


def metric_names(cutoffs: Sequence[int]) -> list[str]:
    """Every metric at every cutoff, as in `ndcg@20`."""
    return [f"{metric}@{k}" for metric in METRICS for k in cutoffs]


def evaluate_lists(
    recommended: Rows,
    relevant: csr_matrix,
    relevant_counts: Counts,
    candidate_counts: Counts,
    cutoffs: Sequence[int],
) -> dict[str, Values]:
    """Measure one list for each of U users; every value is one user's, from 0 to 1.

    - `recommended`: (U, n) item rows, best first, distinct in a row, -1 after the last; n is at least the
      largest cutoff.
    - `relevant`: (U, items), an entry for every item the user wanted that the model knows.
    - `relevant_counts`: (U,) all the items the user wanted, at least 1; those unknown to the model, which no
      list can hold, count too.
    - `candidate_counts`: (U,) how many items could have been recommended to the user.

    Recall divides by all that the user wanted, precision by k. NDCG is binary and its ideal list is cut at k
    (Järvelin and Kekäläinen, 2002). MAP divides by all that the user wanted, so it is at most k over that.
    AUC is the chance that an item the user wanted stands above one the user did not; all items below the cut
    are tied and count half.
    """
    if recommended.shape[1] < max(cutoffs):
        raise ValueError(f"lists of {recommended.shape[1]} items cannot be measured at {max(cutoffs)}")
    users, depth = recommended.shape[0], max(cutoffs)
    values = {name: np.empty(users) for name in metric_names(cutoffs)}
    block = max(1, BLOCK_ENTRIES // depth)
    for start in range(0, users, block):
        rows = slice(start, start + block)
        lists = recommended[rows, :depth]
        wanted = relevant[rows]
        measured = _evaluate_block(
            lists,
            find_hits(lists, wanted),
            np.diff(wanted.indptr),
            relevant_counts[rows].astype(np.float64),
            candidate_counts[rows].astype(np.float64),
            cutoffs,
        )
        for name, part in measured.items():
            values[name][rows] = part
    return values


def find_hits(recommended: Rows, relevant: csr_matrix) -> NDArray[np.bool_]:
    """Which entries of `recommended` (U, n) the user wanted, (U, n)."""
    users, items = relevant.shape
    wanted = relevant.sorted_indices()
    owners = np.repeat(np.arange(users, dtype=np.int64), np.diff(wanted.indptr))
    wanted_keys = owners * items + wanted.indices
    keys = np.arange(users, dtype=np.int64)[:, None] * items + recommended
    places = np.searchsorted(wanted_keys, keys)
    found = np.append(wanted_keys, -1)[places] == keys
    return found & (recommended >= 0)


def _evaluate_block(
    recommended: Rows,
    hits: NDArray[np.bool_],
    known_counts: Counts,
    relevant_counts: Values,
    candidate_counts: Values,
    cutoffs: Sequence[int],
) -> dict[str, Values]:
    positions = np.arange(1, hits.shape[1] + 1, dtype=np.float64)
    discounts = 1 / np.log2(positions + 1)
    hits_so_far = hits.cumsum(axis=1)
    gains = (hits * discounts).cumsum(axis=1)
    ideal_gains = discounts.cumsum()
    precisions = (hits * hits_so_far / positions).cumsum(axis=1)
    reciprocal_ranks = np.maximum.accumulate(hits / positions, axis=1)
    misses_so_far = ((recommended >= 0) & ~hits).cumsum(axis=1)
    misses_above_hits = (hits * misses_so_far).cumsum(axis=1)

    values: dict[str, Values] = {}
    for k in cutoffs:
        cut = k - 1
        found = hits_so_far[:, cut].astype(np.float64)
        ideal = ideal_gains[np.minimum(k, relevant_counts).astype(np.intp) - 1]
        values[f"recall@{k}"] = found / relevant_counts
        values[f"precision@{k}"] = found / k
        # The harmonic mean of the two above, without their quotient of zeros.
        values[f"f1@{k}"] = 2 * found / (k + relevant_counts)
        values[f"ndcg@{k}"] = gains[:, cut] / ideal
        values[f"map@{k}"] = precisions[:, cut] / relevant_counts
        values[f"mrr@{k}"] = reciprocal_ranks[:, cut]
        values[f"hit_rate@{k}"] = (found > 0).astype(np.float64)
        values[f"auc@{k}"] = _area_under_curve(
            found,
            misses_so_far[:, cut],
            misses_above_hits[:, cut],
            relevant_counts,
            candidate_counts - known_counts,
        )
    return values


def _area_under_curve(
    found: Values, misses: Counts, misses_above_hits: Counts, relevant: Values, irrelevant: Values
) -> Values:
    """Share of (relevant, irrelevant) pairs in the right order; 1 for a user without irrelevant items."""
    above = found * irrelevant - misses_above_hits
    tied = (relevant - found) * (irrelevant - misses)
    pairs = relevant * irrelevant
    return np.divide(above + tied / 2, pairs, out=np.ones_like(pairs), where=pairs > 0)
