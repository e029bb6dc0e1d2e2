from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cosine

from recsys.evaluation.metrics import diversity
from recsys.evaluation.metrics.diversity import encode_paths, path_diversity, user_diversity

PATHS = [["food", "cheese", "hard"], ["food", "cheese", "soft"], ["food", "fruit"], ["tools"], None, []]


def codes() -> np.ndarray:
    return encode_paths(pl.Series(PATHS, dtype=pl.List(pl.String)))


def test_paths_share_codes_as_far_as_they_are_the_same():
    coded = codes()
    assert coded.shape == (6, 3)
    assert (coded < 0).tolist() == [[False] * 3, [False] * 3, [False, False, True], [False, True, True]] + [
        [True] * 3
    ] * 2
    assert len({*coded[:3, 0]}) == 1
    assert coded[0, 0] != coded[3, 0]
    assert coded[0, 1] == coded[1, 1] != coded[2, 1]
    assert coded[0, 2] != coded[1, 2]


def test_names_that_run_together_are_not_the_same_path():
    coded = encode_paths(pl.Series([["a", "bc"], ["ab", "c"], ["a1:b", "c"], ["a", "1:bc"]]))
    assert len({*coded[:, 1]}) == 4
    # The same name under another parent is another category.
    coded = encode_paths(pl.Series([["men", "shoes"], ["women", "shoes"]]))
    assert coded[0, 1] != coded[1, 1]


def test_items_apart_in_the_tree_by_hand():
    lists = np.array([[0, 1, 2, 3], [0, 4, 5, -1], [0, 0, 1, 4]], dtype=np.int32)
    values = path_diversity(lists, codes(), (1, 2, 4))
    # Hard and soft cheese share two levels of three each, cheese and fruit one of three and two.
    hard_soft, hard_fruit = 1 - 4 / 6, 1 - 2 / 5
    assert values[2] == pytest.approx([hard_soft, np.nan, 0], nan_ok=True)
    assert values[4][0] == pytest.approx((hard_soft + 2 * hard_fruit + 3 * 1) / 6)
    assert np.isnan(values[4][1])  # only one item of a known category
    assert values[4][2] == pytest.approx((0 + 2 * hard_soft) / 3)  # the pairs with item 4 do not count
    assert np.isnan(values[1]).all()


def test_lists_without_an_item_have_no_diversity():
    """Users of a young shop may have every item already, and want one that nobody had."""
    empty, users = np.full((3, 2), -1, np.int32), csr_matrix(np.ones((2, 1), np.float32))
    assert np.isnan(user_diversity(empty, users, (2,), 0)[2]).all()
    assert np.isnan(path_diversity(empty, codes(), (2,))[2]).all()


def test_blocks_do_not_change_diversity(monkeypatch: pytest.MonkeyPatch):
    lists = np.random.default_rng(0).integers(-1, 6, size=(50, 4)).astype(np.int32)
    whole = path_diversity(lists, codes(), (2, 4))
    monkeypatch.setattr(diversity, "PATH_BLOCK_LISTS", 7)
    for k, list_values in path_diversity(lists, codes(), (2, 4)).items():
        assert list_values.tolist() == pytest.approx(whole[k].tolist(), nan_ok=True)


@given(st.integers(min_value=0, max_value=10_000))
def test_items_apart_by_who_has_them_is_the_mean_cosine_distance(seed: int):
    generator = np.random.default_rng(seed)
    dense = (generator.random((15, 8)) < 0.4).astype(np.float32)
    dense[0] = 1  # every item has a user
    lists = np.array([generator.permutation(8)[:5] for _ in range(6)], dtype=np.int32)
    weighted = csr_matrix(dense * generator.uniform(0.5, 3, dense.shape).astype(np.float32))
    values = user_diversity(lists, weighted, (2, 5), 0)
    expected = {
        k: sorted(np.mean([cosine(dense[:, a], dense[:, b]) for a, b in combinations(own[:k], 2)]) for own in lists)
        for k in (2, 5)
    }
    for k, list_values in values.items():
        assert sorted(list_values) == pytest.approx(expected[k], abs=1e-6)


def test_an_item_nobody_has_is_like_no_other():
    users = csr_matrix(np.array([[1, 1, 0], [1, 1, 0]], dtype=np.float32))
    lists = np.array([[0, 1, -1], [0, 2, -1], [-1, -1, -1]], dtype=np.int32)
    values = user_diversity(lists, users, (3,), 0)[3]
    assert sorted(values[~np.isnan(values)]) == pytest.approx([0, 1], abs=1e-6)
    assert np.isnan(values).sum() == 1


def test_a_sample_of_lists_stands_for_all(monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(1)
    users = csr_matrix((generator.random((200, 40)) < 0.2).astype(np.float32))
    lists = np.array([generator.permutation(40)[:10] for _ in range(600)], dtype=np.int32)
    everyone = user_diversity(lists, users, (10,), 0)[10]
    monkeypatch.setattr(diversity, "MAX_SAMPLED_LISTS", 150)
    sampled = user_diversity(lists, users, (10,), 0)[10]
    assert (len(everyone), len(sampled)) == (600, 150)
    assert sampled.mean() == pytest.approx(everyone.mean(), abs=4 * everyone.std() / 150**0.5)
    assert user_diversity(lists, users, (10,), 0)[10].tolist() == sampled.tolist()
