from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from recsys.models.next_basket.tifu_knn import TifuKnn, TifuKnnConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(settings={"neighbors": 5})

BUY, VIEW = 5.0, 1.0
# User rows 0 a, 1 b, 2 c, 3 d; item rows 0 p, 1 q, 2 r, 3 s. d only looks.
BASKETS = {"a": ["p", "pq", "q"], "b": ["q"], "c": ["r", "rq"], "d": []}
EVENTS = [
    *(
        (user, item, age + 0.5, BUY)
        for user, days in BASKETS.items()
        for age, day in enumerate(days)
        for item in day
    ),
    ("d", "s", 0.5, VIEW),
]


def vectors(decay: float, group: float) -> np.ndarray:
    """Frequencies by hand with groups of 2: those of a are its days 0 and 1, and day 2 alone."""
    a = [(1 + decay) / 2 / 2, decay / 2 / 2 + group / 2, 0, 0]
    return np.array([a, [0, 1, 0, 0], [0, decay / 2, (1 + decay) / 2, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(("decay", "group"), [(1.0, 1.0), (0.8, 0.5), (0.5, 0.0)])
def test_frequencies_decay_within_groups_and_by_group(shop_of: Any, decay: float, group: float):
    model = TifuKnn(TifuKnnConfig(group_baskets=2, basket_decay=decay, group_decay=group)).fit(shop_of(EVENTS))
    np.testing.assert_allclose(model.frequencies.toarray(), vectors(decay, group), rtol=1e-6)


def test_a_score_mixes_own_frequencies_with_the_mean_of_neighbors(shop_of: Any):
    own = vectors(0.8, 0.5)
    model = TifuKnn(TifuKnnConfig(2, 2, 0.8, 0.5, own_share=0.6)).fit(shop_of(EVENTS))
    expected = 0.6 * own[0] + 0.4 * (own[1] + own[2]) / 2
    scores = model.scores(np.array([0, 3], np.int32))
    np.testing.assert_allclose(scores[0], [*expected[:3], -1], rtol=1e-6)
    np.testing.assert_allclose(scores[1], np.array([1, 3, 1, 0]) / 4 - 1, rtol=1e-6)


def test_neighbors_are_those_of_a_search_of_all_pairs(shop_of: Any):
    """40 users, some without a common item, one with views only."""
    random = np.random.default_rng(1)
    events = [
        (f"u{user:02}", f"i{random.integers(30):02}", float(random.integers(20)) + 0.5, BUY)
        for user in range(40)
        for _ in range(user % 7 + 1)
    ]
    model = TifuKnn(TifuKnnConfig(neighbors=39, group_baskets=3)).fit(shop_of([*events, ("v", "i00", 0.5, VIEW)]))
    dense = model.frequencies.toarray().astype(np.float64)
    distances = ((dense[:, None] - dense[None]) ** 2).sum(axis=2)
    assert (model.closest[40] == -1).all()
    for user, nearest in enumerate(model.closest[:40]):
        assert set(nearest) == set(range(40)) - {user}
        steps = [(distances[user, one], distances[user, other]) for one, other in pairwise(nearest)]
        assert all(one <= other + 1e-6 for one, other in steps)
