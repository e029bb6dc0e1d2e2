"""Limits of automatic flagging, and shops whose purchases have prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.anomaly.circuit_breaker import MIN_DAILY_FLAG_LIMIT, breaker_allows_flag, has_priced_purchases

USERS = st.integers(0, 10_000_000)
SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("flagged", "active", "expected"),
    [
        (0, 0, True),
        (99, 0, True),
        (100, 0, False),
        (99, 5_000, True),
        (100, 5_000, False),
        (100, 5_001, True),
        (1_999, 100_000, True),
        (2_000, 100_000, False),
    ],
)
def test_a_hundred_are_flagged_and_of_more_users_one_in_fifty(flagged: int, active: int, expected: bool) -> None:
    assert breaker_allows_flag(flagged, active, 0.02) is expected


@given(USERS, SHARES)
def test_so_many_may_be_flagged_of_however_few_users(active: int, share: float) -> None:
    assert breaker_allows_flag(MIN_DAILY_FLAG_LIMIT - 1, active, share)


@given(USERS, USERS, SHARES)
def test_once_open_it_stays_open_while_nobody_new_comes(flagged: int, active: int, share: float) -> None:
    if not breaker_allows_flag(flagged, active, share):
        assert not breaker_allows_flag(flagged + 1, active, share)
    else:
        assert breaker_allows_flag(flagged, active + 1, share)


@pytest.mark.parametrize(
    ("purchases", "priced", "expected"),
    [(0, 0, False), (99, 99, False), (100, 95, True), (100, 94, False), (2_000, 1_900, True), (2_000, 0, False)],
)
def test_a_shop_has_prices_if_nearly_all_of_its_purchases_do(purchases: int, priced: int, expected: bool) -> None:
    assert has_priced_purchases(purchases, priced) is expected
