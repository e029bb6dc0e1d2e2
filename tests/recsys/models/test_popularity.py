from typing import Any

import numpy as np
import pytest

from recsys.models.popularity import Popularity, PopularityConfig

# Item rows: 0 fad, 1 loved, 2 returned. One user is mad about the fad.
EVENTS = [
    ("a", "fad", 1.0, 45.0),
    ("b", "loved", 1.0, 5.0),
    ("c", "loved", 1.0, 15.0),
    ("a", "returned", 2.0, 5.0),
    ("a", "returned", 1.0, -5.0),
]


def scores(shop_of: Any, saturation: float) -> list[float]:
    model = Popularity(PopularityConfig(saturation)).fit(shop_of(EVENTS))
    found = model.scores(np.array([0, 2], np.int32))
    np.testing.assert_array_equal(found[0], found[1])
    return found[0].tolist()


def test_a_users_say_is_saturated(shop_of: Any):
    assert scores(shop_of, 5.0) == pytest.approx([45 / 50, 5 / 10 + 15 / 20, 0])


def test_without_saturation_heads_are_counted(shop_of: Any):
    assert scores(shop_of, 0.0) == [1, 2, 0]


def test_with_much_saturation_confidence_is_counted(shop_of: Any):
    assert np.array(scores(shop_of, 1e9)) * 1e9 == pytest.approx([45, 20, 0], rel=1e-5)
