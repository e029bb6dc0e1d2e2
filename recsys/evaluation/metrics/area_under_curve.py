"""The area under the ROC curve over all items that could have been recommended to a user."""

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.evaluation.metrics.ranking import Values
from recsys.ids import Rows
from recsys.ranking.top_k import BLOCK_SCORES, Exclusion, Scores

MAX_USERS: Final = 1_000


def mean_area_under_curve(
    score: Callable[[Rows], Scores], user_rows: Rows, relevant: csr_matrix, exclude: Exclusion, seed: int
) -> float | None:
    """Average `area_under_curve` over at most `MAX_USERS` of U users, drawn at random; None without a value.

    `score` maps user rows to scores of all items, (users, items); `user_rows` is (U,), `relevant` (U, items).
    Excluded items are no candidates.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(user_rows))[:MAX_USERS])
    items = relevant.shape[1]
    size = max(1, BLOCK_SCORES // max(1, items))
    areas: list[Values] = []
    for start in range(0, len(chosen), size):
        block = chosen[start : start + size]
        is_candidate = np.tile(~exclude.hidden_items(items), (len(block), 1))
        offsets, seen = exclude.seen_items(user_rows[block])
        is_candidate[np.repeat(np.arange(len(block)), np.diff(offsets)), seen] = False
        areas.append(area_under_curve(score(user_rows[block]), relevant[block], is_candidate))
    values = np.concatenate(areas) if areas else np.empty(0)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def area_under_curve(scores: Scores, relevant: csr_matrix, is_candidate: NDArray[np.bool_]) -> Values:
    """Compute the share of pairs of a relevant and another item that the scores put in order, for each user, (U,).

    `scores`, `relevant` and `is_candidate` are (U, items); only candidates count. Pairs with equal scores count
    half. NaN for a user without relevant or without other candidates. Relevant items that the model does not know
    have no column, so that they take no part.

    Source: Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
    Feedback" (UAI 2009).
    """
    areas = np.full(len(scores), np.nan)
    for user, line in enumerate(scores):
        is_relevant = np.zeros(len(line), np.bool_)
        is_relevant[relevant.indices[relevant.indptr[user] : relevant.indptr[user + 1]]] = True
        wanted, others = line[is_relevant & is_candidate[user]], np.sort(line[~is_relevant & is_candidate[user]])
        if len(wanted) and len(others):
            below, not_above = _count_below(others, wanted, "left"), _count_below(others, wanted, "right")
            areas[user] = (below + not_above) / (2 * len(wanted) * len(others))
    return areas


def _count_below(ordered: Scores, scores: Scores, side: Literal["left", "right"]) -> int:
    """Count the pairs of one of `ordered` below one of `scores`; with side right, those that are equal too."""
    return int(np.searchsorted(ordered, scores, side).sum())
