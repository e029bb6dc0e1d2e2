import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.anomaly.coherence import profile_coherence
from tests.recsys.anomaly.graphs import added, draw_customers


def test_items_of_two_kinds_have_vectors_at_right_angles() -> None:
    # Two groups of users who have nothing in common: items of one point one way, of both at right angles.
    matrix = np.zeros((9, 5), np.float32)
    matrix[:4, :2] = 1
    matrix[4:8, 2:4] = 1
    matrix[8, 4] = 1
    coherence = profile_coherence(csr_matrix(matrix), seed=0)
    np.testing.assert_allclose(coherence[:8], 1, atol=1e-3)
    assert np.isnan(coherence[8])  # of one item nothing can be said


def test_accounts_of_random_items_are_less_coherent_than_customers() -> None:
    shop = draw_customers(400, 300, 4, 12, seed=0)
    random = np.random.default_rng(1)
    both = added(shop, [random.choice(300, 12, replace=False).tolist() for _ in range(20)])
    coherence = profile_coherence(both, seed=0)
    assert np.median(coherence[400:]) < np.quantile(coherence[:400], 0.05)
    np.testing.assert_array_equal(coherence, profile_coherence(both, seed=0))


@pytest.mark.parametrize("shape", [(3, 5), (0, 5)])
def test_nobody_has_anything(shape: tuple[int, int]) -> None:
    assert np.isnan(profile_coherence(csr_matrix(shape), seed=0)).all()
