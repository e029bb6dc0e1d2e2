"""Labels that spread over a graph, worked out by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.models.categories.label_propagation import LabelPropagation

EVERY_ITEM = np.arange(4, dtype=np.int32)


def test_labels_reach_an_item_by_the_users_it_shares():
    # Items a, b, c, d; the first user wants a, b and d, the second b and c. a is labeled 0, b and c are 1.
    positives = csr_matrix(np.array([[0.3, 2, 0, 1], [0, 5, 1, 0]], np.float32))
    labels = np.array([0, 1, 1, -1], np.int32)
    shares = LabelPropagation.build(positives, labels, 2).shares(EVERY_ITEM)
    # Of the first user come 1 (a) and 1/2 (b: two users), of the second 1/2 (b) and 1 (c); each weighs 1/3.
    assert shares[0].tolist() == [0, 1]
    assert shares[1].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert shares[2].tolist() == [0, 1]
    assert shares[3].tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("seed", range(20))
def test_an_items_own_label_never_reaches_it_not_even_as_rounding(seed: int):
    positives = np.random.default_rng(seed).random((300, 40)) < 0.1
    positives[:, 0] = True
    labels = np.array([2, -1] + [1] * 38, np.int32)  # of its class item 0 is the only one
    shares = LabelPropagation.build(csr_matrix(positives, dtype=np.float32), labels, 3).shares(EVERY_ITEM)
    assert shares[0].tolist() == [0, 1, 0]
    assert shares[1, 2] > 0


def test_no_label_reaches_an_item_alone():
    positives = csr_matrix(np.array([[1, 0, 0, 0], [0, 1, 1, 0]], np.float32))
    shares = LabelPropagation.build(positives, np.array([0, -1, 1, 1], np.int32), 2).shares(EVERY_ITEM)
    assert shares.tolist() == [[0, 0], [0, 1], [0, 0], [0, 0]]


def test_a_label_says_nothing_of_its_own_item():
    generator = np.random.default_rng(1)
    positives = csr_matrix(generator.random((30, 12)) < 0.3, dtype=np.float32)
    labels = generator.integers(3, size=12).astype(np.int32)
    before = LabelPropagation.build(positives, labels, 3)
    for item in range(12):
        changed = labels.copy()
        changed[item] = (labels[item] + 1) % 3
        row = np.array([item], np.int32)
        np.testing.assert_allclose(
            LabelPropagation.build(positives, changed, 3).shares(row), before.shares(row), rtol=1e-5, atol=1e-6
        )
