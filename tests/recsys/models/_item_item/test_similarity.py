import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.models._item_item.similarity import SupportFilter


@pytest.mark.parametrize("min_support", [1, 2, 5])
def test_support_is_what_the_product_of_the_matrix_with_itself_says(min_support: int):
    generator = np.random.default_rng(min_support)
    positives = (generator.random((40, 15)) < 0.3) * generator.uniform(0.1, 9, (40, 15))
    rows = np.array([3, 0, 14], np.int32)
    listed = generator.integers(-1, 15, (3, 20)).astype(np.int32)
    once = (positives > 0).astype(int)
    shared = (once.T @ once)[rows[:, None], listed]
    expected = np.where((listed >= 0) & (shared >= min_support), listed, -1)
    assert (expected >= 0).sum() > 0
    assert SupportFilter(csr_matrix(positives), min_support).apply(rows, listed).tolist() == expected.tolist()
