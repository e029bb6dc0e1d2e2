import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsys.evaluation.segments import head_items, user_segments


def test_users_are_new_light_or_heavy():
    segments = user_segments(np.array([0, 1, 19, 20, 500]), 20)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in segments.items()} == {
        "new": [0],
        "light": [1, 2],
        "heavy": [3, 4],
    }


@given(arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 50)), st.integers(1, 50))
def test_every_user_is_in_one_segment(counts: np.ndarray, light: int):
    memberships = np.sum(list(user_segments(counts, light).values()), axis=0)
    assert memberships.tolist() == [1] * len(counts)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([1, 5, 3, 1], 0.5, [1]),  # 5 of 10 is met exactly
        ([1, 5, 3, 1], 0.51, [1, 2]),
        ([2, 2, 2, 2], 0.3, [0, 1]),  # of equals the lower row
        ([1, 1, 8, 0], 0.99, [0, 1, 2]),
        ([0, 0], 0.2, []),
    ],
)
def test_head_items_of_known_counts(counts: list[int], share: float, expected: list[int]):
    assert np.flatnonzero(head_items(np.array(counts), share)).tolist() == expected


@given(
    arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 100)),
    st.floats(min_value=0.05, max_value=0.95),
)
def test_the_head_is_the_smallest_set_that_makes_the_share(counts: np.ndarray, share: float):
    head = head_items(counts, share)
    needed = share * counts.sum()
    assert counts[head].sum() >= needed - 1e-6
    if head.any():
        assert counts[head].sum() - counts[head].min() < needed
        assert counts[head].min() >= counts[~head].max(initial=0)
