"""Test classifier metrics against values worked out by hand."""

import numpy as np
import pytest

from recsys.evaluation.metrics.classification import (
    ProposalsAtThreshold,
    calibration_error,
    macro_f1,
    measure_proposals,
)


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_macro_f1_counts_every_category_of_the_truth_the_same():
    # Class 0: 2 hits, 3 items, 2 named: 4/5. Class 1: 1 hit, 1 item, 2 named: 2/3. Class 3: no hit. 2 is not there.
    assert macro_f1(rows(0, 0, 0, 1, 3), rows(0, 0, 1, 1, 2)) == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert macro_f1(rows(0, 1), rows(0, 1)) == 1


def test_calibration_error_is_the_gap_of_each_bin_weighed_by_its_items():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 1.0])
    right = np.array([True, True, False, False, False, True])
    # Of two bins: 5 items of 4.6 confidence and 3 hits, 1 item of 0.1 and none.
    assert calibration_error(confidence, right, bins=2) == pytest.approx(5 / 6 * (4.6 - 3) / 5 + 1 / 6 * 0.1)
    assert calibration_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)


def test_the_deepest_level_that_is_sure_enough_is_proposed():
    confidence = np.array([[0.95, 0.7, 0.6, 0.3], [0.8, 0.65, 0.9, 0.2]])
    right = np.array([[True, True, False, True], [False, True, True, False]])
    depths = np.array([[1, 1, 1, 1], [2, 2, 1, 2]], np.int32)
    proposals = measure_proposals(confidence, right, depths, 0.7)
    assert (proposals.coverage, proposals.accuracy, proposals.mean_level) == pytest.approx((0.75, 2 / 3, 4 / 3))
    assert measure_proposals(confidence, right, depths, 0.94) == ProposalsAtThreshold(0.94, 0.25, 1.0, 1.0)
    assert measure_proposals(confidence, right, depths, 0.99) == ProposalsAtThreshold(0.99, 0, None, None)
