import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.metrics.catalogue import count_exposure, coverage, exposure_curve, gini, novelty

EXPOSURES = st.lists(st.integers(min_value=0, max_value=1000), min_size=2, max_size=40)


def test_exposure_counts_lists_and_skips_empty_places():
    lists = np.array([[0, 2, -1], [2, 3, 0], [-1, -1, -1]], dtype=np.int32)
    assert count_exposure(lists, 5).tolist() == [2, 0, 2, 1, 0]


def test_coverage_is_the_share_of_items_shown():
    assert coverage(np.array([2, 0, 2, 1, 0])) == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [
        ([3, 3, 3, 3], 0.0),
        ([0, 12, 0, 0], 1.0),
        # Mean absolute difference of all pairs 1.5, over twice the mean 1, times 4 / 3 for the small sample.
        ([0, 0, 2, 2], 2 / 3),
        ([1, 3], 0.5),
        ([0, 0, 0], 0.0),
        ([5], 0.0),
    ],
)
def test_gini_of_known_exposures(exposure: list[int], expected: float):
    assert gini(np.array(exposure)) == pytest.approx(expected)


@given(EXPOSURES, st.randoms(use_true_random=False))
def test_gini_is_bounded_and_does_not_depend_on_order_or_scale(exposure: list[int], random):
    value = gini(np.array(exposure))
    shuffled = random.sample(exposure, len(exposure))
    assert -1e-12 <= value <= 1 + 1e-12
    assert gini(np.array(shuffled) * 7) == pytest.approx(value)


def test_novelty_is_the_mean_self_information():
    # Of 8 users all have item 0 (0 bits), 2 have item 1 (2 bits), nobody item 2, which counts as 1 (3 bits).
    item_users = np.array([8, 2, 0])
    assert novelty(np.array([1, 0, 0]), item_users, 8) == 0
    assert novelty(np.array([1, 1, 0]), item_users, 8) == pytest.approx(1.0)
    assert novelty(np.array([0, 1, 3]), item_users, 8) == pytest.approx((2 + 3 * 3) / 4)
    assert novelty(np.array([0, 0, 0]), item_users, 8) == 0


def test_the_exposure_curve_starts_with_the_most_shown():
    assert exposure_curve(np.array([1, 6, 1, 2]), 5).tolist() == pytest.approx([0, 0.6, 0.8, 0.9, 1])


@given(EXPOSURES)
def test_the_exposure_curve_rises_ever_more_slowly(exposure: list[int]):
    steps = np.diff(exposure_curve(np.array(exposure), len(exposure) + 1))
    assert (steps >= -1e-12).all()
    assert (np.diff(steps) <= 1e-12).all()
