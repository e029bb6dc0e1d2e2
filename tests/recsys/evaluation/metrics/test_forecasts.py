"""Test measures of forecasts against numbers worked out by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys.evaluation.metrics.forecasts import (
    area_under_roc,
    calibration_bins,
    calibration_error,
    measure_amounts,
    measure_probabilities,
)

PROBABILITIES = np.array([0.1, 0.2, 0.6, 0.9, 0.9])
IS_TRUE = np.array([False, True, False, True, True])


def test_a_forecast_of_five_users():
    score = measure_probabilities("order", PROBABILITIES, IS_TRUE, "count", np.array([5.0, 4, 3, 2, 1]))
    assert (score.share, score.precision, score.recall) == (0.6, 2 / 3, 2 / 3)
    assert score.f1 == pytest.approx(2 / 3)
    assert score.auc == pytest.approx(5 / 6)
    # The baseline says yes to the first three, of whom one ordered; none of its pairs but one is in order.
    assert score.baseline_f1 == pytest.approx(1 / 3)
    assert score.baseline_auc == pytest.approx(1 / 6)
    assert measure_probabilities("order", PROBABILITIES / 10, IS_TRUE, "count", PROBABILITIES).precision is None


def test_equal_probabilities_share_a_bin():
    bins = calibration_bins(PROBABILITIES, IS_TRUE, 5)
    assert [each.forecasts for each in bins] == [1, 1, 1, 2]
    assert bins[-1].share == 1
    assert calibration_error(bins) == pytest.approx((0.1 + 0.8 + 0.6 + 2 * 0.1) / 5)
    assert len(calibration_bins(np.full(50, 0.3), np.arange(50) < 15)) == 1


def test_area_agrees_with_scikit_learn_and_is_a_half_without_two_classes():
    generator = np.random.default_rng(0)
    scores, is_true = generator.integers(10, size=200).astype(float), generator.random(200) < 0.3
    assert area_under_roc(scores, is_true) == pytest.approx(roc_auc_score(is_true, scores))
    assert area_under_roc(scores, np.ones(200, bool)) == 0.5


def test_amounts_beside_a_baseline():
    score = measure_amounts("spend", "euro", np.array([1.0, 3]), np.array([2.0, 7]), {"past": np.array([2.0, 6])})
    assert (score.error, score.baseline_errors, score.mean_actual) == (2.5, {"past": 0.5}, 4.5)
