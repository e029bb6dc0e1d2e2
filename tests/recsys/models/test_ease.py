from typing import Any

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models._item_item import item_regression
from recsys.models.ease import Ease, EaseConfig

# As the paper: one lambda for all, 2 users an item on average.
PLAIN = EaseConfig(regularization=0.5, item_exponent=0, user_exponent=0, repeat_weight=0)
SPARSE = EaseConfig(regularization=0.5, item_exponent=0, user_exponent=0, repeat_weight=0, dense_items=1)
FORMS = pytest.mark.parametrize("dense_items", [1, 100], ids=["by neighbors", "dense"])


def bought(shop_of: Any, baskets: str) -> Interactions:
    """One user a word, one item a letter."""
    words = baskets.split()
    return shop_of([(f"u{user:03}", item, 1.0, 1.0) for user, word in enumerate(words) for item in word])


def weights_of(model: Ease) -> np.ndarray:
    result = model.weights
    return result if isinstance(result, np.ndarray) else result.toarray()


@FORMS
def test_two_items_by_hand(shop_of: Any, dense_items: int):
    """p has 3 users and q 1, shared: lambda 0.5 x 2 = 1, so q from p is 1 / (3 + 1), p from q 1 / (1 + 1)."""
    config = EaseConfig(0.5, item_exponent=0, user_exponent=0, dense_items=dense_items, repeat_weight=0.75)
    result = weights_of(Ease(config).fit(bought(shop_of, "pq p p")))
    np.testing.assert_allclose(result, [[0.75, 1 / 4], [1 / 2, 0.75]], rtol=1e-6)


@FORMS
def test_three_items_by_hand(shop_of: Any, dense_items: int):
    """G = [[2, 1, 1], [1, 2, 1], [1, 1, 2]], lambda 1; by symmetry each is predicted by w (3 + 1) = 1 from both."""
    config = EaseConfig(0.5, item_exponent=0, user_exponent=0, dense_items=dense_items, repeat_weight=0)
    result = weights_of(Ease(config).fit(bought(shop_of, "pq qr pr")))
    np.testing.assert_allclose(result, 0.25 * (1 - np.eye(3)), rtol=1e-6)


@FORMS
def test_exponents_by_hand(shop_of: Any, dense_items: int):
    """Users weigh 1/2, 1, 1 (exponent 1/2: one over the length), made 2/3, 4/3, 4/3 so that the 4 pairs average 1.

    G is then [[10/3, 2/3], [2/3, 2/3]]; the penalties are 0.5 x 2 x n / 2 = 3/2 and 1/2.
    """
    config = EaseConfig(0.5, item_exponent=1, user_exponent=0.5, dense_items=dense_items, repeat_weight=0)
    result = weights_of(Ease(config).fit(bought(shop_of, "pq p p")))
    q_from_p, p_from_q = (2 / 3) / (10 / 3 + 3 / 2), (2 / 3) / (2 / 3 + 1 / 2)
    np.testing.assert_allclose(result, [[0, q_from_p], [p_from_q, 0]], rtol=1e-6)


def some_shop(shop_of: Any) -> Interactions:
    generator = np.random.default_rng(4)
    letters = np.array(list("abcdefghijklmnopqrstuvw"))
    baskets = ["".join(letters[generator.random(len(letters)) < 0.5]) for _ in range(60)]
    return bought(shop_of, " ".join(baskets))


def test_with_all_items_as_neighbors_both_forms_are_one(shop_of: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(item_regression, "BLOCK_ITEMS", 5)
    monkeypatch.setattr("recsys.models.ease.BLOCK_ITEMS", 5)
    shop = some_shop(shop_of)
    dense, by_neighbors = (Ease(EaseConfig(dense_items=items)).fit(shop) for items in (100, 1))
    np.testing.assert_allclose(weights_of(by_neighbors), weights_of(dense), atol=2e-6)
    everyone = np.arange(shop.shape[0], dtype=np.int32)
    np.testing.assert_allclose(by_neighbors.scores(everyone), dense.scores(everyone), atol=2e-5)


def test_the_dense_form_is_the_papers_formula(shop_of: Any):
    shop = some_shop(shop_of)
    positives = (shop.positives.toarray() > 0).astype(float)
    inverse = np.linalg.inv(positives.T @ positives + 0.5 * positives.sum() / shop.shape[1] * np.eye(shop.shape[1]))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(weights_of(Ease(PLAIN).fit(shop)), expected, atol=1e-6)


def test_a_column_stands_on_the_most_similar_items_alone(shop_of: Any):
    config = EaseConfig(neighbors=3, dense_items=1, repeat_weight=0)
    result = weights_of(Ease(config).fit(some_shop(shop_of)))
    assert ((result != 0).sum(axis=0) == 3).all()


def test_what_an_item_is_alike_is_what_predicts_it(shop_of: Any):
    """Everybody with q has p, one of three with p has q."""
    shop = bought(shop_of, "pq p p")
    for config in (PLAIN, SPARSE):
        rows, scores = Ease(config).fit(shop).similar(np.array([0, 1], np.int32), 1)
        assert rows.tolist() == [[1], [0]]
        assert scores[:, 0] == pytest.approx([1 / 2, 1 / 4])


@FORMS
def test_too_little_memory_is_said_before_the_fit(shop_of: Any, monkeypatch: pytest.MonkeyPatch, dense_items: int):
    monkeypatch.setattr("recsys.memory.available_bytes", lambda: 10)
    with pytest.raises(ModelError, match=r"^ease.* needs [0-9,]+ MB of memory; 0 MB are available$"):
        Ease(EaseConfig(dense_items=dense_items)).fit(bought(shop_of, "pq p p"))


@FORMS
def test_a_fit_that_is_not_finite_is_an_error(shop_of: Any, dense_items: int):
    config = EaseConfig(regularization=1e-300, item_exponent=0, user_exponent=0, dense_items=dense_items)
    with pytest.raises(ModelError, match="ease: the fit gave weights that are not finite"):
        Ease(config).fit(bought(shop_of, "pqr pqr pqr"))
