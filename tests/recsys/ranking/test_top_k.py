import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.sparse import csr_matrix

from recsys.errors import ModelError
from recsys.ranking import top_k as ranking
from recsys.ranking.top_k import (
    BLOCK_SCORES,
    Exclusion,
    Rows,
    Scores,
    rank_blocks,
    rank_entries,
    top_k,
    top_k_of_entries,
)

# Few values, so that ties are frequent.
VALUES = st.sampled_from([-np.inf, -2.0, -0.0, 0.0, 0.5, 0.5, 1.0, 3e38])
MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12), elements=VALUES)

compiled_first = settings(deadline=None)


def sort_all(scores: Scores, n: int) -> tuple[list[list[int]], list[list[float]]]:
    """The n best columns of each row by sorting them all."""
    columns: list[list[int]] = []
    values: list[list[float]] = []
    for row in scores.tolist():
        best = sorted((-score, column) for column, score in enumerate(row) if score > -np.inf)[:n]
        empty_lists = n - len(best)
        columns.append([column for _, column in best] + [-1] * empty_lists)
        values.append([-score for score, _ in best] + [-np.inf] * empty_lists)
    return columns, values


def assert_best(result: tuple[Rows, Scores], scores: Scores, n: int) -> None:
    columns, values = sort_all(scores, n)
    assert result[0].shape == result[1].shape == (len(scores), n)
    assert result[0].tolist() == columns
    assert result[1].tolist() == values
    assert result[0].dtype == np.int32
    assert result[1].dtype == np.float32


@compiled_first
@given(MATRICES, st.integers(0, 15))
def test_top_k_is_the_head_of_a_full_sort(scores: Scores, n: int):
    before = scores.copy()
    assert_best(top_k(scores, n), scores, n)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("columns", [63, 64, 65, 500])
def test_top_k_of_long_rows(columns: int):
    scores = np.random.default_rng(columns).normal(size=(60, columns)).astype(np.float32)
    scores[20:40] = scores[20:40].round()
    scores[0], scores[1] = np.sort(scores[0]), np.sort(scores[1])[::-1]
    assert_best(top_k(scores, 7), scores, 7)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_top_k_of_nothing_is_padding(shape: tuple[int, int]):
    assert_best(top_k(np.empty(shape, np.float32), 4), np.empty(shape, np.float32), 4)


def test_of_many_equal_scores_the_first_columns_are_taken():
    scores = np.zeros((2, 1000), np.float32)
    scores[1, 900] = 1
    columns, _ = top_k(scores, 3)
    assert columns.tolist() == [[0, 1, 2], [900, 0, 1]]


@compiled_first
@given(MATRICES, st.integers(0, 15), st.randoms(use_true_random=False))
def test_top_k_of_entries_is_top_k_of_the_matrix(scores: Scores, n: int, random):
    rows, columns = np.nonzero(scores > -np.inf)
    order = list(range(len(rows)))
    random.shuffle(order)
    rows, columns = rows[order], columns[order]
    result = top_k_of_entries(rows, columns, scores[rows, columns], len(scores), n)
    assert_best(result, scores, n)


@compiled_first
@given(MATRICES, st.integers(0, 15), st.data())
def test_rank_blocks_leaves_out_what_is_excluded_and_unknown_rows(scores: Scores, n: int, data: st.DataObject):
    stored = data.draw(arrays(np.bool_, scores.shape))
    mask = data.draw(arrays(np.bool_, scores.shape[1]))
    rows = np.array(data.draw(st.lists(st.integers(-1, len(scores) - 1), max_size=20)), np.int32)
    seen = csr_matrix(stored.astype(np.float32))
    seen.data[::2] = 0  # explicit zeros count as seen
    result = rank_blocks(lambda block: scores[block], rows, n, Exclusion(seen, mask))
    left = np.where(stored | mask, -np.inf, scores).astype(np.float32)
    nothing = np.full((1, scores.shape[1]), -np.inf, np.float32)
    assert_best(result, np.concatenate([left, nothing])[rows], n)


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
    result, scores = rank_blocks(score, rows, 1, Exclusion())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert blocks == [1, 4, 4]
    assert result[:, 0].tolist() == [-1 if row < 0 else row * 7 for row in rows]
    assert scores[:, 0].tolist() == [-np.inf if row < 0 else row + 1 for row in rows]
    assert peak < 5 * BLOCK_SCORES * np.dtype(np.float32).itemsize


def test_one_row_wider_than_a_block_is_ranked_alone():
    blocks: list[int] = []

    def score(rows: Rows) -> Scores:
        blocks.append(len(rows))
        return np.broadcast_to(np.float32(0), (len(rows), BLOCK_SCORES + 1))

    result, _ = rank_blocks(score, np.zeros(2, np.int32), 0, Exclusion())
    assert result.shape == (2, 0)
    assert blocks == [1, 1]


