"""Singular values against the dense decomposition."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from recsys.data import truncated_svd as module
from recsys.data.truncated_svd import truncated_svd


def low_rank_and_noise(rows: int, columns: int) -> csr_matrix:
    generator = np.random.default_rng(5)
    base = generator.random((rows, 6)) @ np.diag([9.0, 7, 5, 4, 3, 2]) @ generator.random((6, columns))
    noise = random_array((rows, columns), density=0.05, random_state=generator)
    return csr_matrix(base + 0.1 * noise, dtype=np.float32)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40)])
@pytest.mark.parametrize("small_side", [1_500, 10], ids=["exact", "by iteration"])
def test_values_and_vectors_are_those_of_the_dense_decomposition(
    shape: tuple[int, int], small_side: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "MAX_EXACT_SIDE", small_side)
    matrix = low_rank_and_noise(*shape)
    values, vectors = truncated_svd(matrix, 6, seed=1)
    _, expected, turned = np.linalg.svd(matrix.toarray().astype(np.float64))
    np.testing.assert_allclose(values, expected[:6], rtol=1e-4)
    np.testing.assert_allclose(vectors @ vectors.T, turned[:6].T @ turned[:6], atol=1e-3)


def test_directions_of_nothing_are_left_out():
    values, vectors = truncated_svd(csr_matrix(np.ones((4, 7), np.float32)), 5, seed=0)
    np.testing.assert_allclose(values, [28**0.5], rtol=1e-6)
    assert vectors.shape == (7, 1)


def test_the_same_seed_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_EXACT_SIDE", 10)
    matrix = low_rank_and_noise(60, 50)
    one, other = (truncated_svd(matrix, 4, seed=3)[1] for _ in range(2))
    assert one.tobytes() == other.tobytes()
