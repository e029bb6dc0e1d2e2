from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.models.rp3beta import Rp3Beta, Rp3BetaConfig

USERS = {"p": "ab", "q": "abc", "r": "d", "s": "abce"}
EVENTS = [(user, item, 1.0, 1.0) for item, users in USERS.items() for user in users]
ITEMS_OF = {user: sum(user in users for users in USERS.values()) for user in "abcde"}


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.7, 0.3), (0.0, 1.0), (2.0, 0.5)])
def test_weights_are_walks_of_three_steps(shop_of: Any, alpha: float, beta: float):
    result = csr_matrix(Rp3Beta(Rp3BetaConfig(alpha, beta)).fit(shop_of(EVENTS)).weights)
    for one, (users, row) in enumerate(zip(USERS.values(), result.toarray(), strict=True)):
        for other, others in enumerate(USERS.values()):
            steps = sum(
                (1 / len(users)) ** alpha * (1 / ITEMS_OF[user]) ** alpha for user in set(users) & set(others)
            )
            assert row[other] == pytest.approx(steps / len(others) ** beta), (one, other)


def test_with_alpha_1_and_beta_0_walks_from_an_item_are_probabilities(shop_of: Any):
    result = Rp3Beta(Rp3BetaConfig(1, 0)).fit(shop_of(EVENTS)).weights
    np.testing.assert_allclose(result.sum(axis=1), np.ones((4, 1)), rtol=1e-6)


def test_a_score_by_hand(shop_of: Any):
    """User c has q (of a b c) and s (of a b c e), 2 items: q says of s 2 x 1/3 x 1/3 + 1/3 x 1/2, and so on."""
    rows, scores = Rp3Beta(Rp3BetaConfig(1, 0)).fit(shop_of(EVENTS)).recommend(np.array([2], np.int32), 4)
    q_s = 1 / 3 * (2 / 3 + 1 / 2)
    s_s = 1 / 4 * (2 / 3 + 1 / 2 + 1)
    s_q = 1 / 4 * (2 / 3 + 1 / 2)
    p = 1 / 3 * 2 / 3 + 1 / 4 * 2 / 3
    assert rows.tolist() == [[3, 1, 0, 2]]
    assert scores[0] == pytest.approx([q_s + s_s, q_s + s_q, p, 1 / 5 - 1])


def test_an_item_keeps_the_items_it_says_most_of(shop_of: Any):
    """By beta 0, p says as much of q as of s and of itself; by beta 1, least of s, which has most users."""
    result = csr_matrix(Rp3Beta(Rp3BetaConfig(1, 1, neighbors=1)).fit(shop_of(EVENTS)).weights).toarray()
    assert (result[0] != 0).tolist() == [True, True, False, False]


def test_steps_damped_without_limit_leave_popularity(shop_of: Any):
    rows, scores = Rp3Beta(Rp3BetaConfig(1e4, 0.5)).fit(shop_of(EVENTS)).recommend(np.array([2], np.int32), 4)
    assert rows.tolist() == [[3, 1, 0, 2]]
    assert scores[0] == pytest.approx([4 / 5 - 1, 3 / 5 - 1, 2 / 5 - 1, 1 / 5 - 1])
