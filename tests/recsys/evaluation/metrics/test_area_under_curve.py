"""Test the area under the ROC curve by hand and against scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.evaluation.metrics import area_under_curve as module
from recsys.evaluation.metrics.area_under_curve import area_under_curve, mean_area_under_curve
from recsys.ids import Rows
from recsys.ranking.top_k import Exclusion, Scores

SCORES = np.array([[5, 4, 3, 3, 1, -np.inf], [1, 2, 3, 4, 5, 6]], np.float32)
RELEVANT = csr_matrix(np.array([[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]], np.float32))
ALL = np.ones((2, 6), np.bool_)


def test_known_answers():
    """User 0 has the others 5, 3, 1 and -inf; the relevant 4 beats 3, the relevant 3 beats 2 and ties with 1."""
    assert area_under_curve(SCORES, RELEVANT, ALL).tolist() == [(3 + 2.5) / 8, 1]


def test_excluded_items_are_no_candidates():
    candidates = ALL.copy()
    candidates[0, [0, 2]] = False  # an irrelevant and a relevant one
    candidates[1, 5] = False
    first, second = area_under_curve(SCORES, RELEVANT, candidates)
    assert first == 1
    assert np.isnan(second)  # no relevant item is left


def test_it_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 20, size=(30, 50)).astype(np.float32)  # with ties
    relevant = generator.random((30, 50)) < 0.1
    relevant[:, 0] = True
    areas = area_under_curve(scores, csr_matrix(relevant.astype(np.float32)), np.ones((30, 50), np.bool_))
    expected = [metrics.roc_auc_score(wanted, line) for wanted, line in zip(relevant, scores, strict=True)]
    assert areas == pytest.approx(expected)


def test_the_mean_is_over_users_with_a_value(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BLOCK_SCORES", 6)  # a user at a time
    user_rows = np.array([1, 0], np.int32)

    def score(rows: Rows) -> Scores:
        return SCORES[rows]

    assert mean_area_under_curve(score, user_rows, RELEVANT[user_rows], Exclusion(), 0) == (5.5 / 8 + 1) / 2
    seen = csr_matrix(np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], np.float32))
    assert mean_area_under_curve(score, user_rows, RELEVANT[user_rows], Exclusion(seen), 0) == 5.5 / 8
    nothing = Exclusion(items=np.ones(6, np.bool_))
    assert mean_area_under_curve(score, user_rows, RELEVANT[user_rows], nothing, 0) is None


def test_at_most_the_maximum_of_users_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_USERS", 1)
    rows = np.arange(2, dtype=np.int32)
    values = {mean_area_under_curve(SCORES.__getitem__, rows, RELEVANT, Exclusion(), seed) for seed in range(10)}
    assert values == {5.5 / 8, 1}
