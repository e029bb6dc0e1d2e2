import numpy as np
from scipy.sparse import csr_matrix

from recsys.anomaly.synchrony import synchrony
from tests.recsys.anomaly.graphs import added, draw_customers


def test_accounts_of_items_alike_in_all_are_in_lockstep() -> None:
    shop = draw_customers(400, 300, 4, 12, seed=0)
    users = np.bincount(shop.indices, minlength=300)
    seldom = np.argsort(users, kind="stable")[20:30]  # all of about as many users
    result = synchrony(added(shop, [seldom.tolist()] * 15))
    assert result[400:].min() > np.quantile(result[:400], 0.99)
    assert ((result[:400] >= 0) & (result[:400] <= 1)).all()


def test_users_of_few_items_are_not_judged() -> None:
    result = synchrony(csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 1, 1]], np.float32)))
    assert np.isnan(result[0])
    assert np.isfinite(result[1])


def test_who_has_what_everybody_has_is_as_everybody() -> None:
    result = synchrony(csr_matrix(np.ones((6, 5), np.float32)))
    np.testing.assert_allclose(result, result[0])
