import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys.anomaly.near_duplicates import find_near_duplicates
from tests.recsys.anomaly.graphs import added, draw_customers


def test_copies_are_found_with_their_jaccard_similarity() -> None:
    shop = draw_customers(200, 400, 4, 12, seed=0)
    original = list(range(0, 400, 20))  # 20 items that nobody else has together
    both = added(shop, [original, original, [*original[:-2], 1, 2], original[:3]])
    result = find_near_duplicates(both, seed=0)
    assert result.similarity[200] == result.similarity[201] == 1
    np.testing.assert_allclose(result.similarity[202], 18 / 22)
    assert result.copies[200] == 2
    assert result.similarity[203] == 0  # of three items nothing is said
    assert result.similarity[:200].max() < 0.9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30), min_size=4, max_size=12), min_size=2, max_size=12))
def test_no_similarity_is_greater_than_the_true_one(profiles: list[set[int]]) -> None:
    both = added(csr_matrix((0, 31)), [sorted(profile) for profile in profiles])
    result = find_near_duplicates(both, seed=0)
    for row, profile in enumerate(profiles):
        others = [other for place, other in enumerate(profiles) if place != row]
        greatest = max(len(profile & other) / len(profile | other) for other in others)
        assert result.similarity[row] <= greatest + 1e-6
        if greatest == 1:  # a copy agrees in every band
            assert result.similarity[row] == 1


def test_a_crowd_of_copies_is_not_quadratic() -> None:
    copies = [list(range(10))] * 3_000
    result = find_near_duplicates(added(csr_matrix((0, 20)), copies), seed=0)
    assert (result.similarity == 1).all()
    assert result.copies.max() < 400
