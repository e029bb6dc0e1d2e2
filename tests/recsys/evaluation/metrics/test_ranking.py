import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix

from recsys.evaluation.metrics import ranking
from recsys.evaluation.metrics.ranking import evaluate_lists, find_hits, metric_names

ITEMS = 12


def relevance(*relevant_items: set[int], items: int = ITEMS) -> csr_matrix:
    dense = np.zeros((len(relevant_items), items), dtype=np.float32)
    for user, own in enumerate(relevant_items):
        dense[user, sorted(own)] = 1
    return csr_matrix(dense)


def evaluate_one(
    ranked: list[int], relevant_items: set[int], cutoffs: tuple[int, ...], unknown: int = 0
) -> dict[str, float]:
    values = evaluate_lists(
        np.array([ranked], dtype=np.int32),
        relevance(relevant_items),
        np.array([len(relevant_items) + unknown]),
        cutoffs,
    )
    return {name: float(user_values[0]) for name, user_values in values.items()}


def test_known_answers():
    """The list 4 7 2 9 5 has hits at 1 and 3; relevant are 4, 2, 11 and one item unknown to the model."""
    values = evaluate_one([4, 7, 2, 9, 5], {4, 2, 11}, (2, 5), unknown=1)
    gain_at_3 = 1 / math.log2(4)
    ideal_at_2 = 1 + 1 / math.log2(3)
    ideal_at_5 = ideal_at_2 + 1 / math.log2(4) + 1 / math.log2(5)
    assert values == pytest.approx(
        {
            "recall@2": 1 / 4,
            "recall@5": 2 / 4,
            "precision@2": 1 / 2,
            "precision@5": 2 / 5,
            "f1@2": 1 / 3,
            "f1@5": 4 / 9,
            "ndcg@2": 1 / ideal_at_2,
            "ndcg@5": (1 + gain_at_3) / ideal_at_5,
            "map@2": 1 / 4,
            "map@5": (1 + 2 / 3) / 4,
            "mrr@2": 1.0,
            "mrr@5": 1.0,
            "hit_rate@2": 1.0,
            "hit_rate@5": 1.0,
        }
    )


def test_a_list_without_hits_scores_nothing():
    assert set(evaluate_one([0, 1, -1, -1], {5}, (4,)).values()) == {0.0}


def test_empty_places_are_never_hits():
    """A -1 after the list of user 1 must not match the last item of user 0."""
    relevant_items = relevance({ITEMS - 1}, {0})
    lists = np.array([[-1, -1], [0, -1]], dtype=np.int32)
    assert find_hits(lists, relevant_items).tolist() == [[False, False], [True, False]]


def test_mean_reciprocal_rank_uses_the_first_hit():
    assert evaluate_one([9, 4, 2], {4, 2}, (1, 3))["mrr@3"] == 0.5
    assert evaluate_one([9, 4, 2], {4, 2}, (1, 3))["mrr@1"] == 0


def test_lists_shorter_than_a_cutoff_are_refused():
    with pytest.raises(ValueError, match="lists of 3 items cannot be measured at 5"):
        evaluate_one([1, 2, 3], {1}, (2, 5))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], set[int], int]:
    ranked = draw(st.permutations(range(ITEMS)))[: draw(st.integers(min_value=5, max_value=ITEMS))]
    relevant_items = draw(st.sets(st.integers(min_value=0, max_value=ITEMS - 1), min_size=1, max_size=ITEMS - 1))
    return ranked, relevant_items, draw(st.integers(min_value=0, max_value=3))


@given(cases())
def test_values_are_between_zero_and_one(case: tuple[list[int], set[int], int]):
    ranked, relevant_items, unknown = case
    values = evaluate_one(ranked, relevant_items, (1, 3, 5), unknown)
    assert set(values) == set(metric_names((1, 3, 5)))
    assert all(0 <= value <= 1 for value in values.values())


@given(st.permutations(range(ITEMS)), st.integers(min_value=1, max_value=5))
def test_a_perfect_list_gives_one(ranked: list[int], k: int):
    values = evaluate_one(ranked, set(ranked[:k]), (k,))
    assert all(value == pytest.approx(1) for value in values.values())


@given(cases(), st.integers(min_value=0, max_value=4))
def test_turning_a_miss_into_a_hit_lowers_nothing(case: tuple[list[int], set[int], int], place: int):
    ranked, relevant_items, unknown = case
    missing = sorted(relevant_items - set(ranked))
    if not missing or ranked[place] in relevant_items:
        return
    better = [*ranked]
    better[place] = missing[0]
    before = evaluate_one(ranked, relevant_items, (1, 3, 5), unknown)
    after = evaluate_one(better, relevant_items, (1, 3, 5), unknown)
    assert all(after[name] >= before[name] - 1e-12 for name in before)
    assert after["recall@5"] > before["recall@5"]


@given(cases(), st.integers(min_value=0, max_value=3))
def test_moving_a_hit_up_lowers_nothing(case: tuple[list[int], set[int], int], place: int):
    ranked, relevant_items, unknown = case
    if ranked[place] in relevant_items or ranked[place + 1] not in relevant_items:
        return
    better = [*ranked]
    better[place], better[place + 1] = better[place + 1], better[place]
    before = evaluate_one(ranked, relevant_items, (5,), unknown)
    after = evaluate_one(better, relevant_items, (5,), unknown)
    assert after["recall@5"] == before["recall@5"]
    assert all(after[f"{metric}@5"] > before[f"{metric}@5"] for metric in ("ndcg", "map"))


@given(arrays(np.bool_, (7, ITEMS)), st.randoms(use_true_random=False), st.integers(min_value=1, max_value=40))
def test_the_size_of_blocks_does_not_change_the_result(relevant_items: np.ndarray, random, block: int):
    relevant_items[:, 0] = True
    lists = np.array([random.sample(range(ITEMS), 5) for _ in relevant_items], dtype=np.int32)
    arguments = (lists, csr_matrix(relevant_items.astype(np.float32)), relevant_items.sum(axis=1), (2, 5))
    whole = evaluate_lists(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_ENTRIES", block)
        in_blocks = evaluate_lists(*arguments)
    for name, values in whole.items():
        assert in_blocks[name].tolist() == values.tolist()
