"""Lists of what users may buy again: what they have, in a model's order, then the latest."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from jobs.pipeline.list_parts import Repeatable, append_items, keep_items, list_again, part_lengths
from recsys.data.interactions import IS_DISLIKED, IS_OWNING, Interactions, build_interactions
from recsys.ids import Rows
from recsys.ranking.top_k import Exclusion
from recsys.settings import Lists, Settings

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)


def rows(*lists: list[int]) -> Rows:
    return np.array(lists, np.int32)


def bought(events: list[tuple[str, str, int, float, bool, bool]]) -> Interactions:
    """Interactions of user, item, age in hours, weight, whether the user has the item then, and dislikes it."""
    sequences = pl.DataFrame(
        [(user, item, AS_OF - timedelta(hours=age), *rest) for user, item, age, *rest in events],
        schema=["user_id", "item_id", "timestamp", "weight", IS_OWNING, IS_DISLIKED],
        orient="row",
    )
    pairs = sequences.group_by("user_id", "item_id").agg(confidence=pl.col("weight").sum())
    return build_interactions(pairs, sequences, AS_OF)


SHOP = bought(
    [
        ("ann", "cup", 9, 1.0, True, False),
        ("ann", "jug", 8, 1.0, True, False),
        ("ann", "pot", 7, 1.0, True, False),
        ("ann", "pot", 6, -1.0, False, False),  # returned
        ("ann", "tea", 5, 0.5, False, False),  # viewed
        ("ann", "gin", 4, 1.0, True, True),  # bought, and disliked
        ("ann", "rum", 3, 1.0, True, False),
        ("bob", "tea", 2, 1.0, True, False),
        ("zoe", "cup", 1, 0.5, False, False),
    ]
)
CUP, GIN, JUG, POT, RUM, TEA = range(6)  # rows are in order of id


def test_what_users_may_buy_again_is_theirs_not_returned_not_disliked_and_on_sale():
    unavailable = np.zeros(6, bool)
    repeatable = Repeatable.find(SHOP, Exclusion(SHOP.excluded("allow"), unavailable))
    assert [set(repeatable.items[user].indices) for user in range(3)] == [{CUP, JUG, RUM}, {TEA}, set()]
    unavailable[JUG] = True
    repeatable = Repeatable.find(SHOP, Exclusion(SHOP.excluded("allow"), unavailable))
    assert set(repeatable.items[0].indices) == {CUP, RUM}
    assert repeatable.events.sum() == 3


def test_items_to_buy_again_are_in_the_models_order_then_the_latest():
    repeatable = Repeatable.find(SHOP, Exclusion(SHOP.excluded("allow")))
    lists = rows([POT, TEA, CUP], [CUP, GIN, TEA], [CUP, TEA, JUG])
    users = np.arange(3, dtype=np.int32)
    expected = rows([CUP, RUM, JUG], [TEA, -1, -1], [-1, -1, -1])
    np.testing.assert_array_equal(list_again(lists, users, 3, SHOP, repeatable), expected)
    np.testing.assert_array_equal(list_again(lists, users, 2, SHOP, repeatable), expected[:, :2])
    two = np.array([0, 2], np.int32)
    np.testing.assert_array_equal(list_again(lists[two], two, 3, SHOP, repeatable), expected[two])


@given(st.lists(st.lists(st.integers(-1, 9), min_size=4, max_size=4), min_size=1, max_size=5), st.integers(0, 99))
def test_keeping_and_appending_are_what_python_would_do(drawn: list[list[int]], seed: int):
    lists = rows(*(list(dict.fromkeys(row)) + [-1] * (4 - len(dict.fromkeys(row))) for row in drawn))
    generator = np.random.default_rng(seed)
    kept = csr_matrix((generator.random((len(lists), 10)) < 0.5).astype(float))
    others = generator.integers(-1, 10, lists.shape).astype(np.int32)
    for user, listed in enumerate(keep_items(lists, kept)):
        expected = [item for item in lists[user] if item >= 0 and kept[user, item]]
        assert listed.tolist() == expected + [-1] * (4 - len(expected))
    for user, listed in enumerate(append_items(lists, others, 5)):
        expected = [item for item in dict.fromkeys([*lists[user], *others[user]]) if item >= 0][:5]
        assert listed.tolist() == expected + [-1] * (5 - len(expected))


def test_a_shop_that_repeats_nothing_has_no_such_lists():
    assert part_lengths(Settings(repeat="exclude")) == {}
    assert part_lengths(Settings(repeat="allow")) == {"again": 50, "new": 50}
    assert part_lengths(Settings(repeat="allow", lists=Lists(again_items=0, new_items=7))) == {"new": 7}
