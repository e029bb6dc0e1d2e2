import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.data.item_vectors import item_vectors


def test_the_cosine_of_vectors_is_that_of_the_users_who_want_the_items() -> None:
    # Tea and cup have the same two users; of the two users of the jug, one has the pot; nobody wants the last item.
    tea, cup, jug, pot, returned = range(5)
    positives = csr_matrix(
        np.array(
            [
                [2.0, 4.0, 0.0, 0.0, 0.0],
                [1.0, 2.0, 0.0, 0.0, 0.0],
                [0.0, 0.0, 3.0, 1.0, 0.0],
                [0.0, 0.0, 3.0, 0.0, 0.0],
            ],
            np.float32,
        )
    )
    vectors = item_vectors(positives, 0)
    assert vectors.shape == (5, 32)
    assert vectors.dtype == np.int8
    units = vectors.astype(float) / 127
    assert units[tea] @ units[cup] == pytest.approx(1, abs=0.02)
    assert units[jug] @ units[pot] == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert units[tea] @ units[jug] == pytest.approx(0, abs=0.02)
    assert not units[returned].any()
