"""GF-CF against its formula written out with dense matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.models.gf_cf import GfCf, GfCfConfig
from recsys.ranking.top_k import Exclusion
from tests.recsys.models.graph_filters import EVENTS, POSITIVES, USERS, filters, normalized

Shop = Callable[..., Any]


def test_gf_cf_is_the_linear_filter_and_an_ideal_one(shop_of: Shop):
    linear, ideal, scale = filters(normalized(0.5, 0.5), 2)
    model = GfCf(GfCfConfig(factors=2, low_pass=0.3)).fit(shop_of(EVENTS))
    np.testing.assert_allclose(
        model.scores(USERS), POSITIVES @ (linear + 0.3 * scale * ideal), rtol=1e-5, atol=1e-6
    )


def test_gf_cf_of_one_user_worked_out_by_hand(shop_of: Shop):
    # One user of two items: A is (1/sqrt 2, 1/sqrt 2), P is 1/2 everywhere, and so is V V'.
    model = GfCf(GfCfConfig(factors=5, low_pass=0.5)).fit(shop_of([("a", "x", 1, 1), ("a", "y", 1, 1)]))
    np.testing.assert_allclose(model.scores(USERS[:1]), [[1.5, 1.5]], rtol=1e-6)


def test_similar_items_are_what_their_only_customer_would_be_shown(shop_of: Shop):
    linear, ideal, scale = filters(normalized(0.5, 0.5), 2)
    model = GfCf(GfCfConfig(factors=2)).fit(shop_of(EVENTS))
    rows, scores = model.similar(np.array([1], np.int32), 3)
    expected = (linear + 0.3 * scale * ideal)[1]
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(rows[0], others[np.argsort(-expected[others])])
    np.testing.assert_allclose(scores[0], np.sort(expected[others])[::-1], rtol=1e-5)
    hidden, _ = model.similar(np.array([1], np.int32), 3, Exclusion(items=np.array([False, False, True, False])))
    assert 2 not in hidden
