"""Blends of lists made by hand."""

from typing import Any

import numpy as np

from recsys.data.rank_merging import rank_values
from recsys.models.als import Als, AlsConfig
from recsys.models.blend import Blend, BlendConfig, merge_lists
from recsys.models.item_knn import ItemKnn
from recsys.ranking.top_k import Exclusion
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(ranks_after_exclusion=True)

ONE = np.array([[0, 1, 2]], np.int32)
OTHER = np.array([[3, 2, 0]], np.int32)


def test_a_blend_of_two_lists_worked_out_by_hand():
    first, second, third = rank_values(3)
    rows, scores = merge_lists([ONE, OTHER], np.array([[2.0, 1.0]], np.float32), 4)
    by_hand = {0: 2 * first + third, 1: 2 * second, 2: 2 * third + second, 3: first}
    assert rows[0].tolist() == sorted(by_hand, key=lambda item: (-by_hand[item], item))
    np.testing.assert_allclose(scores[0], sorted(by_hand.values(), reverse=True), rtol=1e-6)


def test_a_single_weight_gives_that_list_and_equal_scores_go_by_item():
    rows, _ = merge_lists([ONE, OTHER], np.array([[0.0, 1.0]], np.float32), 3)
    assert rows[0].tolist() == [3, 2, 0]
    rows, _ = merge_lists([ONE, ONE[:, ::-1]], np.array([[1.0, 1.0]], np.float32), 3)
    assert rows[0].tolist()[:2] == [0, 2]


def test_users_with_few_events_have_weights_of_their_own(shop_of: Any):
    one_to_six_each = [
        (f"u{user:02}", f"i{(user * 3 + step * step) % 10}", 1.0 + step, 1.0)
        for user in range(20)
        for step in range(1 + user % 6)
    ]
    shop = shop_of(one_to_six_each)
    members = {"item_knn": ItemKnn(), "als": Als(AlsConfig(factors=4))}
    config = BlendConfig(("item_knn", "als"), light=(1.0, 0.0), heavy=(0.0, 1.0), light_user_events=4)
    blend = Blend(config, members).fit(shop)
    everyone = np.arange(shop.shape[0], dtype=np.int32)
    exclude = Exclusion(shop.user_items)
    rows, _ = blend.recommend(everyone, 5, exclude)
    events = np.bincount(shop.user_rows, minlength=len(everyone))
    assert (events < 4).any()
    assert (events >= 4).any()
    by_few = members["item_knn"].recommend(everyone, 5, exclude)[0]
    by_many = members["als"].recommend(everyone, 5, exclude)[0]
    np.testing.assert_array_equal(rows[events < 4], by_few[events < 4])
    np.testing.assert_array_equal(rows[events >= 4], by_many[events >= 4])
