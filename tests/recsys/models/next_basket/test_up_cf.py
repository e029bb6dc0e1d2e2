from typing import Any

import numpy as np
import pytest

from recsys.models.next_basket.up_cf import UpCf, UpCfConfig

BUY, VIEW = 5.0, 1.0
# User rows 0 a, 1 b, 2 c; item rows 0 p, 1 q, 2 r, 3 s. a's days, the latest first: p, pq, q; nobody buys s.
EVENTS = [
    *(("a", item, age, BUY) for item, age in (("p", 0.5), ("p", 1.5), ("q", 1.5), ("q", 9.5))),
    *(("b", item, age, BUY) for item, age in (("q", 3.5), ("r", 3.5), ("r", 4.5))),
    ("c", "r", 0.5, BUY),
    ("c", "s", 0.5, VIEW),
]


@pytest.mark.parametrize(
    ("window", "of_a"), [(1, [1, 0]), (2, [1, 1 / 2]), (3, [2 / 3, 2 / 3]), (9, [2 / 3, 2 / 3])]
)
def test_frequencies_are_shares_of_the_latest_baskets(shop_of: Any, window: int, of_a: list[float]):
    frequencies = UpCf(UpCfConfig(recent_baskets=window)).fit(shop_of(EVENTS)).item_weights.toarray()
    np.testing.assert_allclose(frequencies[0], [*of_a, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(frequencies[2], [0, 0, 1, 0])


@pytest.mark.parametrize("asymmetry", [0.0, 0.3, 1.0])
def test_scores_by_hand(shop_of: Any, asymmetry: float):
    """a and b, of two items each, share q; b and c share r, of which c has nothing else."""
    config = UpCfConfig(recent_baskets=2, asymmetry=asymmetry, locality=2)
    scores = UpCf(config).fit(shop_of(EVENTS)).scores(np.arange(3, dtype=np.int32))
    a, b, c = np.array([[1, 1 / 2, 0], [0, 1 / 2, 1], [0, 0, 1]])
    a_b, b_c, c_b = 1 / 4, (1 / 2 ** (1 - asymmetry)) ** 2, (1 / 2**asymmetry) ** 2
    np.testing.assert_allclose(scores[0, :3], a + a_b * b, rtol=1e-5)
    np.testing.assert_allclose(scores[1, :3], b + a_b * a + b_c * c, rtol=1e-5)
    np.testing.assert_allclose(scores[2, 1:3], (c + c_b * b)[1:], rtol=1e-5)
    np.testing.assert_allclose(scores[:, 3], -1)  # no share of the users bought s
    assert scores[2, 0] == pytest.approx(1 / 3 - 1)


def test_only_so_many_neighbors_count_beside_the_user(shop_of: Any):
    closest = UpCf(UpCfConfig(neighbors=1)).fit(shop_of(EVENTS)).user_weights
    assert np.diff(closest.indptr).tolist() == [2, 2, 2]
    assert (closest.diagonal() > 0).all()
