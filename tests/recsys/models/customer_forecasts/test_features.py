"""Test the features and targets of forecasts: known answers, and nothing of the other side of a cut."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.models.customer_forecasts.category_propensity import category_rates, ordered_after, pair_features
from recsys.models.customer_forecasts.cuts import after, before, training_cuts
from recsys.models.customer_forecasts.next_order import days_to_order
from recsys.models.customer_forecasts.order_features import order_features
from recsys.models.customer_forecasts.spend import mean_spend, spend_after

ORDERS = pl.DataFrame(
    {
        "user_id": ["a", "a", "a", "b"],
        "age_days": [40.0, 20.0, 6.5, 7.0],
        "amount": [10.0, None, 30.0, 5.0],
        "items": [1, 2, 3, 1],
    }
)


def test_features_of_two_users():
    a, b = order_features(ORDERS).rows(named=True)
    assert (a["recency"], a["tenure"], a["orders"], a["orders_28d"]) == (6.5, 40, 3, 2)
    assert (a["gap_median"], a["gap_mean"], a["gap_last"]) == (16.75, 16.75, 13.5)
    assert (a["spent"], a["spent_28d"], a["order_amount"], a["last_order_items"]) == (40, 30, 20, 3)
    assert b["gap_median"] is None
    # Seven days before midnight is the weekday of the first day after it; half a day later too.
    assert (b["weekday_share_0"], a["weekday_share_0"]) == (1, pytest.approx(1 / 3))


def test_what_followed_a_cut():
    past = order_features(before(ORDERS, 7))
    assert past["user_id"].to_list() == ["a"]
    users = pl.Series("user_id", ["a", "b", "c"])
    assert days_to_order(ORDERS, users, 7).tolist() == [0.5, 0, np.inf]
    assert spend_after(ORDERS, users, 20, 10).tolist() == [0, 0, 0]  # the order of day 0 has no price
    assert spend_after(ORDERS, users, 20, 14).tolist() == [30, 5, 0]
    assert mean_spend(order_features(ORDERS), 90).tolist() == [90, 90 * 5 / 28]


def test_categories_of_pairs():
    lines = pl.DataFrame(
        {"user_id": ["a", "a", "b"], "age_days": [40.0, 20.0, 7.0], "category": ["tea", "tea", "jam"]}
    )
    past = before(lines, 10)
    features = order_features(before(ORDERS, 10))
    pairs = pair_features(features, past, category_rates(past, 1, ("jam", "tea")))
    assert pairs.select("user_id", "category", "category_orders", "past_share").rows() == [
        ("a", "jam", 0, 0),
        ("a", "tea", 2, 1),
    ]
    assert ordered_after(pairs, lines, 25, 10).tolist() == [False, True]
    assert ordered_after(pairs, lines, 25, 4).tolist() == [False, False]


@pytest.mark.parametrize(
    ("days", "horizon", "expected"),
    [
        (365, 90, (91, 98, 112, 119, 133, 147, 154, 168, 182)),
        (56, 28, (28,)),
        (55, 28, ()),
        (118, 90, ()),
        (119, 90, (91,)),
        (10, 7, ()),
    ],
)
def test_cuts_leave_time_before_and_after(days: float, horizon: float, expected: tuple[int, ...]):
    assert training_cuts(days, horizon, 9) == expected


@settings(max_examples=20)
@given(
    ages=st.lists(st.floats(0.001, 60), min_size=1, max_size=30),
    later=st.lists(st.floats(0.001, 28), max_size=10),
    seed=st.integers(0, 5),
)
def test_features_never_look_past_the_cut_and_targets_never_before_it(
    ages: list[float], later: list[float], seed: int
):
    cut = 28.0
    users = np.random.default_rng(seed).integers(3, size=len(ages) + len(later))
    table = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in users],
            "age_days": [age + cut for age in ages] + later,
            "amount": np.arange(float(len(users))),
            "items": np.ones(len(users), int),
        }
    )
    earlier = table.head(len(ages))
    assert order_features(before(table, cut)).equals(order_features(before(earlier, cut)))
    future = table.tail(len(later))
    everyone = table["user_id"].unique().sort()
    assert days_to_order(table, everyone, cut).tolist() == days_to_order(future, everyone, cut).tolist()
    assert spend_after(table, everyone, cut, 7).tolist() == spend_after(future, everyone, cut, 7).tolist()
    assert (after(table, cut)["age_days"] >= 0).all()
