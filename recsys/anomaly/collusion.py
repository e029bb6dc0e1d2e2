"""Rings of reviewers: users who rate one another's choice of items, alike and without dissent.

Where a shop has ratings, members of a ring share more items with more others than taste explains, their items are
in one another's company, and they rate what all of the ring rate, as highly. None of these alone tells a ring from
a hobby, the mean of their ranks does: on 4,902 Amazon reviewers labelled by hand it parts spammers from others.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.attack_groups import normal_scores

MIN_SHARED: Final = 3
MAX_USERS: Final = 200
"""Items of more users than this say nothing about collusion: a bestseller makes no ring."""
BLOCK: Final = 2_048
BINS: Final = 100

Numbers = NDArray[np.float64]


def count_co_raters(user_items: csr_matrix) -> Numbers:
    """With how many others each user shares at least `MIN_SHARED` items, (users,).

    Items of more than `MAX_USERS` users are left out, so that the work is linear in the entries; users are taken
    in blocks.
    """
    users = np.bincount(user_items.indices, minlength=user_items.shape[1])
    rare = csr_matrix(user_items[:, users <= MAX_USERS], dtype=np.float32)
    turned = csr_matrix(rare.T)
    found = np.zeros(rare.shape[0])
    for start in range(0, rare.shape[0], BLOCK):
        shared = csr_matrix(rare[start : start + BLOCK] @ turned)
        shared.data = (shared.data >= MIN_SHARED).astype(np.float32)
        own = np.diff(rare.indptr[start : start + BLOCK + 1]) >= MIN_SHARED
        found[start : start + BLOCK] = np.asarray(shared.sum(axis=1)).ravel() - own
    return found


def collusion_scores(
    coherence: Numbers, similarity: Numbers, companion_counts: Numbers, deviation: Numbers, dissent: Numbers
) -> Numbers:
    """How like a ring's each user's ratings are, (users,), about -2 to 2, high for rings.

    `coherence` of the items, greatest `similarity` to another profile, `companion_counts`; `deviation` of the own
    ratings and their `dissent` from others' count against it. An unknown value is no evidence. Coherence counts
    twice.
    """
    columns = np.column_stack([coherence, similarity, companion_counts, -deviation, -dissent])
    return normal_scores(columns) @ np.array([2.0, 1.0, 1.0, 1.0, 1.0]) / 6


def split_point(scores: Numbers) -> float:
    """Where scores part into two groups with the greatest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(scores, BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1] / len(scores)
    sums = np.cumsum(counts * middles)[:-1] / len(scores)
    mean = float((counts * middles).sum()) / len(scores)
    between = (mean * below - sums) ** 2 / np.maximum(below * (1 - below), np.finfo(float).tiny)
    return float(edges[1:-1][int(between.argmax())])
