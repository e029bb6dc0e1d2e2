"""GF-CF and BSPM against the formulas written out with dense matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.models.bspm import Bspm, BspmConfig
from recsys.models.gf_cf import GfCf, GfCfConfig
from recsys.ranking.top_k import Exclusion

ROWS = {"a": "xy", "b": "xyz", "c": "zw", "d": "w", "e": "xw"}
EVENTS = [(user, item, 1.0, 1.0) for user, items in ROWS.items() for item in items]
USERS = np.arange(5, dtype=np.int32)
WANTED = np.array([[0, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]], float)  # items w, x, y, z

Shop = Callable[..., Any]
Matrix = NDArray[np.float64]


def scaled(user_exponent: float, item_exponent: float) -> Matrix:
    return WANTED / WANTED.sum(1, keepdims=True) ** user_exponent / WANTED.sum(0) ** item_exponent


def filters(matrix: Matrix, factors: int) -> tuple[Matrix, Matrix, float]:
    """The linear filter, the ideal one, and the square of the greatest singular value."""
    _, values, turned = np.linalg.svd(matrix)
    lengths = np.sqrt(WANTED.sum(0))
    ideal = np.diag(1 / lengths) @ turned[:factors].T @ turned[:factors] @ np.diag(lengths)
    return matrix.T @ matrix, ideal, values[0] ** 2


def test_gf_cf_is_the_linear_filter_and_an_ideal_one(shop_of: Shop):
    linear, ideal, scale = filters(scaled(0.5, 0.5), 2)
    model = GfCf(GfCfConfig(factors=2, low_pass=0.3)).fit(shop_of(EVENTS))
    np.testing.assert_allclose(model.scores(USERS), WANTED @ (linear + 0.3 * scale * ideal), rtol=1e-5, atol=1e-6)


def test_gf_cf_of_one_user_worked_out_by_hand(shop_of: Shop):
    # One user of two items: A is (1/sqrt 2, 1/sqrt 2), P is 1/2 everywhere, and so is V V'.
    model = GfCf(GfCfConfig(factors=5, low_pass=0.5)).fit(shop_of([("a", "x", 1, 1), ("a", "y", 1, 1)]))
    np.testing.assert_allclose(model.scores(USERS[:1]), [[1.5, 1.5]], rtol=1e-6)


@pytest.mark.parametrize("exponents", [(0.5, 0.5), (0.3, 0.4)])
def test_bspm_takes_off_what_is_smoothed_again(exponents: tuple[float, float], shop_of: Shop):
    linear, ideal, scale = filters(scaled(*exponents), 4)
    config = BspmConfig(
        factors=4, low_pass=0.2, sharpening=0.7, user_exponent=exponents[0], item_exponent=exponents[1]
    )
    blurred = WANTED @ (linear + 0.2 * scale * ideal)
    expected = blurred - 0.7 * blurred @ linear / scale
    model = Bspm(config).fit(shop_of(EVENTS))
    np.testing.assert_allclose(model.scores(USERS), expected, rtol=1e-4, atol=1e-5)


def test_scores_do_not_depend_on_who_else_is_asked_for(shop_of: Shop):
    model = Bspm().fit(shop_of(EVENTS))
    together = model.scores(USERS)
    for user in USERS:
        np.testing.assert_array_equal(model.scores(USERS[user : user + 1])[0], together[user])


def test_similar_items_are_what_their_only_shopper_would_be_shown(shop_of: Shop):
    linear, ideal, scale = filters(scaled(0.5, 0.5), 2)
    model = GfCf(GfCfConfig(factors=2)).fit(shop_of(EVENTS))
    rows, scores = model.similar(np.array([1], np.int32), 3)
    expected = (linear + 0.3 * scale * ideal)[1]
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(rows[0], others[np.argsort(-expected[others])])
    np.testing.assert_allclose(scores[0], np.sort(expected[others])[::-1], rtol=1e-5)
    hidden, _ = model.similar(np.array([1], np.int32), 3, Exclusion(items=np.array([False, False, True, False])))
    assert 2 not in hidden
