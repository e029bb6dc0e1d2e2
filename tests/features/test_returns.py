"""Returns take back what they return, the latest purchases first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.event_weights import EventRules
from features.events import load_events
from features.returns import take_back_returns
from features.tables import feature_tables
from recsys.contract import Events, Items, Users

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
RULES = EventRules(matches_returns=True)
QUANTITIES = st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 7.0])
STEPS = st.lists(
    st.tuples(st.sampled_from(["purchase", "purchase", "refund", "view"]), QUANTITIES, st.sampled_from(["x", "y"])),
    max_size=12,
)


def frame(steps: list[tuple[str, float | None, str]], user: str = "a") -> pl.LazyFrame:
    """Return the steps of a user (event, quantity, item), one an hour, as events."""
    rows: list[dict[str, Any]] = [
        {
            "event_id": f"{place:03d}",
            "user_id": user,
            "item_id": item,
            "event": event,
            "quantity": quantity,
            "price": 10.0,
            "timestamp": AS_OF - timedelta(hours=len(steps) - place),
        }
        for place, (event, quantity, item) in enumerate(steps)
    ]
    return pl.DataFrame(rows, schema=Events.create_empty().schema).lazy()


def units(steps: list[tuple[str, float | None, str]]) -> list[float]:
    """Return the units left of each purchase."""
    events = take_back_returns(load_events(frame(steps), AS_OF)).sort("event_id").collect()
    bought = events.filter(pl.col("event").is_in(["purchase", "returned purchase"]))
    return [
        0.0 if event != "purchase" else quantity or 1.0 for event, quantity in bought["event", "quantity"].rows()
    ]


def one_by_one(steps: list[tuple[str, float | None, str]]) -> list[float]:
    """Return the same from a stack of purchases for each item."""
    left: list[float] = []
    stacks: dict[str, list[int]] = {"x": [], "y": []}
    latest = {"x": 1.0, "y": 1.0}
    for event, quantity, item in steps:
        if event == "purchase" and quantity != 0:
            latest[item] = 1.0 if quantity is None else quantity
            stacks[item].append(len(left))
            left.append(latest[item])
        elif event == "refund":
            rest = quantity or latest[item]
            for place in reversed(stacks[item]):
                taken = min(rest, left[place])
                left[place], rest = left[place] - taken, rest - taken
    return [number if number > 1e-9 else 0.0 for number in left]


def test_a_return_leaves_the_rest_of_the_latest_purchase():
    assert units([("purchase", 3, "x"), ("refund", 2, "x")]) == [1]
    assert units([("purchase", 3, "x"), ("purchase", 1, "x"), ("refund", 2, "x")]) == [2, 0]
    assert units([("purchase", 3, "x"), ("refund", None, "x")]) == [0]
    assert units([("refund", 2, "x"), ("purchase", 3, "x"), ("refund", 1, "y")]) == [3]
    assert units([("purchase", 2, "x"), ("refund", 9, "x"), ("purchase", 2, "x")]) == [0, 2]


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_units_left_are_what_was_bought_less_what_was_returned(steps: list[tuple[str, float | None, str]]):
    left = units(steps)
    assert min(left, default=0) >= 0
    assert [round(number, 9) for number in left] == [round(number, 9) for number in one_by_one(steps)]


def tables(events: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    """Return the feature tables of one bucket with the returns taken back, without decay."""
    items = pl.DataFrame([{"item_id": "x"}, {"item_id": "y"}], schema=Items.create_empty().schema)
    parts = feature_tables([events], items.lazy(), Users.create_empty().lazy(), AS_OF, 1e9, RULES, min_users=1)
    return {name.partition("/")[0]: table.collect() for part in parts for name, table in part.items()}


def test_weight_orders_and_revenue_follow():
    steps = [
        ("purchase", 3, "x"),
        ("refund", 2, "x"),
        ("purchase", 1, "y"),
        ("refund", 1, "y"),
        ("view", None, "x"),
    ]
    found = tables(frame(steps))
    profile = found["user_profile"].row(0, named=True)
    assert (profile["orders"], profile["spent"], profile["purchase_lines_7d"], profile["refund_lines_7d"]) == (
        1,
        10.0,
        1,
        2,
    )
    confidence = {item: round(weight, 3) for item, weight in found["interactions"]["item_id", "confidence"].rows()}
    assert confidence == {"x": 6.0, "y": 0.0}
    assert found["sequences"].filter(event="purchase")["item_id"].to_list() == ["x"]
    assert found["item_features"]["item_id", "buyers", "events"].rows() == [("x", 1, 2), ("y", 0, 0)]


def test_a_purchase_of_quantity_0_counts_for_nothing():
    found = tables(frame([("purchase", 0, "x"), ("view", 0, "x"), ("purchase", 2, "y"), ("purchase", 0, "z")]))
    profile = found["user_profile"].row(0, named=True)
    assert (profile["orders"], profile["purchase_lines_7d"], profile["views_7d"]) == (1, 1, 1)
    assert found["interactions"]["item_id", "confidence"].rows() == [
        ("x", pytest.approx(1)),
        ("y", pytest.approx(5)),
    ]
    assert found["sequences"].filter(event="purchase")["item_id"].to_list() == ["y"]
    assert found["item_features"]["item_id", "buyers"].rows() == [("x", 0), ("y", 1)]


def test_the_refund_rate_counts_those_who_returned_everything():
    returned, kept = frame([("purchase", 1, "x"), ("refund", 1, "x")]), frame([("purchase", 1, "x")], "b")
    row = tables(pl.concat([returned, kept]))["item_features"].row(0, named=True)
    assert (row["buyers"], row["refund_rate"]) == (1, 0.5)
