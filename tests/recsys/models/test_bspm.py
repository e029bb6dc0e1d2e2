"""BSPM against its formula written out with dense matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recsys.models.bspm import Bspm, BspmConfig
from tests.conformance.expectations import Expectations
from tests.recsys.models.graph_filters import EVENTS, POSITIVES, USERS, filters, normalized

CONFORMANCE = Expectations(settings={"factors": 2})

Shop = Callable[..., Any]


@pytest.mark.parametrize("exponents", [(0.5, 0.5), (0.3, 0.4)])
def test_bspm_takes_off_what_is_smoothed_again(exponents: tuple[float, float], shop_of: Shop):
    linear, ideal, scale = filters(normalized(*exponents), 4)
    config = BspmConfig(
        factors=4, low_pass=0.2, sharpening=0.7, user_exponent=exponents[0], item_exponent=exponents[1]
    )
    blurred = POSITIVES @ (linear + 0.2 * scale * ideal)
    expected = blurred - 0.7 * blurred @ linear / scale
    model = Bspm(config).fit(shop_of(EVENTS))
    np.testing.assert_allclose(model.scores(USERS), expected, rtol=1e-4, atol=1e-5)


def test_scores_do_not_depend_on_the_other_requested_users(shop_of: Shop):
    model = Bspm().fit(shop_of(EVENTS))
    together = model.scores(USERS)
    for user in USERS:
        np.testing.assert_array_equal(model.scores(USERS[user : user + 1])[0], together[user])
