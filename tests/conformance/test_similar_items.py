"""Similar items of every model that ranks them."""

from collections.abc import Callable

import numpy as np

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN
from recsys.models.base import ItemModel
from recsys.ranking.top_k import Exclusion
from tests.conformance.assertions import (
    all_items,
    assert_is_list,
)
from tests.conformance.models import (
    every_item_model,
)

FittedItemModel = Callable[[str, Interactions], ItemModel]


@every_item_model
def test_similar_items_are_never_the_item_itself_nor_masked(
    name: str, fitted_item_model: FittedItemModel, shop: Interactions
):
    items = shop.shape[1]
    model, mask = fitted_item_model(name, shop), np.arange(items) % 3 == 1
    open_rows, _ = model.similar(all_items(shop), items)
    rows, scores = model.similar(all_items(shop), items, Exclusion(shop.user_items, mask))
    assert_is_list(rows, scores, (items, items), items)
    for item, (row, every) in enumerate(zip(rows, open_rows, strict=True)):
        assert item not in every
        assert list(row[row != UNKNOWN]) == [other for other in every if other != UNKNOWN and not mask[other]]
        assert (row != UNKNOWN).any()


@every_item_model
def test_similar_items_of_unknown_items_and_empty_input(
    name: str, fitted_item_model: FittedItemModel, shop: Interactions
):
    model, items = fitted_item_model(name, shop), shop.shape[1]
    rows_of_items = np.array([UNKNOWN, 2, UNKNOWN], np.int32)
    rows, scores = model.similar(rows_of_items, 4)
    assert_is_list(rows, scores, (3, 4), items)
    assert (rows[[0, 2]] == UNKNOWN).all()
    np.testing.assert_array_equal(rows[1], model.similar(np.array([2], np.int32), 4)[0][0])
    assert_is_list(*model.similar(np.array([], np.int32), 4), (0, 4), items)
