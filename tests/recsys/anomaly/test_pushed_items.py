"""Accounts that copy customers and take one item, among customers who come back."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.anomaly.first_events import measure_first_events
from recsys.anomaly.pushed_items import (
    PushedItem,
    companion_excess,
    estimate_between_items,
    find_companions,
    find_pushed_items,
)
from tests.recsys.anomaly.graphs import added, draw_customers

USERS = 1_500
ITEMS = 1_200
TARGET = ITEMS - 1
YEAR = 360.0
FAKE = 50


@dataclass(frozen=True)
class Shop:
    """Users' items, and of each entry the number of events and the days of the first and the last."""

    user_items: csr_matrix
    events: np.ndarray
    first_days: np.ndarray
    last_days: np.ndarray
    active_days: np.ndarray

    def pushed(self) -> list[PushedItem]:
        measured = measure_first_events(
            self.user_items, self.events, self.first_days, self.last_days, self.active_days
        )
        return find_pushed_items(self.user_items, measured)

    def select(self, order: np.ndarray) -> "Shop":
        """The same with users in another order."""
        entries = csr_matrix(
            (np.arange(self.user_items.nnz), self.user_items.indices, self.user_items.indptr),
            self.user_items.shape,
        )[order].data
        return Shop(
            csr_matrix(self.user_items[order]),
            self.events[entries],
            self.first_days[entries],
            self.last_days[entries],
            self.active_days[order],
        )


def shop(profiles: list[list[int]], visit_days: list[float], seed: int = 0) -> Shop:
    """Customers who come once to ten times a year, and after them accounts that come once, on a day each."""
    random = np.random.default_rng(seed)
    graph = draw_customers(USERS, ITEMS, 8, 14, seed)
    if profiles:
        graph = added(graph, profiles)
    sizes = np.diff(graph.indptr)
    visits = np.r_[random.geometric(0.25, USERS), np.ones(len(profiles), int)]
    joined = np.r_[random.random(USERS) * YEAR, np.asarray(visit_days)]
    users = np.repeat(np.arange(len(sizes)), sizes)
    visit = random.integers(0, visits[users])
    first = joined[users] + visit * 10.0
    again = (random.random(len(users)) < 0.3) & (visits[users] > 1)
    last = np.where(again, np.maximum(first, joined[users] + (visits[users] - 1) * 10.0), first)
    return Shop(graph, 1.0 + again, first, last, visits.astype(float))


def copied(random: np.random.Generator, companions: int) -> list[int]:
    """The target, half a customer's items and some that the target's users have."""
    graph = draw_customers(1, ITEMS, 8, 14, int(random.integers(1_000_000)))
    half = random.choice(graph.indices, len(graph.indices) // 2, replace=False)
    segment = random.choice(np.arange(1_055, 1_085), companions, replace=False)
    return sorted({TARGET, *half.tolist(), *segment.tolist()})


def attacked(companions: int = 5, seed: int = 0) -> Shop:
    random = np.random.default_rng(seed)
    profiles = [copied(random, companions) for _ in range(FAKE)]
    return shop(profiles, [YEAR - 3.0 * account for account in range(FAKE)], seed)


def test_accounts_that_copy_customers_days_apart_are_found_and_nobody_else() -> None:
    (group,) = attacked().pushed()
    assert group.item == TARGET
    fake = set(range(USERS, USERS + FAKE))
    found = set(group.users.tolist())
    assert len(found & fake) >= 0.9 * FAKE
    assert len(found - fake) <= 0.005 * USERS
    assert group.excess > 1
    assert group.lift > 1


@pytest.mark.parametrize("seed", range(3))
def test_customers_push_nothing(seed: int) -> None:
    assert shop([], [], seed).pushed() == []


def test_newcomers_for_an_item_in_vogue_who_share_nothing_else_are_no_group() -> None:
    random = np.random.default_rng(4)
    graph = draw_customers(FAKE, ITEMS, 8, 14, 77)
    profiles = [sorted({TARGET, *graph[user].indices.tolist()}) for user in range(FAKE)]
    assert shop(profiles, (YEAR - 14 * random.random(FAKE)).tolist()).pushed() == []


def test_the_order_of_users_is_irrelevant() -> None:
    one = attacked()
    order = np.random.default_rng(5).permutation(one.user_items.shape[0])
    expected, actual = one.pushed(), one.select(order).pushed()
    assert [group.item for group in actual] == [group.item for group in expected]
    assert [sorted(order[group.users].tolist()) for group in actual] == [
        sorted(group.users.tolist()) for group in expected
    ]


def test_without_times_nobody_is_found() -> None:
    one = attacked()
    nothing = np.zeros(one.user_items.nnz)
    assert Shop(one.user_items, one.events, nothing, nothing, np.ones(USERS + FAKE)).pushed() == []


def test_companions_are_what_users_of_the_item_have_relative_to_its_popularity() -> None:
    profiles = csr_matrix(np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]], np.float32))
    # 2 / root of 9, 1 / root of 1 and 1 / root of 16 of their users.
    assert find_companions(profiles, 0, np.array([5, 9, 1, 16, 3])).tolist() == [2, 1, 3]


def test_the_excess_of_companions_is_a_mean_less_two_standard_errors() -> None:
    assert companion_excess(np.full(100, 3.0), np.full(100, 1.0)) == 2.0
    assert companion_excess(np.r_[np.full(50, 4.0), np.zeros(50)], np.ones(100)) == pytest.approx(
        1.0 - 2 * 2.0 / 10
    )


def test_the_covariance_between_items_is_what_their_users_do_not_explain() -> None:
    random = np.random.default_rng(6)
    between, within = np.array([[0.5, 0.2], [0.2, 0.3]]), np.eye(2)
    counts = random.integers(20, 60, 20_000).astype(float)
    means = random.multivariate_normal(np.zeros(2), between, len(counts))
    means += random.standard_normal(means.shape) / np.sqrt(counts)[:, None]
    estimate, scale = estimate_between_items(means, counts, within)
    # The most distant items are left out, which takes about a tenth of the variance.
    np.testing.assert_allclose(estimate, between, rtol=0.2)
    assert scale == pytest.approx(1.0, abs=0.2)
