"""What a user dislikes counts against the items that are like it."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.data.interactions import Interactions
from recsys.models.als import Als, AlsConfig
from recsys.models.base import Model
from recsys.models.ease import Ease
from recsys.models.item_knn import ItemKnn
from recsys.models.rp3beta import Rp3Beta
from recsys.models.slim import Slim

MODELS = (ItemKnn(), Ease(), Slim(), Rp3Beta(), Als(AlsConfig(factors=4, epochs=30)))


@pytest.fixture
def shops(shop_of: Any) -> tuple[Interactions, Interactions]:
    """Return a shop where tea goes with milk and salt with pepper, before and after a user disliked tea.

    The user, zoe, has bread, which goes with everything; the event of tea weighs nothing.
    """
    pairs = {"tea": "milk", "salt": "pepper"}
    events = [
        (f"{first}{number}", item, 5.0, 1.0)
        for first, second in pairs.items()
        for number in range(8)
        for item in (first, second, "bread")
    ]
    before = shop_of([*events, ("zoe", "bread", 5.0, 1.0), ("zoe", "tea", 1.0, 0.0)])
    disliked = (before.user_rows == row(before, "zoe")) & (before.item_rows == item_row(before, "tea"))
    return before, replace(before, is_disliked=disliked)


def row(shop: Interactions, user: str) -> int:
    return int(shop.users.rows(pl.Series([user]))[0])


def item_row(shop: Interactions, item: str) -> int:
    return int(shop.items.rows(pl.Series([item]))[0])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_neighbors_of_a_disliked_item_score_less(shops: tuple[Interactions, Interactions], model: Model) -> None:
    differences: list[float] = []
    for shop in shops:
        scores = type(model)(model.config).fit(shop).scores(np.array([row(shop, "zoe")], np.int32))[0]
        differences.append(float(scores[item_row(shop, "milk")] - scores[item_row(shop, "pepper")]))
    assert differences[0] == pytest.approx(0, abs=0.01)
    assert differences[1] < -0.01
