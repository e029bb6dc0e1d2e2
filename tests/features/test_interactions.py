from datetime import timedelta

import polars as pl
import pytest

from features.events import MAX_AMOUNT, exact_sum
from features.interactions import interactions, sequences
from recsys.schema import DEFAULT_WEIGHTS

HALF_LIFE = 10


@pytest.fixture
def rows():
    return [
        ("b", "view", "x", 20),
        ("a", "purchase", "y", 10),
        ("a", "purchase", "y", 9.8),
        ("a", "view", "y", 20),
        ("a", "impression", "y", 30),
        ("a", "impression", "z", 1),
        ("a", "refund", "x", 10),
        ("a", "nod", "x", 1),
        ("a", "view", "w", 0),
    ]


def test_one_row_a_user_and_item_with_what_is_left_of_the_weights(make_events, rows, as_of):
    table = interactions(make_events(rows), as_of, DEFAULT_WEIGHTS, HALF_LIFE).collect(engine="streaming")
    assert table.select("user_id", "item_id", "events", "purchase_days").rows() == [
        ("a", "x", 1, 0),
        ("a", "y", 3, 1),
        ("b", "x", 1, 0),
    ]
    assert table["confidence"].to_list() == pytest.approx([-2.5, 2.5 + 5 * 0.5**0.98 + 0.25, 0.25])
    bought = table.row(1, named=True)
    assert bought["first_at"] == as_of - timedelta(days=20)
    assert bought["last_at"] == as_of - timedelta(days=9.8)


def test_events_the_settings_add_count_with_their_weight(make_events, as_of):
    events = make_events([("a", "wish", "x", 10), ("a", "view", "x", 10)])
    table = interactions(events, as_of, {"wish": 8.0, "view": 0.0}, HALF_LIFE).collect()
    assert table.select("confidence", "events").rows() == [(4.0, 1)]


def test_purchase_days_are_days_of_utc(make_events, as_of):
    # 0.1 and 0.9 days before midnight lie in one day, 1.1 in the day before.
    events = make_events([("a", "purchase", "x", days) for days in (0.1, 0.9, 1.1)])
    table = interactions(events, as_of, DEFAULT_WEIGHTS, HALF_LIFE).collect()
    assert table["purchase_days"].to_list() == [2]


def test_sequences_are_in_order_of_user_time_and_event_id(make_events, rows, as_of):
    events = make_events([*rows, ("a", "view", "last", 9.8), ("a", "cart", "y", 10)]).sort(
        "event_id", descending=True
    )
    table = sequences(events, as_of, DEFAULT_WEIGHTS).collect(engine="streaming")
    assert table.select("user_id", "item_id", "event", "weight").rows() == [
        ("a", "y", "view", 1),
        ("a", "y", "purchase", 5),
        ("a", "x", "refund", -5),
        ("a", "y", "cart", 3),
        ("a", "y", "purchase", 5),
        ("a", "last", "view", 1),
        ("b", "x", "view", 1),
    ]


def test_exact_sums_do_not_depend_on_order():
    amounts = pl.Series("amount", [1e11, 0.1, 1e-9, 1 / 3, -1e11] * 7)
    sums = {
        amounts.shuffle(seed).to_frame().select(exact_sum(pl.col("amount")).cast(pl.Float64)).item()
        for seed in range(9)
    }
    assert len(sums) == 1
    assert sums.pop() == pytest.approx(7 * (0.1 + 1e-9 + 1 / 3))


def test_exact_sums_leave_out_what_is_unknown_or_absurd():
    amounts = pl.DataFrame({"amount": [1.5, None, float("nan"), float("inf"), MAX_AMOUNT * 2]})
    assert amounts.select(exact_sum(pl.col("amount")).cast(pl.Float64)).item() == 1.5
