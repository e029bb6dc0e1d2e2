"""Merged lists against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.rank_merging import pool_lists, rank_values


def test_places_are_worth_one_minus_their_share_of_the_logarithm():
    np.testing.assert_allclose(rank_values(3), [1, 0.5, 1 - np.log(3) / np.log(4)], rtol=1e-6)
    assert rank_values(200)[-1] > 0


def test_every_item_of_any_list_has_what_its_places_are_worth():
    one = np.array([[7, 2, -1], [4, -1, -1]], np.int32)
    other = np.array([[2, 9, 7], [-1, -1, -1]], np.int32)
    pool = pool_lists([one, other])
    worth = rank_values(3)
    assert pool.users.tolist() == [0, 0, 0, 1]
    assert pool.items.tolist() == [2, 7, 9, 4]
    np.testing.assert_array_equal(
        pool.values, [[worth[1], worth[0]], [worth[0], worth[2]], [0, worth[1]], [worth[0], 0]]
    )


@pytest.mark.parametrize("users", [0, 2])
def test_lists_without_any_item_make_an_empty_pool(users: int):
    pool = pool_lists([np.full((users, 4), -1, np.int32)] * 2)
    assert len(pool.users) == len(pool.items) == 0
    assert pool.values.shape == (0, 2)


LISTS = st.lists(st.lists(st.permutations(range(6)), min_size=3, max_size=3), min_size=1, max_size=4)


@given(lists=LISTS, depth=st.integers(1, 6))
def test_a_pool_gives_back_the_lists(lists: list[list[list[int]]], depth: int):
    given = [np.array(rows, np.int32)[:, :depth] for rows in lists]
    pool = pool_lists(given)
    for column, rows in enumerate(given):
        for user in range(3):
            mine = (pool.users == user) & (pool.values[:, column] > 0)
            best_first = np.argsort(-pool.values[mine, column])
            assert pool.items[mine][best_first].tolist() == rows[user].tolist()
