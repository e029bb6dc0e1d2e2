from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models.slim import Slim, SlimConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(settings={"l1_regularization": 0.001})


def bought(shop_of: Any, baskets: str) -> Interactions:
    """One user a word, one item a letter."""
    words = baskets.split()
    return shop_of([(f"u{user:03}", item, 1.0, 1.0) for user, word in enumerate(words) for item in word])


def config(l1: float, l2: float, **others: Any) -> SlimConfig:
    return SlimConfig(l1, l2, **{"item_exponent": 0, "user_exponent": 0, "repeat_weight": 0, **others})


def weights_of(settings: SlimConfig, shop: Interactions) -> np.ndarray:
    weights = Slim(settings).fit(shop).weights
    assert not isinstance(weights, np.ndarray)
    return weights.toarray()


def test_two_items_by_hand(shop_of: Any):
    """p has 3 users and q 1, shared; l2 = 0.5 x 2, l1 = 0.1 x 2: q from p (1 - 0.2) / (3 + 1), p from q 0.8 / 2."""
    result = weights_of(config(0.1, 0.5), bought(shop_of, "pq p p"))
    np.testing.assert_allclose(result, [[0, 0.2], [0.4, 0]], rtol=1e-6)


def test_l1_as_great_as_what_is_shared_leaves_nothing(shop_of: Any):
    assert not weights_of(config(0.5, 0.5), bought(shop_of, "pq p p")).any()


def test_exponents_and_repeats_by_hand(shop_of: Any):
    """As in the test of `Ease`: G = [[10/3, 2/3], [2/3, 2/3]], l2 3/2 and 1/2."""
    shop = bought(shop_of, "pq p p")
    result = weights_of(config(0, 0.5, item_exponent=1, user_exponent=0.5, repeat_weight=3), shop)
    q_from_p, p_from_q = (2 / 3) / (10 / 3 + 3 / 2), (2 / 3) / (2 / 3 + 1 / 2)
    np.testing.assert_allclose(result, [[3, q_from_p], [p_from_q, 3]], rtol=1e-6)


def test_it_ends_where_another_solver_ends(shop_of: Any):
    """Some weights would be negative without the bound."""
    generator = np.random.default_rng(4)
    letters = np.array(list("abcdefghij"))
    baskets = " ".join("".join(letters[generator.random(len(letters)) < 0.5]) for _ in range(40))
    shop = bought(shop_of, baskets)
    positives = (shop.positives.toarray() > 0).astype(float)
    mean = positives.sum() / len(letters)
    result = weights_of(config(0.02, 0.1, epochs=1000), shop)

    def loss(weights: np.ndarray, item: int) -> float:
        error = positives[:, item] - np.delete(positives, item, axis=1) @ weights
        return float((error @ error + 0.1 * mean * weights @ weights) / 2 + 0.02 * mean * weights.sum())

    for item in range(len(letters)):
        best = minimize(loss, np.full(9, 0.1), (item,), "L-BFGS-B", bounds=[(0, None)] * 9, tol=1e-12)
        np.testing.assert_allclose(np.delete(result[:, item], item), best.x, atol=1e-3)
    assert (result == 0).sum() > len(letters)


def test_a_column_stands_on_the_most_similar_items_alone(shop_of: Any):
    """p is in two baskets with q, in one with r."""
    result = weights_of(config(0, 0.5, neighbors=1), bought(shop_of, "pqr pq p qr"))
    assert ((result != 0).sum(axis=0) == 1).all()
    assert result[1, 0] > 0


def test_too_little_memory_is_said_before_the_fit(shop_of: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recsys.memory.available_bytes", lambda: 10)
    with pytest.raises(ModelError, match=r"^slim needs [0-9,]+ MB of memory; 0 MB are available$"):
        Slim().fit(bought(shop_of, "pq p p"))


def test_settings_beyond_all_measure_leave_nothing(shop_of: Any):
    assert not weights_of(config(1e308, 1e308), bought(shop_of, "pqrs pqrs pqrs pqrs")).any()
