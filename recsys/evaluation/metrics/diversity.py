"""How unlike each other the items of one list are: intra-list diversity.

The mean dissimilarity of all pairs of a list (Ziegler et al., "Improving Recommendation Lists Through Topic
Diversification", 2005), of two kinds: by the items' places in the category tree, or by who has them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from recsys.evaluation.metrics.ranking import Values
from recsys.ids import IdMap, Rows

BLOCK_LISTS = 4_096  # lists compared at a time; each takes about 500 bytes and as much a category level
SAMPLED_LISTS = 1_000  # lists that the dissimilarity by users is measured on
LISTS_AT_A_TIME = 100  # at most so many times n items are compared with each other at a time

# Both (rows of items): one dissimilarity a pair, from 0 to 1, not a number where it is not known.
Dissimilarity = Callable[[Rows, Rows], Values]


def encode_paths(paths: pl.Series) -> NDArray[np.int32]:
    """Category paths (list of names, root first, or null) as codes (items, levels), -1 below a path's end.

    Two items have the same code at a level when their paths are the same down to it.
    """
    lengths = paths.list.len().fill_null(0)
    depth = int(lengths.max() or 0)  # pyright: ignore[reportArgumentType]
    levels = np.full((len(paths), depth), -1, dtype=np.int32)
    for level in range(depth):
        names = paths.list.head(level + 1)
        # A length before each name keeps ["a", "bc"] and ["ab", "c"] apart, whatever is in the names.
        told = names.list.eval(pl.format("{}:{}", pl.element().str.len_bytes(), pl.element())).list.join("")
        reached = pl.select(pl.when(lengths > level).then(told)).to_series()
        levels[:, level] = IdMap.of(reached).rows(reached)
    return levels


def path_diversity(recommended: Rows, paths: NDArray[np.int32], cutoffs: Sequence[int]) -> dict[int, Values]:
    """The diversity of each list (U, n) at each cutoff, (U,), by the items' `paths` (items, levels).

    Two items are 1 - 2 * shared levels / levels of both apart, the complement of the similarity of Wu and Palmer
    ("Verb Semantics and Lexical Selection", 1994). Pairs with an item without a path are left out; not a
    number for a list without any pair.
    """
    lengths: Values = (paths >= 0).sum(axis=1).astype(np.float64)
    codes = np.ascontiguousarray(paths.T)
    others = np.where(codes >= 0, codes, -2)  # so that two paths do not share the levels below their ends

    def dissimilarity(first: Rows, second: Rows) -> Values:
        shared: Values = np.zeros(first.shape)
        for one, other in zip(codes, others, strict=True):
            shared += one[first] == other[second]
        long, also = lengths[first], lengths[second]
        both: Values = long + also
        found: Values = np.full(both.shape, np.nan)
        np.divide(both - 2 * shared, both, out=found, where=(long > 0) & (also > 0))
        return found

    parts = [
        _mean_over_pairs(recommended[start : start + BLOCK_LISTS], cutoffs, dissimilarity)
        for start in range(0, len(recommended), BLOCK_LISTS)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in cutoffs}


def user_diversity(
    recommended: Rows, user_items: csr_matrix, cutoffs: Sequence[int], seed: int
) -> dict[int, Values]:
    """The diversity at each cutoff of up to `SAMPLED_LISTS` of the lists (U, n), drawn by `seed`.

    Two items are 1 - cosine of their columns of `user_items` (users x items) apart, where all that a user has
    counts alike; an item that nobody has is as far as can be from any other.
    """
    sampled = np.random.default_rng(seed).permutation(len(recommended))[:SAMPLED_LISTS]
    columns = csr_matrix(
        (np.ones(user_items.nnz, dtype=np.float32), user_items.indices, user_items.indptr), user_items.shape
    ).tocsc()
    parts = [
        _user_diversity(recommended[sampled[start : start + LISTS_AT_A_TIME]], columns, cutoffs)
        for start in range(0, len(sampled), LISTS_AT_A_TIME)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in cutoffs}


def _user_diversity(recommended: Rows, columns: csc_matrix, cutoffs: Sequence[int]) -> dict[int, Values]:
    items = np.unique(recommended[recommended >= 0])
    own = columns[:, items]
    together = (own.T @ own).toarray()
    lengths = np.sqrt(together.diagonal())
    scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    cosine = together * scale[:, None] * scale
    places = np.searchsorted(items, np.maximum(recommended, items[0] if len(items) else 0))
    listed = np.where(recommended >= 0, places, -1).astype(np.int32)
    return _mean_over_pairs(listed, cutoffs, lambda first, second: 1.0 - cosine[first, second])


def _mean_over_pairs(recommended: Rows, cutoffs: Sequence[int], dissimilarity: Dissimilarity) -> dict[int, Values]:
    """The mean over all known pairs among the first k of each list (U, n), (U,) a cutoff."""
    users, depth = len(recommended), max(cutoffs)
    lists = recommended[:, :depth]
    sums = np.zeros((users, depth))  # of the pairs whose second item stands at each place
    pairs = np.zeros((users, depth), dtype=np.int64)
    for apart in range(1, depth):
        first, second = lists[:, :-apart], lists[:, apart:]
        found = dissimilarity(np.maximum(first, 0), np.maximum(second, 0))
        known = (first >= 0) & (second >= 0) & ~np.isnan(found)
        sums[:, apart:] += np.where(known, found, 0)
        pairs[:, apart:] += known
    sums, pairs = sums.cumsum(axis=1), pairs.cumsum(axis=1)
    return {
        k: np.divide(sums[:, k - 1], pairs[:, k - 1], out=np.full(users, np.nan), where=pairs[:, k - 1] > 0)
        for k in cutoffs
    }
