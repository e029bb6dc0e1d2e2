import numpy as np
import pytest

from recsys.anomaly.attacks import (
    APART_DAYS,
    BURST_DAYS,
    CLICK_BURST,
    COATTAIL,
    COATTAIL_CLICKS,
    DILUTED,
    FARM_ITEMS,
    HOT_ITEMS,
    KINDS,
    MIXED,
    PUSHED_PER_ACCOUNT,
    REVERSE_BANDWAGON,
    SEGMENT,
    SESSION_DAYS,
    SLOW_FARM,
    SLOW_MIXED,
    SPREAD_DAYS,
    Attack,
    draw_attack,
)
from tests.recsys.anomaly.graphs import draw_customers

SHOP = draw_customers(400, 300, 4, 12, seed=0)
ACCOUNTS = 25
HIDDEN = (MIXED, SLOW_MIXED, DILUTED)


def profiles_of(attack: Attack) -> list[set[int]]:
    return [set(attack.item_rows[attack.account_rows == account].tolist()) for account in range(attack.accounts)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_attack_has_the_requested_size_and_is_the_same_for_the_same_seed(kind: str) -> None:
    one, again, other = (draw_attack(kind, SHOP, ACCOUNTS, 300, seed) for seed in (1, 1, 2))
    assert set(one.account_rows.tolist()) == set(range(ACCOUNTS))
    assert len(one.account_rows) == len(one.item_rows) == len(one.age_days)
    np.testing.assert_array_equal(one.item_rows, again.item_rows)
    np.testing.assert_array_equal(one.age_days, again.age_days)
    assert not np.array_equal(one.item_rows, other.item_rows)
    assert (one.age_days >= 0).all()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {SLOW_FARM, DILUTED}))
def test_every_account_wants_the_target_which_some_users_had(kind: str) -> None:
    attack = draw_attack(kind, SHOP, ACCOUNTS, 300, seed=3)
    assert all(attack.target in profile for profile in profiles_of(attack))
    users = np.bincount(SHOP.indices, minlength=SHOP.shape[1])
    assert 3 <= users[attack.target] <= np.median(users[users >= 3])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {SLOW_FARM, CLICK_BURST, COATTAIL, *HIDDEN}))
def test_profiles_are_as_long_as_those_of_the_middle_half_of_users(kind: str) -> None:
    sizes = np.diff(SHOP.indptr)
    for profile in profiles_of(draw_attack(kind, SHOP, ACCOUNTS, 300, seed=4)):
        assert len(profile) <= np.quantile(sizes, 0.75)
    lengths = [len(profile) for profile in profiles_of(draw_attack(kind, SHOP, ACCOUNTS, 300, seed=4))]
    assert np.median(lengths) >= np.quantile(sizes, 0.25) - 2  # an item drawn twice is one


def test_a_segment_attack_takes_what_the_targets_users_have() -> None:
    attack = draw_attack(SEGMENT, SHOP, ACCOUNTS, 300, seed=5)
    random = draw_attack(REVERSE_BANDWAGON, SHOP, ACCOUNTS, 300, seed=5)

    def together(one: Attack) -> float:
        users = SHOP[:, [one.target]].tocsc().indices
        neighbors = set(SHOP[users].indices.tolist())
        return float(np.mean([len(profile & neighbors) / len(profile) for profile in profiles_of(one)]))

    assert together(attack) > together(random) + 0.1


def test_a_coattail_account_clicks_hot_items_once_and_the_target_often() -> None:
    attack = draw_attack(COATTAIL, SHOP, ACCOUNTS, 300, seed=6)
    hot = np.argsort(-np.bincount(SHOP.indices, minlength=SHOP.shape[1]), kind="stable")[:HOT_ITEMS]
    for account in range(ACCOUNTS):
        items = attack.item_rows[attack.account_rows == account]
        assert (items == attack.target).sum() == COATTAIL_CLICKS
        assert set(items.tolist()) - {attack.target} <= set(hot.tolist())


def test_a_burst_is_over_in_a_minute() -> None:
    attack = draw_attack(CLICK_BURST, SHOP, ACCOUNTS, 300, seed=7)
    assert np.ptp(attack.age_days) <= BURST_DAYS
    assert set(attack.item_rows.tolist()) == {attack.target}


def test_a_farm_hides_some_of_its_items_under_five_times_as_many() -> None:
    attack = draw_attack(SLOW_FARM, SHOP, 200, 300, seed=8)
    result = profiles_of(attack)
    farm = {item for item in range(SHOP.shape[1]) if sum(item in profile for profile in result) > 60}
    assert attack.target in farm
    assert np.mean([len(profile) for profile in result]) > 3 * FARM_ITEMS / 2
    assert np.ptp(attack.age_days) > 30


def test_profiles_come_within_a_week_each_in_one_session() -> None:
    attack = draw_attack(SEGMENT, SHOP, ACCOUNTS, 300, seed=9)
    assert attack.age_days.max() <= SPREAD_DAYS + 0.02
    for account in range(ACCOUNTS):
        assert np.ptp(attack.age_days[attack.account_rows == account]) <= 0.02


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_hidden_account_is_half_a_customer_and_several_items_of_the_target_s_users(kind: str) -> None:
    attack = draw_attack(kind, SHOP, ACCOUNTS, 300, seed=10)
    customers = [set(SHOP[user].indices.tolist()) for user in range(SHOP.shape[0])]
    neighbors = set(SHOP[SHOP[:, [attack.target]].tocsc().indices].indices.tolist())
    least = PUSHED_PER_ACCOUNT[0]
    for profile in profiles_of(attack):
        assert attack.target in profile
        assert len(profile & neighbors) > least
        assert max(len(profile & customer) for customer in customers) >= 4


def test_a_diluted_attack_has_many_genuine_users() -> None:
    attack = draw_attack(DILUTED, SHOP, ACCOUNTS, 300, seed=11)
    users = np.bincount(SHOP.indices, minlength=SHOP.shape[1])
    assert users[attack.target] > 2 * np.median(users)


def test_mixed_accounts_come_days_apart_and_slow_ones_on_two_days() -> None:
    mixed, slow = (draw_attack(kind, SHOP, ACCOUNTS, 300, seed=12) for kind in (MIXED, SLOW_MIXED))
    starts = [mixed.age_days[mixed.account_rows == account].min() for account in range(ACCOUNTS)]
    np.testing.assert_allclose(np.diff(starts), APART_DAYS, atol=SESSION_DAYS)
    for account in range(ACCOUNTS):
        assert np.ptp(slow.age_days[slow.account_rows == account]) == pytest.approx(APART_DAYS, abs=SESSION_DAYS)
    short = draw_attack(MIXED, SHOP, ACCOUNTS, 10, seed=12)
    assert short.age_days.max() <= 10
