import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.sparse import csr_matrix

from recsys.models.top_k import BLOCK_SCORES, Exclude, Rows, Scores, rank_blocks, top_k, top_k_of_entries

# Few values, so that ties are frequent.
VALUES = st.sampled_from([-np.inf, -2.0, -0.0, 0.0, 0.5, 0.5, 1.0, 3e38])
MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12), elements=VALUES)


def sort_all(scores: Scores, n: int) -> tuple[list[list[int]], list[list[float]]]:
    """The n best columns of each row by sorting them all."""
    columns: list[list[int]] = []
    values: list[list[float]] = []
    for row in scores.tolist():
        best = sorted((-score, column) for column, score in enumerate(row) if score > -np.inf)[:n]
        padding = n - len(best)
        columns.append([column for _, column in best] + [-1] * padding)
        values.append([-score for score, _ in best] + [-np.inf] * padding)
    return columns, values


def assert_best(found: tuple[Rows, Scores], scores: Scores, n: int) -> None:
    columns, values = sort_all(scores, n)
    assert found[0].shape == found[1].shape == (len(scores), n)
    assert found[0].tolist() == columns
    assert found[1].tolist() == values
    assert found[0].dtype == np.int32
    assert found[1].dtype == np.float32


@given(MATRICES, st.integers(0, 15))
def test_top_k_is_the_head_of_a_full_sort(scores: Scores, n: int):
    before = scores.copy()
    assert_best(top_k(scores, n), scores, n)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_top_k_of_nothing_is_padding(shape: tuple[int, int]):
    assert_best(top_k(np.empty(shape, np.float32), 4), np.empty(shape, np.float32), 4)


def test_of_many_equal_scores_the_first_columns_are_taken():
    scores = np.zeros((2, 1000), np.float32)
    scores[1, 900] = 1
    columns, _ = top_k(scores, 3)
    assert columns.tolist() == [[0, 1, 2], [900, 0, 1]]


@given(MATRICES, st.integers(0, 15), st.randoms(use_true_random=False))
def test_top_k_of_entries_is_top_k_of_the_matrix(scores: Scores, n: int, random):
    rows, columns = np.nonzero(scores > -np.inf)
    order = list(range(len(rows)))
    random.shuffle(order)
    rows, columns = rows[order], columns[order]
    found = top_k_of_entries(rows, columns, scores[rows, columns], len(scores), n)
    assert_best(found, scores, n)


@given(MATRICES, st.integers(0, 15), st.data())
def test_rank_blocks_leaves_out_what_is_excluded_and_unknown_rows(scores: Scores, n: int, data: st.DataObject):
    stored = data.draw(arrays(np.bool_, scores.shape))
    mask = data.draw(arrays(np.bool_, scores.shape[1]))
    rows = np.array(data.draw(st.lists(st.integers(-1, len(scores) - 1), max_size=20)), np.int32)
    seen = csr_matrix(stored.astype(np.float32))
    seen.data[::2] = 0  # explicit zeros count as seen
    found = rank_blocks(lambda block: scores[block], rows, n, Exclude(seen, mask))
    left = np.where(stored | mask, -np.inf, scores).astype(np.float32)
    nothing = np.full((1, scores.shape[1]), -np.inf, np.float32)
    assert_best(found, np.concatenate([left, nothing])[rows], n)


def test_blocks_are_bounded_and_join_without_a_seam():
    items = BLOCK_SCORES // 4
    blocks: list[int] = []

    def score(rows: Rows) -> Scores:
        blocks.append(len(rows))
        scores = np.zeros((len(rows), items), np.float32)
        scores[np.arange(len(rows)), rows * 7] = rows + 1
        return scores

    rows = np.arange(10, dtype=np.int32)
    rows[5] = -1
    tracemalloc.start()
    found, scores = rank_blocks(score, rows, 1, Exclude())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert blocks == [1, 4, 4]
    assert found[:, 0].tolist() == [-1 if row < 0 else row * 7 for row in rows]
    assert scores[:, 0].tolist() == [-np.inf if row < 0 else row + 1 for row in rows]
    assert peak < 5 * BLOCK_SCORES * np.dtype(np.float32).itemsize


def test_one_row_wider_than_a_block_is_ranked_alone():
    blocks: list[int] = []

    def score(rows: Rows) -> Scores:
        blocks.append(len(rows))
        return np.broadcast_to(np.float32(0), (len(rows), BLOCK_SCORES + 1))

    found, _ = rank_blocks(score, np.zeros(2, np.int32), 0, Exclude())
    assert found.shape == (2, 0)
    assert blocks == [1, 1]
