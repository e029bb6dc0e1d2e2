"""Test the search for blend weights on lists whose best weights are known."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.evaluation.comparison.blend_search import EVERYONE, BlendChoice, choose_blend
from recsys.evaluation.comparison.list_pool import build_list_pool
from recsys.evaluation.ground_truth import GroundTruth, Relevance
from recsys.evaluation.metrics.ranking import evaluate_lists
from recsys.evaluation.segments import HEAVY, LIGHT
from recsys.ids import Rows
from recsys.models.blend import merge_lists

USERS, ITEMS, DEPTH = 1_200, 50, 20


def make_ground_truth(relevant_items: Rows, light: np.ndarray) -> GroundTruth:
    users = len(relevant_items)
    rows = np.repeat(np.arange(users), relevant_items.shape[1])
    relevant = csr_matrix(
        (np.ones(relevant_items.size, np.float32), (rows, relevant_items.ravel())), shape=(users, ITEMS)
    )
    counts = relevant.getnnz(axis=1)
    returning = Relevance(relevant, counts)
    nobody = returning.select(np.zeros(users, bool))
    segments = {LIGHT: light, HEAVY: ~light}
    everyone = np.arange(users, dtype=np.int32)
    return GroundTruth(
        user_rows=everyone,
        returning=returning,
        new=nobody,
        segments=segments,
        head=np.zeros(ITEMS, bool),
        item_users=np.ones(ITEMS, int),
        users=users,
        history_popularity=np.zeros((users, 2)),
        user_items=csr_matrix((users, ITEMS)),
        item_paths=None,
        light_user_events=20,
    )


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def noise(generator: np.random.Generator) -> Rows:
    return generator.permuted(np.tile(np.arange(ITEMS, dtype=np.int32), (USERS, 1)), axis=1)[:, :DEPTH]


@pytest.fixture
def relevant_items(generator: np.random.Generator) -> Rows:
    return generator.permuted(np.tile(np.arange(ITEMS, dtype=np.int32), (USERS, 1)), axis=1)[:, :4]


def choose(lists: Mapping[str, Rows], ground_truth: GroundTruth, k: int, seed: int = 0) -> BlendChoice:
    return choose_blend(lists, ground_truth, k, min_gain=0.005, seed=seed)


def heading(best: Rows, rest: Rows) -> Rows:
    """Put `best` at the front of each list and fill up with the other items of `rest`."""
    merged = [list(dict.fromkeys([*first, *then]))[:DEPTH] for first, then in zip(best, rest, strict=True)]
    return np.array(merged, np.int32)


def test_a_model_that_knows_everything_stays_alone(relevant_items: Rows, noise: Rows):
    light = np.arange(USERS) % 2 == 0
    choice = choose(
        {"noise": noise, "oracle": heading(relevant_items, noise)}, make_ground_truth(relevant_items, light), 10
    )
    assert choice.weights == {"oracle": {EVERYONE: 1.0, LIGHT: 1.0, HEAVY: 1.0}}
    assert choice.gain == 0
    assert choice.cost_of_leaving_out == {}


def test_two_models_that_know_half_each_are_blended(relevant_items: Rows, noise: Rows):
    light = np.arange(USERS) % 2 == 0
    first, second = heading(relevant_items[:, :2], noise), heading(relevant_items[:, 2:], noise[:, ::-1])
    choice = choose(
        {"first": first, "noise": noise, "second": second}, make_ground_truth(relevant_items, light), 10
    )
    assert set(choice.weights) == {"first", "second"}
    assert choice.gain > 0.1
    assert 0 < choice.gain_deviation < choice.gain
    assert min(choice.cost_of_leaving_out.values()) > 0.1
    for segment in (EVERYONE, LIGHT, HEAVY):
        assert sum(weights[segment] for weights in choice.weights.values()) == pytest.approx(1, abs=1e-3)


def test_a_segment_has_the_weights_that_suit_it(relevant_items: Rows, noise: Rows):
    light = np.arange(USERS) % 2 == 0
    knows = heading(relevant_items, noise)
    of_light, of_heavy = np.where(light[:, None], knows, noise), np.where(light[:, None], noise, knows)
    choice = choose({"of_light": of_light, "of_heavy": of_heavy}, make_ground_truth(relevant_items, light), 10)
    assert choice.weights["of_light"][LIGHT] > 0.7 > 0.3 > choice.weights["of_light"][HEAVY]


def test_a_small_segment_leans_on_everyones_weights(relevant_items: Rows, noise: Rows):
    light = np.arange(USERS) < 30
    knows = heading(relevant_items, noise)
    of_light, of_heavy = np.where(light[:, None], knows, noise), np.where(light[:, None], noise, knows)
    choice = choose({"of_light": of_light, "of_heavy": of_heavy}, make_ground_truth(relevant_items, light), 10)
    assert choice.weights["of_heavy"][LIGHT] == choice.weights["of_heavy"][EVERYONE]


@pytest.mark.parametrize(("gainers", "members"), [(3, 1), (300, 2)])
def test_a_gain_within_its_uncertainty_is_not_taken(gainers: int, members: int):
    """Blending ranks `agreed` first, relevant to `gainers` users; `alone`, first in one list, to two users."""
    alone, other, agreed = 0, 1, 2
    first = np.tile(np.array([alone, agreed, *range(3, 21)], np.int32), (USERS, 1))
    second = np.tile(np.array([other, agreed, *range(21, 39)], np.int32), (USERS, 1))
    relevant_items = np.full((USERS, 1), ITEMS - 1, np.int32)
    relevant_items[:gainers], relevant_items[gainers : gainers + 2] = agreed, alone
    choice = choose({"first": first, "second": second}, make_ground_truth(relevant_items, np.zeros(USERS, bool)), 1)
    assert len(choice.weights) == members
    if members == 1:
        assert choice.weights["first"][EVERYONE] == 1


def test_the_same_seed_finds_the_same(relevant_items: Rows, noise: Rows):
    light = np.arange(USERS) % 2 == 0
    lists = {
        "first": heading(relevant_items[:, :2], noise),
        "second": heading(relevant_items[:, 2:], noise[:, ::-1]),
    }
    assert choose(lists, make_ground_truth(relevant_items, light), 10, 3) == choose(
        lists, make_ground_truth(relevant_items, light), 10, 3
    )


def make_shop(seed: int, users: int = 400) -> tuple[dict[str, Rows], GroundTruth]:
    """Two models of the same tastes, each with errors of its own, five models of noise, and what users want."""
    generator = np.random.default_rng(seed)
    tastes, *errors = generator.standard_normal((8, users, ITEMS))
    wanted = np.argsort(-(tastes + generator.gumbel(size=tastes.shape)), axis=1)[:, :4].astype(np.int32)
    scores = {"first": tastes + 2 * errors[0], "second": tastes + 1.5 * errors[1]}
    scores |= {f"noise {number}": error for number, error in enumerate(errors[2:])}
    lists = {name: np.argsort(-values, axis=1)[:, :DEPTH].astype(np.int32) for name, values in scores.items()}
    return lists, make_ground_truth(wanted, np.arange(users) % 2 == 0)


def test_noise_beside_a_good_model_is_accepted_in_at_most_one_of_fifty_shops():
    accepted = 0
    for seed in range(50):
        lists, ground_truth = make_shop(seed)
        del lists["first"]
        accepted += len(choose(lists, ground_truth, 10, seed).weights) > 1
    assert accepted <= 1


def test_a_model_with_errors_of_its_own_is_accepted_in_almost_every_shop():
    accepted = 0
    for seed in range(50):
        lists, ground_truth = make_shop(seed, users=800)
        weights = choose(
            {name: lists[name] for name in ("first", "second", "noise 0")}, ground_truth, 10, seed
        ).weights
        accepted += set(weights) == {"first", "second"}
    assert accepted >= 48


def test_the_search_ranks_as_the_blend_does(relevant_items: Rows, noise: Rows):
    lists = [heading(relevant_items[:, :2], noise), heading(relevant_items[:, 1:3], noise[:, ::-1]), noise]
    relevance = make_ground_truth(relevant_items, np.zeros(USERS, bool)).returning
    weights = np.array([0.35, 0.4, 0.25], np.float32)
    merged, _ = merge_lists(lists, np.tile(weights, (USERS, 1)), 10)
    expected = evaluate_lists(merged, relevance.relevant, relevance.relevant_counts, (10,))
    actual = build_list_pool(lists, relevance, 10).ndcg(weights, np.arange(USERS))
    assert actual == pytest.approx(expected["ndcg@10"])
    assert 0 < actual.mean() < 1
