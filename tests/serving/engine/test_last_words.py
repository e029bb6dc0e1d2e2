"""What a session says of an item in the end, and that the night says the same of the same events."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.event_weights import EventRules, is_disliked, value_weight, weigh_events
from features.events import load_events
from recsys.anomaly.acts import Act
from recsys.contract import Events
from recsys.schema import DEFAULT_WEIGHTS
from serving.engine.last_words import disliked_items, without_returned
from serving.intake.sessions import weigh_value

NEGATIVE = {"dislike": -3.0, "hide": -1.0}
WEIGHTS = DEFAULT_WEIGHTS | NEGATIVE
RULES = EventRules(WEIGHTS, negative_events=NEGATIVE, matches_returns=True)
AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
POINTS = ((0.1, 0.0), (0.5, 0.5), (0.9, 2.0))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["view", "cart", "purchase", "purchase", "refund", "dislike", "hide"]),
        st.sampled_from(["x", "y"]),
        st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]),
        st.integers(0, 1),
    ),
    max_size=10,
)


def acts(*steps: tuple[str, str] | tuple[str, str, float]) -> list[Act]:
    """Return acts (event, item, quantity), earliest first in the arguments and latest first in the list."""
    return [Act(place, item, event, *quantity) for place, (event, item, *quantity) in reversed([*enumerate(steps)])]


def disliked(*steps: tuple[str, str], before: str = "", since: int = 0) -> str:
    return "".join(sorted(disliked_items(acts(*steps), NEGATIVE, WEIGHTS, frozenset(before), since)))


def test_a_dislike_holds_until_an_event_of_its_weight():
    assert disliked(("view", "x"), ("dislike", "x"), ("view", "x")) == "x"
    assert disliked(("dislike", "x"), ("purchase", "x"), ("dislike", "y")) == "y"
    assert disliked(("hide", "x"), ("view", "x")) == ""
    assert disliked(("dislike", "x"), ("purchase", "x"), ("refund", "x")) == "x"
    assert disliked(("view", "x")) == ""


def test_a_dislike_of_the_night_before_holds_until_a_later_event():
    assert disliked(before="x") == "x"
    assert disliked(("purchase", "x"), ("view", "x"), before="x", since=1) == "x"
    assert disliked(("view", "x"), ("purchase", "x"), before="x", since=1) == ""


def test_a_purchase_counts_until_all_of_it_is_returned():
    kept = without_returned(acts(("purchase", "x", 3.0), ("refund", "x", 2.0), ("purchase", "y"), ("refund", "y")))
    assert [(act.event, act.item_id) for act in kept] == [("refund", "y"), ("refund", "x"), ("purchase", "x")]


def test_a_return_of_several_units_takes_the_latest_purchases() -> None:
    bought = (("purchase", "x", 2.0), ("purchase", "x", 1.0), ("purchase", "x", 1.0))
    kept = without_returned(acts(*bought, ("refund", "x", 2.0)))
    assert [act.quantity for act in kept if act.event == "purchase"] == [2.0]


@pytest.mark.parametrize("value", [-1.0, 0.1, 0.2, 0.5, 0.6, 0.9, 7.0])
def test_night_and_server_weigh_a_value_alike(value: float):
    (by_night,) = pl.select(pl.lit(value).alias("value")).select(value_weight(POINTS)).row(0)
    assert weigh_value(value, POINTS) == by_night


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_night_and_server_agree(steps: list[tuple[str, str, float, int]]):
    rows, session, at = list[dict[str, object]](), list[Act](), 0
    for place, (event, item, quantity, pause) in enumerate(steps):
        at += pause
        session.append(Act(at, item, event, quantity))
        moment = AS_OF - timedelta(days=1) + timedelta(milliseconds=at)
        row = {"event_id": f"{place:03d}", "user_id": "a", "item_id": item, "event": event}
        rows.append({**row, "quantity": quantity or None, "timestamp": moment})
    events = pl.DataFrame(rows, schema=Events.create_empty().schema).lazy()
    table = weigh_events(load_events(events, AS_OF), RULES).collect()
    latest_first = session[::-1]
    kept = [act for act in without_returned(latest_first) if act.event == "purchase"]
    assert sorted(act.item_id for act in kept) == sorted(table.filter(event="purchase")["item_id"])
    by_night = set(table.filter(is_disliked(NEGATIVE, ()))["item_id"]) if "weight" in table.columns else set()
    assert disliked_items(latest_first, NEGATIVE, WEIGHTS) == by_night
