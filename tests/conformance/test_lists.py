"""Lists of every model: their form, their order, what they exclude."""

from collections.abc import Callable

import numpy as np

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN
from recsys.models.base import Model
from recsys.ranking.top_k import Exclusion
from tests.conformance.assertions import (
    all_items,
    all_users,
    assert_is_list,
    assert_same_lists,
)
from tests.conformance.models import (
    every_model,
    expectations,
)

Fitted = Callable[[str, Interactions], Model]


@every_model
def test_lists_are_well_formed(name: str, fitted: Fitted, shop: Interactions):
    users, items = shop.shape
    rows, scores = fitted(name, shop).recommend(all_users(shop), 5)
    assert_is_list(rows, scores, (users, 5), items)
    assert (rows[:, 0] != UNKNOWN).all()


@every_model
def test_batch_equals_single(name: str, fitted: Fitted, shop: Interactions):
    model, exclude = fitted(name, shop), Exclusion(shop.user_items)
    order = np.array([4, 0, UNKNOWN, 29, 4, 17], np.int32)
    rows, scores = model.recommend(order, 6, exclude)
    for place, user in enumerate(order):
        row, score = model.recommend(np.array([user], np.int32), 6, exclude)
        np.testing.assert_array_equal(row[0], rows[place])
        np.testing.assert_array_equal(score[0], scores[place])


@every_model
def test_lists_are_in_the_order_of_the_scores(name: str, fitted: Fitted, shop: Interactions):
    model, items = fitted(name, shop), shop.shape[1]
    rows, scores = model.recommend(all_users(shop), items)
    assert (np.sort(rows, axis=1) == all_items(shop)).all()
    of_all = model.scores(all_users(shop))
    np.testing.assert_allclose(scores, np.take_along_axis(of_all, rows, axis=1), rtol=1e-5, atol=1e-6)


@every_model
def test_a_shorter_list_is_the_head_of_a_longer_one(name: str, fitted: Fitted, shop: Interactions):
    model = fitted(name, shop)
    short, long = model.recommend(all_users(shop), 3), model.recommend(all_users(shop), 10)
    np.testing.assert_array_equal(short[0], long[0][:, :3])
    np.testing.assert_array_equal(short[1], long[1][:, :3])


@every_model
def test_seen_and_masked_items_are_excluded_and_no_others(name: str, fitted: Fitted, shop: Interactions):
    items = shop.shape[1]
    model, mask = fitted(name, shop), np.arange(items) % 5 == 0
    all_rows, _ = model.recommend(all_users(shop), items)
    rows, scores = model.recommend(all_users(shop), items, Exclusion(shop.user_items, mask))
    assert_is_list(rows, scores, all_rows.shape, items)
    for user, (row, every) in enumerate(zip(rows, all_rows, strict=True)):
        barred = set(shop.user_items[[user]].indices) | set(np.flatnonzero(mask))
        left = [item for item in every if item not in barred and item != UNKNOWN]
        listed = list(row[row != UNKNOWN])
        assert sorted(listed) == sorted(left) if expectations(name).ranks_after_exclusion else listed == left


@every_model
def test_padding_stands_only_at_the_end(name: str, fitted: Fitted, shop: Interactions):
    users, items = shop.shape
    rows, scores = fitted(name, shop).recommend(all_users(shop), items + 4)
    assert_is_list(rows, scores, (users, items + 4), items)
    assert (rows[:, items:] == UNKNOWN).all()


@every_model
def test_unknown_users_and_empty_input(name: str, fitted: Fitted, shop: Interactions):
    model, exclude = fitted(name, shop), Exclusion(shop.user_items)
    rows, scores = model.recommend(np.array([UNKNOWN, UNKNOWN], np.int32), 4, exclude)
    assert (rows == UNKNOWN).all()
    assert (scores == -np.inf).all()
    assert_is_list(*model.recommend(np.array([], np.int32), 4, exclude), (0, 4), shop.shape[1])
    assert_is_list(*model.recommend(all_users(shop), 0, exclude), (shop.shape[0], 0), shop.shape[1])


@every_model
def test_lists_do_not_share_memory_with_the_model(name: str, fitted: Fitted, shop: Interactions):
    model = fitted(name, shop)
    first = model.recommend(all_users(shop), 5)
    kept = first[0].copy(), first[1].copy()
    first[0][:], first[1][:] = 0, np.nan
    assert_same_lists(model.recommend(all_users(shop), 5), kept)
