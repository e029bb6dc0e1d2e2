"""Intra-list diversity: the mean dissimilarity of all pairs of items in a list.

The dissimilarity is based on the category tree or on the items' users. Source: Ziegler et al., "Improving
Recommendation Lists Through Topic Diversification" (2005).
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from recsys.evaluation.metrics.ranking import Values
from recsys.ids import IdMap, Rows

PATH_BLOCK_LISTS = 4_096  # lists in one block; each takes about 500 bytes plus 500 bytes per category level
MAX_SAMPLED_LISTS = 1_000  # lists on which the dissimilarity by users is measured
USER_BLOCK_LISTS = 100  # lists in one block; the items of a block are compared with each other

# From two arrays of item rows to the dissimilarity of each pair, from 0 to 1, NaN where it is unknown.
Dissimilarity = Callable[[Rows, Rows], Values]


def encode_paths(paths: pl.Series) -> NDArray[np.int32]:
    """Encode category paths (list of names, root first, or null) as codes (items, levels), -1 below a path's end.

    Two items have the same code at a level if their paths are equal down to it.
    """
    lengths = paths.list.len().fill_null(0)
    depth = int(lengths.max() or 0)  # pyright: ignore[reportArgumentType]
    levels = np.full((len(paths), depth), -1, dtype=np.int32)
    for level in range(depth):
        names = paths.list.head(level + 1)
        # The length before each name makes the keys of ["a", "bc"] and ["ab", "c"] different, whatever the names.
        key = names.list.eval(pl.format("{}:{}", pl.element().str.len_bytes(), pl.element())).list.join("")
        reached = pl.select(pl.when(lengths > level).then(key)).to_series()
        levels[:, level] = IdMap.from_ids(reached).rows(reached)
    return levels


def path_diversity(recommended: Rows, paths: NDArray[np.int32], cutoffs: Sequence[int]) -> dict[int, Values]:
    """Measure the diversity of each list (U, n) at each cutoff, (U,), by the category `paths` (items, levels).

    The dissimilarity of two items is 1 - 2 * shared levels / sum of their levels, the complement of the similarity
    of Wu and Palmer ("Verb Semantics and Lexical Selection", 1994). Pairs with an item without a path are ignored;
    NaN for a list without pairs.
    """
    lengths: Values = (paths >= 0).sum(axis=1).astype(np.float64)
    codes = np.ascontiguousarray(paths.T)
    others = np.where(codes >= 0, codes, -2)  # so that levels below the ends of two paths do not match

    def dissimilarity(first: Rows, second: Rows) -> Values:
        shared: Values = np.zeros(first.shape)
        for one, other in zip(codes, others, strict=True):
            shared += one[first] == other[second]
        one_length, other_length = lengths[first], lengths[second]
        total: Values = one_length + other_length
        values: Values = np.full(total.shape, np.nan)
        np.divide(total - 2 * shared, total, out=values, where=(one_length > 0) & (other_length > 0))
        return values

    parts = [
        _mean_over_pairs(recommended[start : start + PATH_BLOCK_LISTS], cutoffs, dissimilarity)
        for start in range(0, len(recommended), PATH_BLOCK_LISTS)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in cutoffs}


def user_diversity(
    recommended: Rows, user_items: csr_matrix, cutoffs: Sequence[int], seed: int
) -> dict[int, Values]:
    """Measure the diversity at each cutoff of up to `MAX_SAMPLED_LISTS` of the lists (U, n), drawn by `seed`.

    The dissimilarity of two items is 1 - cosine of their binary columns of `user_items` (users x items); an item
    without users has dissimilarity 1 to all others.
    """
    sampled = np.random.default_rng(seed).permutation(len(recommended))[:MAX_SAMPLED_LISTS]
    columns = csr_matrix(
        (np.ones(user_items.nnz, dtype=np.float32), user_items.indices, user_items.indptr), user_items.shape
    ).tocsc()
    parts = [
        _user_diversity(recommended[sampled[start : start + USER_BLOCK_LISTS]], columns, cutoffs)
        for start in range(0, len(sampled), USER_BLOCK_LISTS)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in cutoffs}


def _user_diversity(recommended: Rows, columns: csc_matrix, cutoffs: Sequence[int]) -> dict[int, Values]:
    items = np.unique(np.maximum(recommended, 0))  # item 0 too where a position is empty
    item_columns = columns[:, items]
    common = (item_columns.T @ item_columns).toarray()
    lengths = np.sqrt(common.diagonal())
    scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    cosine = common * scale[:, None] * scale
    listed = np.where(recommended >= 0, np.searchsorted(items, recommended), -1).astype(np.int32)
    return _mean_over_pairs(listed, cutoffs, lambda first, second: 1.0 - cosine[first, second])


def _mean_over_pairs(recommended: Rows, cutoffs: Sequence[int], dissimilarity: Dissimilarity) -> dict[int, Values]:
    """Average over the pairs with a known dissimilarity in the first k items of each list, (U,) per cutoff."""
    users, depth = len(recommended), max(cutoffs)
    lists = recommended[:, :depth]
    sums = np.zeros((users, depth))  # of the pairs whose second item is at each position
    pairs = np.zeros((users, depth), dtype=np.int64)
    for apart in range(1, depth):
        first, second = lists[:, :-apart], lists[:, apart:]
        values = dissimilarity(np.maximum(first, 0), np.maximum(second, 0))
        is_known = (first >= 0) & (second >= 0) & ~np.isnan(values)
        sums[:, apart:] += np.where(is_known, values, 0)
        pairs[:, apart:] += is_known
    sums, pairs = sums.cumsum(axis=1), pairs.cumsum(axis=1)
    return {
        k: np.divide(sums[:, k - 1], pairs[:, k - 1], out=np.full(users, np.nan), where=pairs[:, k - 1] > 0)
        for k in cutoffs
    }
