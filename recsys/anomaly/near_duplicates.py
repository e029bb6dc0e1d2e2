"""Near-duplicate profiles: candidate pairs come from MinHash, and are compared in full.

Broder, "On the resemblance and containment of documents" (1997); bands as in Leskovec, Rajaraman, Ullman, "Mining
of Massive Datasets" (2014), chapter 3.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

BANDS: Final = 20
ROWS: Final = 3
"""Hashes in a band: a pair with Jaccard similarity s becomes a candidate with probability 1 - (1 - s^3)^20."""
MIN_ITEMS: Final = 4
MIN_SIMILARITY: Final = 0.5
NEIGHBORS: Final = 8
"""Users in the same bucket of a band that each user is compared with, which keeps the work linear."""
BLOCK: Final = 1_000_000

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class NearDuplicates:
    """Similarity of each profile to the others, (users,) each."""

    similarity: Numbers
    """Greatest Jaccard similarity found to another profile, 0 to 1."""
    copies: Numbers
    """Profiles found with a similarity of at least `MIN_SIMILARITY`, at most `NEIGHBORS` per band on each side."""


def find_near_duplicates(user_items: csr_matrix, seed: int) -> NearDuplicates:
    """Compare the users of `user_items` (users, items; ones).

    Users with fewer than `MIN_ITEMS` items get 0 for both. Time and memory are linear in the entries.
    """
    users = np.flatnonzero(np.diff(user_items.indptr) >= MIN_ITEMS)
    similarity, copies = np.zeros(user_items.shape[0]), np.zeros(user_items.shape[0])
    if not len(users):
        return NearDuplicates(similarity, copies)
    profiles = user_items[users]
    first, second = _find_candidates(profiles, seed)
    jaccard = _jaccard(profiles, first, second)
    for side in (first, second):
        np.maximum.at(similarity, users[side], jaccard)
        np.add.at(copies, users[side], (jaccard >= MIN_SIMILARITY).astype(float))
    return NearDuplicates(similarity, copies)


def _find_candidates(profiles: csr_matrix, seed: int) -> tuple[Rows, Rows]:
    """Return the pairs of rows that agree in a band, each once."""
    random = np.random.default_rng(seed)
    count = profiles.shape[0]
    pairs: list[Rows] = []
    for _ in range(BANDS):
        band = np.zeros(count, np.uint64)
        for _ in range(ROWS):
            hashes = random.integers(1, 2**63, profiles.shape[1], dtype=np.uint64)
            lowest = np.minimum.reduceat(hashes[profiles.indices], profiles.indptr[:-1])
            band = band * np.uint64(0x9E3779B97F4A7C15) ^ lowest
        order = np.argsort(band, kind="stable")
        for step in range(1, min(NEIGHBORS, count - 1) + 1):
            same = np.flatnonzero(band[order[step:]] == band[order[:-step]])
            pairs.append(np.sort(np.stack([order[same], order[same + step]]), axis=0))
    distinct = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return distinct[0], distinct[1]


def _jaccard(profiles: csr_matrix, first: Rows, second: Rows) -> Numbers:
    """Compute shared items divided by all items, for each pair of rows."""
    sizes = np.diff(profiles.indptr)
    shared = np.zeros(len(first))
    step = max(1, BLOCK // max(1, int(sizes.mean())))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        shared_items = profiles[first[part]].multiply(profiles[second[part]])
        shared[part] = np.asarray(shared_items.sum(axis=1)).ravel()
    return shared / (sizes[first] + sizes[second] - shared)
