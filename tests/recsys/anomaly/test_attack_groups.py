import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from recsys.anomaly.attack_groups import MIN_GROUP_SIZE, find_attack_groups, normal_scores
from tests.recsys.anomaly.graphs import added, draw_customers

SHOP = draw_customers(1_000, 300, 3, 10, seed=0, unwanted=2)


def measured(fake: int, shift: float, seed: int = 0) -> np.ndarray:
    """Six measures, of which the last users have four shifted."""
    values = np.random.default_rng(seed).standard_normal((1_000 + fake, 6))
    values[1_000:, :4] += shift * np.array([1, -1, 1, -1])
    return normal_scores(values)


def test_scores_are_normal_quantiles_of_ranks_ties_at_their_mean() -> None:
    scores = normal_scores(np.array([[10.0, 1.0], [30.0, 1.0], [20.0, 1.0], [np.nan, 1.0]]))
    np.testing.assert_allclose(scores[:3, 0], ndtri([1 / 6, 5 / 6, 3 / 6]))
    assert scores[3, 0] == 0  # unknown
    assert (scores[:, 1] == 0).all()  # all alike


@pytest.mark.parametrize("fake", [12, 60])
def test_accounts_made_for_an_item_are_a_crowd(fake: int) -> None:
    random = np.random.default_rng(2)
    both = added(SHOP, [[300, *random.choice(250, 8, replace=False)] for _ in range(fake)])
    crowds = find_attack_groups(both, measured(fake, shift=8.0))
    assert [crowd.item for crowd in crowds] == [300]
    assert set(crowds[0].users.tolist()) >= set(range(1_000, 1_000 + fake))
    assert len(crowds[0].users) <= fake + 1
    assert crowds[0].excess > 1
    assert set(np.argsort(-np.abs(crowds[0].shift))[:4].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(3))
def test_customers_are_no_crowd(seed: int) -> None:
    assert find_attack_groups(SHOP, measured(0, 0.0, seed)) == []


def test_a_few_are_no_crowd_however_unusual() -> None:
    few = MIN_GROUP_SIZE - 5
    both = added(SHOP, [[300, 1, 2, 3]] * few)
    assert find_attack_groups(both, measured(few, 30.0)) == []


def test_a_crowd_hides_no_other() -> None:
    random = np.random.default_rng(3)
    profiles = [[301, *random.choice(200, 8, replace=False)] for _ in range(60)]
    profiles += [[300, *random.choice(200, 8, replace=False)] for _ in range(20)]
    values = np.random.default_rng(4).standard_normal((1_080, 6))
    values[1_000:1_060, :3] += 12
    values[1_060:, 2:5] -= 12
    crowds = find_attack_groups(added(SHOP, profiles), normal_scores(values))
    assert {crowd.item for crowd in crowds} == {300, 301}


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_measures_is_irrelevant(order: list[int]) -> None:
    random = np.random.default_rng(2)
    both = added(SHOP, [[300, *random.choice(250, 8, replace=False)] for _ in range(30)])
    measures = measured(30, 8.0)
    one, other = find_attack_groups(both, measures), find_attack_groups(both, measures[:, order])
    assert [crowd.users.tolist() for crowd in one] == [crowd.users.tolist() for crowd in other]
