"""Ranking by factors against a full sort of scores computed one by one, summed in the same order."""

import os
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from recsys.errors import ModelError, SettingsError
from recsys.ids import Rows
from recsys.ranking import factor_index, factors
from recsys.ranking.factor_index import FactorIndex, Factors
from recsys.ranking.factors import find_cuda, rank_factors
from recsys.ranking.top_k import Exclusion, Scores

NOTHING = Exclusion()
slow_start = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
# "cpu" is the path of CUDA, taken on torch's CPU.
both_paths = pytest.mark.parametrize("torch_device", [None, "cpu"], ids=["numpy", "torch"], indirect=True)


@pytest.fixture(autouse=True)
def torch_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the device of the test; none by default."""
    monkeypatch.setattr(factors, "find_cuda", lambda _: getattr(request, "param", None))


def rank(
    users: Factors, items: Factors, bias: Factors, rows: Rows, n: int, exclude: Exclusion = NOTHING
) -> tuple[Rows, Scores]:
    return rank_factors(users, FactorIndex.build(items, bias, 1.0), rows, n, exclude)


def exact_scores(users: Factors, items: Factors, bias: Factors) -> Scores:
    """Dot products in double precision, every fourth product summed in order, and the bias."""
    sums = np.zeros((4, len(users), len(items)))
    whole = users.shape[1] // 4 * 4
    for place in range(users.shape[1]):
        product = users[:, place, None].astype(np.float64) * items[:, place].astype(np.float64)
        sums[place % 4 if place < whole else 0] += product
    return (sums[0] + sums[1] + (sums[2] + sums[3]) + bias).astype(np.float32)


def sort_all(scores: Scores, n: int) -> tuple[Rows, Scores]:
    """The n best columns of each row by sorting them all; -inf is never among them."""
    padded = np.concatenate([scores, np.full((len(scores), n), -np.inf, np.float32)], axis=1)
    order = np.argsort(-padded, axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(padded, order, axis=1)
    return np.where(values > -np.inf, order, -1).astype(np.int32), values


def assert_same(result: tuple[Rows, Scores], expected: tuple[Rows, Scores]) -> None:
    np.testing.assert_array_equal(result[0], expected[0])
    np.testing.assert_array_equal(result[1], expected[1])
    assert result[0].dtype == np.int32
    assert result[1].dtype == np.float32


def normal(seed: int, *shape: int) -> Factors:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Whole numbers, so that ties are frequent and every product is exact.
@both_paths
@slow_start
@given(st.data(), st.integers(0, 9), st.integers(1, 6), st.integers(0, 15), st.booleans())
def test_it_is_the_head_of_a_full_sort(data: st.DataObject, items: int, factors: int, n: int, biased: bool):
    vectors = arrays(np.float32, (7, factors), elements=st.integers(-2, 2))
    user_vectors = data.draw(vectors)
    item_vectors = data.draw(arrays(np.float32, (items, factors), elements=st.integers(-2, 2)))
    bias = data.draw(arrays(np.float32, items, elements=st.integers(-3, 3) if biased else st.just(0)))
    stored, mask = data.draw(arrays(np.bool_, (7, items))), data.draw(arrays(np.bool_, items))
    rows = np.array(data.draw(st.lists(st.integers(-1, 6), max_size=12)), np.int32)
    scores = exact_scores(user_vectors, item_vectors, bias)
    scores[~user_vectors.any(axis=1)] = -np.inf
    scores[stored | mask] = -np.inf
    unknown = np.full((1, items), -np.inf, np.float32)
    exclude = Exclusion(csr_matrix(stored.astype(np.float32)), mask)
    result = rank(user_vectors, item_vectors, bias, rows, n, exclude)
    assert_same(result, sort_all(np.concatenate([scores, unknown])[rows], n))


@both_paths
@pytest.mark.parametrize("factors", [1, 3, 64, 130])
def test_many_items_in_many_tiles(factors: int):
    users, items, bias = normal(0, 300, factors), normal(1, 3_000, factors), normal(2, 3_000)
    items *= np.exp(normal(3, 3_000, 1))  # lengths that differ, so that tiles are left out
    seen = csr_matrix(normal(4, 300, 3_000) > 1.5)
    scores = exact_scores(users, items, bias)
    scores[seen.toarray()] = -np.inf
    result = rank(users, items, bias, np.arange(300, dtype=np.int32), 20, Exclusion(seen))
    assert_same(result, sort_all(scores, 20))


@both_paths
def test_what_a_product_rounds_away_decides_nothing():
    """The first factors cancel, the last, far below their rounding error, tells the items apart."""
    generator = np.random.default_rng(0)
    items = np.tile(generator.normal(0, 1e4, (1, 64)).astype(np.float32), (2_000, 1))
    users = generator.normal(size=(40, 64)).astype(np.float32)
    users[:, 32:] = -users[:, :32]
    items[:, 32:] = items[:, :32]
    items[:, -1] += generator.integers(-2, 3, 2_000) * np.float32(2**-9)
    seen, bias = generator.random((40, 2_000)) < 0.2, np.zeros(2_000, np.float32)
    expected = sort_all(np.where(seen, -np.inf, exact_scores(users, items, bias)).astype(np.float32), 10)
    by_product = np.argsort(-np.where(seen, -np.inf, users @ items.T), axis=1, kind="stable")[:, :10]
    assert (by_product != expected[0]).any()
    result = rank(users, items, bias, np.arange(40, dtype=np.int32), 10, Exclusion(csr_matrix(seen)))
    assert_same(result, expected)


@both_paths
def test_a_shorter_vector_that_points_the_users_way_is_found_behind_many_longer_ones():
    items = np.array([[0.8, 0.6]] * 2_048 + [[0.85, 0]], np.float32)
    result, _ = rank(np.eye(1, 2, dtype=np.float32), items, np.zeros(2_049, np.float32), np.zeros(1, np.int32), 2)
    assert result.tolist() == [[2_048, 0]]


@both_paths
def test_ties_go_by_item_row_even_where_the_later_item_was_tried_first():
    items, bias = np.ones((2_048, 1), np.float32), np.ones(2_048, np.float32)
    items[1_024:], bias[1_024:] = 2, 0
    index = FactorIndex.build(items, bias, 9.0)
    assert index.rows[0] == 1_024
    result, _ = rank_factors(np.ones((1, 1), np.float32), index, np.zeros(1, np.int32), 3, NOTHING)
    assert result.tolist() == [[0, 1, 2]]


@both_paths
def test_of_equal_items_the_first_are_taken():
    items = np.tile(normal(0, 1, 48), (5_000, 1))
    users = np.abs(normal(1, 3, 48)) * np.sign(items[0])
    result, _ = rank(users, items, np.zeros(5_000, np.float32), np.arange(3, dtype=np.int32), 7)
    assert result.tolist() == [list(range(7))] * 3


@pytest.mark.parametrize(("users", "items", "processors"), [(1, 1, 1), (7, 64, 5), (300, 100_000, 2)])
def test_blocks_tiles_and_threads_change_nothing(
    users: int, items: int, processors: int, monkeypatch: pytest.MonkeyPatch
):
    of_users, of_items, bias = normal(0, 150, 20), normal(1, 400, 20), normal(2, 400)
    rows = np.arange(150, dtype=np.int32)[::-1].copy()
    expected = rank(of_users, of_items, bias, rows, 12)
    monkeypatch.setattr(factors, "BLOCK_USERS", users)
    monkeypatch.setattr(factor_index, "TILE_ITEMS", items)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert_same(rank(of_users, of_items, bias, rows, 12), expected)


@both_paths
def test_one_user_alone_gets_the_same_scores_to_the_last_bit():
    users, items, bias = normal(0, 200, 33), normal(1, 900, 33), normal(2, 900)
    together = rank(users, items, bias, np.arange(200, dtype=np.int32), 15)
    for user in range(0, 200, 17):
        alone = rank(users, items, bias, np.array([user], np.int32), 15)
        assert_same(alone, (together[0][[user]], together[1][[user]]))


def test_a_few_items_allowed_of_many():
    users, items, bias = normal(0, 30, 8), normal(1, 2_000, 8), np.zeros(2_000, np.float32)
    allowed = np.isin(np.arange(2_000), [5, 700, 1_999])
    result, scores = rank(users, items, bias, np.arange(30, dtype=np.int32), 4, Exclusion(items=~allowed))
    assert {*result.flat} == {-1, 5, 700, 1_999}
    assert (result[:, 3] == -1).all()
    assert (scores[:, 3] == -np.inf).all()
    nothing, _ = rank(users, items, bias, np.array([0], np.int32), 4, Exclusion(items=np.ones(2_000, bool)))
    assert nothing.tolist() == [[-1] * 4]


def test_memory_does_not_grow_with_users_times_items():
    users, items = normal(0, 4_000, 4), normal(1, 60_000, 4)
    index = FactorIndex.build(items, np.zeros(60_000, np.float32), 1.0)
    rows = np.arange(4_000, dtype=np.int32)
    rank_factors(users, index, rows[:1], 10, Exclusion())
    tracemalloc.start()
    rank_factors(users, index, rows, 10, Exclusion())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # all scores are 960 MB


@pytest.mark.parametrize("damage", [1e30, np.inf, np.nan])
@pytest.mark.parametrize("where", ["users", "items", "bias"])
def test_a_score_that_may_not_be_finite_is_an_error(damage: float, where: str):
    parts: dict[str, Any] = {"users": normal(0, 3, 2), "items": normal(1, 5, 2), "bias": normal(2, 5)}
    for name, part in parts.items():
        part[-1] = damage if name == where else (1e30 if damage == 1e30 and where != "bias" else part[-1])
    if where == "bias" and damage == 1e30:
        parts["bias"][-1] = 2e38
    with pytest.raises(ModelError, match="the factors are too large to rank by"):
        rank(parts["users"], parts["items"], parts["bias"], np.arange(3, dtype=np.int32), 2)


def test_the_largest_factors_that_are_accepted_give_lists():
    result, scores = rank(
        np.full((1, 4), 4e18, np.float32),
        np.full((3, 4), 4e18, np.float32),
        np.zeros(3, np.float32),
        np.zeros(1, np.int32),
        3,
    )
    assert result.tolist() == [[0, 1, 2]]
    assert np.isfinite(scores).all()


def test_tiny_factors_below_the_range_of_their_products():
    items = np.array([[1e-23], [3e-23], [2e-23]], np.float32)
    result, _ = rank(np.full((1, 1), 1e-21, np.float32), items, np.zeros(3, np.float32), np.zeros(1, np.int32), 3)
    assert result.tolist() == [[1, 2, 0]]


def test_cuda_requested_on_a_machine_without_it():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        assert find_cuda("cuda") == "cuda"
        pytest.skip("there is a CUDA device")
    assert find_cuda("auto") is None
    with pytest.raises(SettingsError, match=r"^device = 'cuda': torch finds no CUDA device here"):
        find_cuda("cuda")


def test_cuda_requested_without_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "recsys.ranking.cuda", None)
    assert find_cuda("cpu") is None
    with pytest.raises(SettingsError, match=r"^device = 'cuda' needs torch"):
        find_cuda("cuda")
