import numpy as np
from scipy.sparse import csr_matrix

from recsys.anomaly import collusion
from recsys.anomaly.collusion import collusion_scores, count_co_raters, split_point
from tests.recsys.anomaly.graphs import draw_customers


def test_companions_are_counted_as_pair_by_pair() -> None:
    shop = draw_customers(120, 60, 3, 8, seed=0)
    rows = [set(shop[[user]].indices.tolist()) for user in range(120)]
    expected = [
        sum(len(one & other) >= 3 for place, other in enumerate(rows) if place != user)
        for user, one in enumerate(rows)
    ]
    np.testing.assert_array_equal(count_co_raters(shop), expected)


def test_items_that_many_have_make_no_companions() -> None:
    everybody = csr_matrix(np.ones((collusion.MAX_USERS + 1, 5), np.float32))
    assert (count_co_raters(everybody) == 0).all()
    assert (count_co_raters(everybody[:50]) == 49).all()


def test_each_sign_of_a_ring_raises_the_score_and_dissent_lowers_it() -> None:
    flat = np.zeros(40)
    rising = np.linspace(-1, 1, 40)
    for place in range(5):
        columns = [flat] * 5
        columns[place] = rising
        scores = collusion_scores(*columns)
        assert (np.diff(scores) > 0).all() if place < 3 else (np.diff(scores) < 0).all()


def test_two_groups_are_split_between_them() -> None:
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(-2, 0.4, 600), random.normal(2, 0.4, 400)])
    assert -1 < split_point(scores) < 1
