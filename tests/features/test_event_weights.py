"""What quantities, values, ratings and dislikes say."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from features.event_weights import EventRules, sum_ratings, summarize_ratings, weigh_events
from features.events import load_events
from features.interactions import interactions_from_pairs
from features.pairs import user_item_pairs
from recsys.schema import DEFAULT_WEIGHTS

MakeFrame = Callable[..., pl.LazyFrame]
WEIGHTS = {**DEFAULT_WEIGHTS, "dislike": -3.0, "watch": 2.0, "remove_from_cart": -1.0}


def weights(events: pl.LazyFrame, as_of: datetime, rules: EventRules) -> list[float]:
    """Return the weight of each event, in order of their ids."""
    table = weigh_events(load_events(events, as_of), rules).sort("event_id").collect()
    return [round(weight, 6) for weight in table["weight"]]


def confidence(events: pl.LazyFrame, as_of: datetime, rules: EventRules) -> dict[str, float]:
    """Return the confidence of each item, without decay."""
    weighed = weigh_events(load_events(events, as_of), rules)
    pairs = user_item_pairs(weighed, as_of, 1e12, rules.weights)
    return {
        item: round(sum_, 6)
        for item, sum_ in interactions_from_pairs(pairs).collect()["item_id", "confidence"].rows()
    }


def with_ratings(events: pl.LazyFrame, rules: EventRules) -> EventRules:
    return replace(rules, shop_ratings=summarize_ratings(sum_ratings(events, rules.rating_events).collect()))


@pytest.mark.parametrize(("quantity_weight", "expected"), [("none", 5.0), ("log", 10.0), ("linear", 15.0)])
def test_the_quantity_counts_as_the_setting_says(
    make_events: MakeFrame, as_of: datetime, quantity_weight: Any, expected: float
):
    rows = [("a", "purchase", "x", 1, {"quantity": 3.0}), ("a", "purchase", "one", 1), ("a", "view", "v", 1)]
    rules = EventRules(quantity_weight=quantity_weight, matches_returns=True)
    assert confidence(make_events(rows), as_of, rules) == {"x": expected, "one": 5.0, "v": 1.0}


def test_a_value_is_weighed_between_the_points(make_events: MakeFrame, as_of: datetime):
    values = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, None)
    rows = [("a", "watch", f"i{place}", 1, {"value": value}) for place, value in enumerate(values)]
    rules = EventRules(WEIGHTS, value_weights={"watch": ((0.1, 0.0), (0.5, 0.5), (0.9, 1.0))})
    assert weights(make_events(rows), as_of, rules) == [0, 0, 0.25, 0.5, 0.75, 1, 1, 2]


def test_ratings_are_compared_with_the_mean_of_the_user(make_events: MakeFrame, as_of: datetime):
    # The shop's ratings are 5, 3, 1 and 5 ten times and 3: mean 62 / 14, standard deviation 1.1.
    rows = [
        ("a", "rating", "x", 3, {"value": 5.0}),
        ("a", "rating", "y", 3, {"value": 3.0}),
        ("a", "rating", "z", 3, {"value": 1.0}),
        *(("b", "rating", f"i{item}", 3, {"value": 5.0}) for item in range(10)),
        ("c", "rating", "x", 3, {"value": 4.0}),
        ("c", "rating", "none", 3),
    ]
    events = make_events(rows)
    rules = with_ratings(events, EventRules(rating_events=["rating"]))
    shop = rules.shop_ratings.row(0, named=True)
    assert (shop["mean"], shop["deviation"]) == pytest.approx((63 / 14, 1.1180), abs=1e-3)
    # a's mean is (9 + 5 * 4.5) / 8 = 3.94: 3 is below it by less than a deviation, 1 by more.
    # b's is (50 + 22.5) / 15 = 4.83, c's (4 + 22.5) / 6 = 4.42.
    assert weights(events, as_of, rules) == [3, 0, -3, *[3] * 10, 0, 3]


def test_ratings_of_a_shop_that_gives_only_one_value_are_positive(make_events: MakeFrame, as_of: datetime):
    rows = [(user, "rating", item, 3, {"value": 5.0}) for user, item in (("a", "x"), ("a", "y"), ("b", "x"))]
    events = make_events(rows)
    assert weights(events, as_of, with_ratings(events, EventRules(rating_events=["rating"]))) == [3, 3, 3]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.booleans()), min_size=1, max_size=25))
def test_a_rating_below_the_shrunk_mean_is_never_positive(
    make_events: MakeFrame, as_of: datetime, ratings: list[tuple[str, int, bool]]
):
    """Compare with means that are worked out one by one; ratings from the moment on are drawn too."""
    rows = [
        (user, "rating", f"i{number}", 0 if is_late else 3, {"value": float(stars)})
        for number, (user, stars, is_late) in enumerate(ratings)
    ]
    known = [(user, stars) for user, stars, is_late in ratings if not is_late]
    assume(known)
    rules = EventRules(rating_events=["rating"])
    events = make_events(rows)
    before = events.filter(pl.col("timestamp") < as_of)
    found = weights(events, as_of, replace(rules, shop_ratings=with_ratings(before, rules).shop_ratings))
    shop = sum(stars for _, stars in known) / max(1, len(known))
    own = {user: [stars for other, stars in known if other == user] for user, _ in known}
    means = {user: (sum(stars) + 5 * shop) / (len(stars) + 5) for user, stars in own.items()}
    assert [weight > 0 for weight in found] == [stars >= means[user] - 1e-9 for user, stars in known]


def test_ratings_from_the_moment_on_change_nothing(make_events: MakeFrame, as_of: datetime):
    rows = [("a", "rating", item, 3, {"value": value}) for item, value in (("x", 5.0), ("y", 2.0))]
    later = [("a", "rating", "z", 0, {"value": 1.0})] * 9
    rules = with_ratings(make_events(rows), EventRules(rating_events=["rating"]))
    assert weights(make_events([*rows, *later]), as_of, rules) == weights(make_events(rows), as_of, rules) == [3, 0]


def test_the_latest_word_on_an_item_counts(make_events: MakeFrame, as_of: datetime):
    rows = [
        ("a", "purchase", "x", 9),
        ("a", "dislike", "x", 8),
        ("a", "view", "x", 7),
        ("a", "dislike", "y", 9),
        ("a", "purchase", "y", 8),
        ("a", "view", "z", 9),
        ("a", "remove_from_cart", "z", 8),
        ("b", "view", "x", 9),
    ]
    rules = EventRules(WEIGHTS, negative_events=["dislike"])
    assert weights(make_events(rows), as_of, rules) == [0, -3, 0, 0, 5, 1, -1, 1]
    assert confidence(make_events(rows).filter(user_id="a"), as_of, rules) == {"x": -3, "y": 5, "z": 0}


def test_a_purchase_that_was_returned_takes_no_dislike_back(make_events: MakeFrame, as_of: datetime):
    rows = [("a", "dislike", "x", 9), ("a", "purchase", "x", 8), ("a", "refund", "x", 7)]
    rules = EventRules(WEIGHTS, negative_events=["dislike"], matches_returns=True)
    assert weights(make_events(rows), as_of, rules) == [-3, 0, 0]


def test_names_alone_leave_events_as_they_are(make_events: MakeFrame, as_of: datetime):
    events = load_events(make_events([("a", "purchase", "x", 9), ("a", "view", "y", 9)]), as_of)
    assert weigh_events(events, EventRules(matches_returns=True)) is events