def stored_entries(scores: Scores, stored: np.ndarray) -> csr_matrix:
    rows, columns = np.nonzero(stored)
    return csr_matrix((scores[rows, columns], (rows, columns)), shape=scores.shape)


@compiled_first
@given(MATRICES, st.integers(0, 15), st.booleans(), st.data())
def test_rank_entries_is_rank_blocks_of_the_filled_matrix(
    scores: Scores, n: int, same_for_all: bool, data: st.DataObject
):
    base = data.draw(arrays(np.float32, scores.shape[1], elements=VALUES))
    stored = data.draw(arrays(np.bool_, scores.shape, elements=st.just(False) if same_for_all else st.booleans()))
    seen, mask = data.draw(arrays(np.bool_, scores.shape)), data.draw(arrays(np.bool_, scores.shape[1]))
    rows = np.array(data.draw(st.lists(st.integers(-1, len(scores) - 1), max_size=20)), np.int32)
    entries = stored_entries(scores, stored)
    exclude = Exclusion(csr_matrix(seen.astype(np.float32)), mask)
    filled = np.where(stored, scores, base)
    result = rank_entries(None if same_for_all else lambda block: entries[block], base, rows, n, exclude)
    expected = rank_blocks(lambda block: filled[block], rows, n, exclude)
    np.testing.assert_array_equal(result[0], expected[0])
    np.testing.assert_array_equal(result[1], expected[1])


@pytest.mark.parametrize(("block", "processors"), [(1, 1), (1_000, 5), (1 << 22, 2)])
def test_blocks_and_threads_change_nothing(block: int, processors: int, monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(0)
    base, scores = generator.integers(0, 9, 300), generator.integers(0, 9, (200, 300))
    stored, seen = generator.random((200, 300)) < 0.1, generator.random((200, 300)) < 0.1
    entries = stored_entries(scores.astype(np.float32), stored)
    filled = np.where(stored, scores, base).astype(np.float32)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", block)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    rows, exclude = np.arange(200, dtype=np.int32), Exclusion(csr_matrix(seen))
    left = np.where(seen, -np.inf, filled).astype(np.float32)
    assert_best(rank_entries(lambda of: entries[of], base.astype(np.float32), rows, 9, exclude), left, 9)
    assert_best(rank_blocks(lambda of: filled[of], rows, 9, exclude), left, 9)


@pytest.mark.parametrize("place", [0, 63, 64, 100, 199])
def test_a_score_that_is_not_a_number_is_an_error(place: int):
    scores = np.linspace(9, 1, 200, dtype=np.float32)[None].repeat(2, axis=0)
    scores[1, place] = np.nan
    rows = np.arange(2, dtype=np.int32)
    with pytest.raises(ModelError, match="a score is not a number"):
        top_k(scores, 3)
    with pytest.raises(ModelError, match="a score is not a number"):
        rank_blocks(lambda block: scores[block], rows, 3, Exclusion())
    with pytest.raises(ModelError, match="a score is not a number"):
        rank_entries(lambda block: csr_matrix(scores[block]), np.zeros(200, np.float32), rows, 3, Exclusion())
    with pytest.raises(ModelError, match="a score is not a number"):
        rank_entries(None, scores[1], rows, 3, Exclusion())


def test_scores_of_any_memory_layout():
    scores = np.random.default_rng(0).integers(0, 50, (70, 200)).astype(np.float32)
    expected = top_k(scores, 9)
    frozen = scores.copy()
    frozen.setflags(write=False)
    for other in (np.asfortranarray(scores), np.repeat(scores, 2, axis=1)[:, ::2], frozen):
        np.testing.assert_array_equal(top_k(other, 9)[0], expected[0])


RANK_ONE = "import numpy; from recsys.ranking.top_k import top_k; print(top_k(numpy.float32([[1, 3, 2]]), 2)[0])"


def test_it_works_where_nothing_compiled_can_be_kept(tmp_path: Path):
    """As in a container with a read-only installation and no home; a file stands where the directory would."""
    package = tmp_path / "recsys"
    source = Path(ranking.__file__).parents[1]
    for path in source.rglob("*.py"):
        (package / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        (package / path.relative_to(source)).write_bytes(path.read_bytes())
    (package / "models" / "__pycache__").touch()
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), "/dev/null/nowhere")
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", **nowhere}
    done = subprocess.run(
        [sys.executable, "-c", RANK_ONE], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == "[[1 2]]\n"


def test_importing_the_models_imports_neither_numba_nor_torch():
    code = "import sys, recsys.models.registry; print(sorted({'numba', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
