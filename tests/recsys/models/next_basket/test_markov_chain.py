from typing import Any

import numpy as np
import pytest

from recsys.models.next_basket.markov_chain import MarkovChain, MarkovChainConfig
from tests.conformance.expectations import Expectations

# The days of the checkerboard are in order of items: nothing is ever bought before its first items.
CONFORMANCE = Expectations(predicts_new_items=False, needs_repeats=True)

BUY = 5.0
P, Q, R, S = range(4)
# Users' days, the oldest first. Two baskets have p in the one before, another one has it two before.
DAYS = {"a": ["p", "q", "qr"], "b": ["pq", "q"], "c": ["s"]}
EVENTS = [
    (user, item, len(days) - number - 0.5, BUY)
    for user, days in DAYS.items()
    for number, day in enumerate(days)
    for item in day
]


def fit(shop_of: Any, **values: Any) -> MarkovChain:
    plain: dict[str, Any] = {
        "basket_decay": 0.5,
        "length_exponent": 0,
        "from_exponent": 0,
        "to_exponent": 0,
        "shrinkage": 0,
    }
    return MarkovChain(MarkovChainConfig(**plain | values)).fit(shop_of(EVENTS))


def test_transitions_by_hand(shop_of: Any):
    """From p to q: 1 of a's second basket, 1/2 of the third and 1 of b's second."""
    weights = fit(shop_of).item_weights.toarray()
    np.testing.assert_allclose(weights, [[0, 2.5, 0.5, 0], [0, 2, 1, 0], [0] * 4, [0] * 4])


def test_of_the_last_basket_alone_they_are_conditional_probabilities(shop_of: Any):
    weights = fit(shop_of, basket_decay=0, from_exponent=1).item_weights.toarray()
    np.testing.assert_allclose(weights, [[0, 1, 0, 0], [0, 1, 1 / 2, 0], [0] * 4, [0] * 4])


def test_exponents_and_shrinkage_divide(shop_of: Any):
    plain = fit(shop_of, length_exponent=1).item_weights.toarray()
    assert plain[P, Q] == pytest.approx(1 + (1 / 2) / (1 + 1 / 2) + 1 / 2)
    weights = fit(
        shop_of, length_exponent=1, from_exponent=0.4, to_exponent=0.7, shrinkage=2
    ).item_weights.toarray()
    assert weights[P, Q] == pytest.approx(plain[P, Q] / (plain[P, Q] + 2) ** 0.4 / (3 + 2) ** 0.7)


def test_scores_sum_over_the_decayed_history(shop_of: Any):
    model = fit(shop_of)
    a, c = model.scores(np.array([0, 2], np.int32))
    expected_q = 2.5 / 4 + (1 + 1 / 2) * 2
    np.testing.assert_allclose(a, [2 / 3 - 1, expected_q, 0.5 / 4 + (1 + 1 / 2) * 1, 1 / 3 - 1], rtol=1e-6)
    np.testing.assert_allclose(c, np.array([2, 2, 1, 1]) / 3 - 1, rtol=1e-6)


def test_history_and_transitions_are_cut_off(shop_of: Any):
    model = fit(shop_of, recent_baskets=1, neighbors=1)
    np.testing.assert_allclose(model.item_weights.toarray(), [[0, 2, 0, 0], [0, 2, 0, 0], [0] * 4, [0] * 4])
    np.testing.assert_allclose(model.user_weights.toarray()[0], [0, 1, 1, 0])
