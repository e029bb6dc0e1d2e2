"""Every model on a shop of two kinds of users who want two kinds of items."""

from collections.abc import Callable

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.models.base import ItemModel, Model
from recsys.ranking.top_k import Exclusion
from tests.conformance.assertions import (
    all_items,
    all_users,
)
from tests.conformance.models import (
    PERSONAL,
    every_item_model,
    expectations,
)

Fitted = Callable[[str, Interactions], Model]
FittedItemModel = Callable[[str, Interactions], ItemModel]


@pytest.mark.parametrize("name", [name for name in PERSONAL if not expectations(name).needs_repeats])
def test_on_a_checkerboard_everybody_is_recommended_the_own_color(
    name: str, fitted: Fitted, checkerboard: Interactions
):
    rows, _ = fitted(name, checkerboard).recommend(all_users(checkerboard), 8)
    np.testing.assert_array_equal(rows % 2, np.tile(all_users(checkerboard)[:, None] % 2, (1, 8)))


@pytest.mark.parametrize("name", [name for name in PERSONAL if expectations(name).predicts_new_items])
def test_on_a_checkerboard_the_missing_items_of_the_own_color_come_first(
    name: str, fitted: Fitted, checkerboard: Interactions
):
    exclude = Exclusion(checkerboard.user_items)
    rows, _ = fitted(name, checkerboard).recommend(all_users(checkerboard), 2, exclude)
    np.testing.assert_array_equal(rows % 2, np.tile(all_users(checkerboard)[:, None] % 2, (1, 2)))


@every_item_model
def test_on_a_checkerboard_items_are_like_those_of_their_color(
    name: str, fitted_item_model: FittedItemModel, checkerboard: Interactions
):
    rows, _ = fitted_item_model(name, checkerboard).similar(all_items(checkerboard), 9)
    np.testing.assert_array_equal(rows % 2, np.tile(all_items(checkerboard)[:, None] % 2, (1, 9)))
