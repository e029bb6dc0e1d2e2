import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.trust import (
    NEW_TRUST,
    one_event_per_day,
    trust_from_active_days,
    trusted_counts,
    trusted_item_counts,
    user_trust,
)

AMOUNT = st.floats(1e-6, 1e6)
AMOUNTS = st.lists(st.tuples(AMOUNT | st.just(0.0), st.floats(NEW_TRUST, 1)), min_size=1, max_size=20)
# A user, an item, and the age in half days: several events a day, and whole days of age.
EVENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 9)), max_size=30)


def test_trust_grows_with_the_days_before_the_latest():
    trust = trust_from_active_days(np.array([0, 1, 2, 5, 9, 200]))
    second_day, left = 0.5 ** (1 / 64), 255 / 256
    assert trust == pytest.approx([1 / 256, 1 / 256, 1 - left * second_day, 1 - left / 2, 1 - left / 256, 1])
    assert trust[2] < 0.02
    assert (np.diff(trust) >= 0).all()
    assert trust.max() <= 1


def test_days_end_at_the_moment_and_at_whole_days_before():
    rows = np.array([0, 0, 0, 1, 1, 3], np.int32)
    ages = np.array([1.5, 1.0, 0.5, 2.0, 0.2, 7.0])
    assert user_trust(rows, ages, 4) == pytest.approx(trust_from_active_days(np.array([2, 2, 0, 1])))


@given(EVENTS)
def test_once_a_day_keeps_the_latest_event_of_a_user_item_and_day(drawn: list[tuple[int, int, int]]):
    events = sorted(drawn, key=lambda event: (event[0], -event[2]))
    users, items, half_days = (
        (np.array(column, np.int32) for column in zip(*events, strict=True))
        if events
        else (np.zeros(0, np.int32) for _ in range(3))
    )
    kept = one_event_per_day(users, items, half_days / 2)
    latest: dict[tuple[int, int, int], float] = {}
    for user, item, age in events:
        key = (user, item, (age + 1) // 2)
        latest[key] = min(latest.get(key, np.inf), age)
    result = {(int(users[n]), int(items[n]), (int(half_days[n]) + 1) // 2): int(half_days[n]) for n in kept}
    assert result == latest
    assert len(kept) == len(latest)


def test_an_items_sum_is_what_trusted_users_give_scaled_up_and_no_more_than_all_give():
    # Mean trust is (4 * 1 + 0 + 2 * 0.5) / 10 = 0.5.
    assert trusted_counts(np.array([4.0, 4.0, 2.0]), np.array([4.0, 0.0, 1.0])).tolist() == [4, 0, 2]


def test_sums_of_items():
    rows = np.array([0, 1, 0, 2], np.int32)
    result = trusted_item_counts(rows, np.array([2.0, 4.0, 2.0, 2.0]), np.array([1.0, 0.0, 1.0, 0.5]), 4)
    assert result.tolist() == [4, 0, 2, 0]


@given(AMOUNTS)
def test_nothing_counts_more_than_all_users_give(drawn: list[tuple[float, float]]):
    amounts, trust = np.array(drawn).T
    counted = trusted_counts(amounts, amounts * trust)
    assert (counted <= amounts).all()
    assert (counted >= 0).all()


@given(st.lists(AMOUNT, min_size=1, max_size=20))
def test_where_all_users_are_new_nothing_changes_to_the_bit(drawn: list[float]):
    amounts = np.array(drawn)
    assert trusted_counts(amounts, amounts * NEW_TRUST).tolist() == amounts.tolist()
    assert trusted_counts(amounts, amounts * 0).tolist() == amounts.tolist()
