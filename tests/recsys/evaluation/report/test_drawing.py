from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.report.drawing import spread


def test_labels_that_do_not_touch_stay():
    assert spread([9, 1, 5], 2) == [9, 1, 5]


def test_labels_that_touch_share_the_shift():
    assert spread([5, 1, 1], 2) == [5, 0, 2]
    assert spread([1, 1, 1], 2) == [-1, 1, 3]
    # 4 is reached by the two below it, and all three shift.
    assert spread([1, 1, 1.5], 1) == pytest.approx([1 / 6, 7 / 6, 13 / 6])


@given(st.lists(st.integers(min_value=0, max_value=20), max_size=12), st.integers(min_value=0, max_value=5))
def test_labels_keep_their_order_and_their_distance(places: list[int], gap: int):
    spaced = spread(places, gap)
    ordered = sorted(zip(places, spaced, strict=True))
    assert all(high[1] - low[1] >= gap - 1e-9 for low, high in pairwise(ordered))
    assert sum(spaced) == pytest.approx(sum(places))
