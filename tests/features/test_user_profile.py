from datetime import UTC, datetime, timedelta
from math import log, sqrt

import polars as pl
import pytest

from features.user_profile import user_profile

HALF_LIFE = 10
TICK = 1 / 86_400_000_000  # a microsecond, in days


@pytest.fixture
def profile(make_items, make_users, as_of, row_of):
    def of(events: pl.LazyFrame, user: str, items: pl.LazyFrame | None = None, users: pl.LazyFrame | None = None):
        catalogue = make_items() if items is None else items
        known = make_users() if users is None else users
        return row_of(user_profile(events, catalogue, known, as_of, HALF_LIFE), user_id=user)

    return of


@pytest.fixture
def catalogue(make_items):
    return make_items(
        {"item_id": "x", "category": ["food", "bread"], "brand": "A", "price": 1.0},
        {"item_id": "w", "category": ["food", "bread"], "brand": "A", "price": 3.0},
        {"item_id": "y", "category": ["food", "milk"], "brand": "B", "price": 2.0},
        {"item_id": "z", "category": ["toys"]},
        {"item_id": "bare", "category": [], "price": 9.0},
    )


def test_windows_hold_what_is_at_most_so_many_days_old(make_events, profile):
    ages = [TICK, 1, 1 + TICK, 7, 7 + TICK, 30, 30 + TICK, 90, 90 + TICK]
    row = profile(make_events([("a", "view", "x", age) for age in ages] + [("a", "cart", "x", 5)]), "a")
    assert [row[f"views_{days}d"] for days in (1, 7, 30, 90)] == [2, 4, 6, 8]
    assert [row[f"carts_{days}d"] for days in (1, 7, 30, 90)] == [0, 1, 1, 1]
    assert [row[f"refund_lines_{days}d"] for days in (1, 7, 30, 90)] == [0, 0, 0, 0]
    assert row["events"] == 10


def test_events_of_each_name_are_counted_in_their_own_column(make_events, profile):
    names = ["view", "click", "cart", "purchase", "rating", "refund"]
    row = profile(make_events([("a", name, "x", 2) for n, name in enumerate(names) for _ in range(n + 1)]), "a")
    columns = ["views_7d", "clicks_7d", "carts_7d", "purchase_lines_7d", "ratings_7d", "refund_lines_7d"]
    assert [row[column] for column in columns] == [1, 2, 3, 4, 5, 6]


def test_as_of_itself_is_not_before_as_of(make_events, make_items, make_users, as_of):
    events = make_events([("a", "view", "x", TICK), ("a", "view", "y", 0), ("late", "view", "x", 0)])
    table = user_profile(events, make_items(), make_users(), as_of, HALF_LIFE).collect()
    assert table["user_id"].to_list() == ["a"]
    assert table["events"].to_list() == [1]
    assert table["last_at"].to_list() == [as_of - timedelta(microseconds=1)]


def test_impressions_are_not_the_users_doing(make_events, make_items, make_users, as_of):
    events = make_events([("a", "impression", "x", 1), ("b", "impression", "x", 3), ("b", "view", "x", 2)])
    table = user_profile(events, make_items(), make_users(), as_of, HALF_LIFE).collect()
    assert table["user_id"].to_list() == ["b"]
    assert table["first_at"].to_list() == [as_of - timedelta(days=2)]


def test_day_pattern(make_events, profile):
    # 2024-03-01 is a Friday; 1.5 days before is Wednesday noon, 2 days before Wednesday at midnight.
    events = make_events(
        [("a", "view", "x", 1.5), ("a", "view", "x", 1.5), ("a", "view", "x", 2), ("a", "view", "x", 5)]
    )
    row = profile(events, "a")
    assert row["hour_shares"] == [0.5 if hour in (0, 12) else 0 for hour in range(24)]
    assert row["weekday_shares"] == [0, 0, 0.75, 0, 0, 0, 0.25]


def test_sessions(make_events, profile):
    events = make_events(
        [
            ("a", "view", "x", 3, {"session_id": "s"}),
            ("a", "cart", "x", 3, {"session_id": "s"}),
            ("a", "view", "x", 1, {"session_id": "t"}),
            ("a", "view", "x", 1),
            ("b", "view", "x", 1),
        ]
    )
    row = profile(events, "a")
    assert (row["sessions"], row["events_per_session"]) == (2, 1.5)
    row = profile(events, "b")
    assert (row["sessions"], row["events_per_session"]) == (None, None)


@pytest.fixture
def orders(make_events):
    """An order of a session, one of a moment without sessions, and one line: 6 + unknown, 5 + 2, 4."""
    return make_events(
        [
            ("ü-user", "purchase", "x", 29, {"session_id": "s", "price": 2.0, "quantity": 3.0}),
            ("ü-user", "purchase", "y", 28.5, {"session_id": "s", "quantity": 1.0}),
            ("ü-user", "purchase", "x", 19, {"price": 5.0}),
            ("ü-user", "purchase", "z", 19, {"price": 1.0, "quantity": 2.0}),
            ("ü-user", "purchase", "z", 5, {"price": 4.0, "quantity": 1.0}),
            ("other", "purchase", "z", 4, {"session_id": "s"}),
            ("looker", "view", "z", 4),
        ]
    )


def test_orders(orders, profile):
    row = profile(orders, "ü-user")
    assert row["orders"] == 3
    assert row["recency_days"] == 5
    assert row["last_order_at"] == datetime(2024, 2, 25, tzinfo=UTC)
    assert row["spent"] == 17
    assert row["order_value_mean"] == pytest.approx(17 / 3)
    assert row["order_items_mean"] == pytest.approx(5 / 3)
    assert row["price_median"] == 3


def test_gaps_between_orders(orders, profile):
    row = profile(orders, "ü-user")
    assert row["order_gap_days_mean"] == 12
    assert row["order_gap_days_deviation"] == pytest.approx(sqrt(8))
    assert row["last_gap_days"] == 14


def test_one_order_has_no_gap_and_no_price_is_not_a_price_of_zero(orders, profile):
    row = profile(orders, "other")
    assert row["orders"] == 1
    unknown = ["order_gap_days_mean", "order_gap_days_deviation", "last_gap_days", "spent", "order_value_mean"]
    assert [row[name] for name in [*unknown, "price_median"]] == [None] * 6


def test_two_orders_have_a_gap_but_no_deviation(make_events, profile):
    row = profile(make_events([("a", "purchase", "x", 9), ("a", "purchase", "x", 2)]), "a")
    assert (row["order_gap_days_mean"], row["order_gap_days_deviation"]) == (7, None)


def test_who_never_bought_has_no_orders(orders, profile):
    row = profile(orders, "looker")
    assert row["orders"] == 0
    assert [row[name] for name in ["recency_days", "spent", "order_items_mean", "repeat_share"]] == [None] * 4


def test_affinity_is_the_share_of_decayed_weight_at_each_level(make_events, profile, catalogue):
    # Weights 5, 1, 3 at one, one and two half-lives: 2.5, 0.5 and 0.75.
    events = make_events(
        [("a", "purchase", "x", 10), ("a", "view", "y", 10), ("a", "cart", "z", 20), ("a", "view", "unlisted", 1)]
    )
    row = profile(events, "a", catalogue)
    assert [entry["path"] for entry in row["category_affinity"]] == [
        ["food"],
        ["toys"],
        ["food", "bread"],
        ["food", "milk"],
    ]
    shares = [entry["share"] for entry in row["category_affinity"]]
    assert shares == pytest.approx([0.8, 0.2, 2.5 / 3, 0.5 / 3])
    assert [entry["name"] for entry in row["brand_affinity"]] == ["A", "B"]
    assert [entry["share"] for entry in row["brand_affinity"]] == pytest.approx([2.5 / 3, 0.5 / 3])


def test_an_item_counts_for_each_of_its_category_paths(make_events, profile, make_items):
    items = make_items(
        {
            "item_id": "x",
            "category": ["food", "bread"],
            "categories": [["food", "bread"], ["sale"], ["food", "new"]],
        },
        {"item_id": "y", "category": ["toys"]},
    )
    row = profile(make_events([("a", "view", "x", 10), ("a", "view", "x", 10), ("a", "view", "y", 10)]), "a", items)
    assert [entry["path"] for entry in row["category_affinity"]] == [
        ["food"],
        ["sale"],
        ["toys"],
        ["food", "bread"],
        ["food", "new"],
    ]
    shares = [entry["share"] for entry in row["category_affinity"]]
    assert shares == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0.5, 0.5])


def test_what_was_given_back_is_no_affinity(make_events, profile, catalogue):
    events = make_events([("a", "purchase", "x", 10), ("a", "refund", "x", 5), ("a", "view", "bare", 5)])
    row = profile(events, "a", catalogue)
    assert (row["category_affinity"], row["brand_affinity"]) == (None, None)


def test_only_the_five_best_are_named_and_ties_go_by_name(make_events, profile, make_items):
    items = make_items(*({"item_id": name, "brand": name} for name in "gfedcba"))
    events = make_events([("u", "view", item, 1) for item in "gfedcba"] + [("u", "view", "g", 1)])
    row = profile(events, "u", items)
    assert [entry["name"] for entry in row["brand_affinity"]] == ["g", "a", "b", "c", "d"]
    assert [entry["share"] for entry in row["brand_affinity"]] == pytest.approx([2 / 8] + [1 / 8] * 4)


def test_variety_and_repeats(make_events, profile, catalogue):
    rows = [("a", "purchase", "x", days) for days in (1, 5, 9)] + [("a", "purchase", "y", 9)]
    rows += [("once", "view", "x", 1), ("same", "view", "x", 1), ("same", "view", "x", 2)]
    rows += [("twice", "purchase", "x", 3), ("twice", "purchase", "x", 3)]
    events = make_events(rows)
    row = profile(events, "a", catalogue)
    expected = (4 * log(4) - 3 * log(3)) / (4 * log(4))
    assert row["item_variety"] == pytest.approx(expected)
    assert row["category_variety"] == pytest.approx(expected)
    assert row["repeat_share"] == 0.5
    assert profile(events, "once", catalogue)["item_variety"] is None
    assert profile(events, "same", catalogue)["item_variety"] == 0
    assert profile(events, "twice", catalogue)["repeat_share"] == 0


def test_price_rank_is_the_mean_over_purchases_with_a_rank(make_events, profile, catalogue):
    # Of the two breads x is the cheaper, rank 0.25; w the dearer, 0.75; z and bare have no rank.
    events = make_events([("a", "purchase", item, 1) for item in ("x", "x", "w", "z", "bare")])
    assert profile(events, "a", catalogue)["price_rank_mean"] == pytest.approx(1.25 / 3)
    assert profile(make_events([("b", "purchase", "z", 1)]), "b", catalogue)["price_rank_mean"] is None


def test_attributes_are_joined_for_those_who_did_something(make_events, make_items, make_users, as_of):
    users = make_users({"user_id": "a", "attributes": '{"age": 30}'}, {"user_id": "idle", "attributes": "{}"})
    events = make_events([("a", "view", "x", 1), ("b", "view", "x", 1)])
    table = user_profile(events, make_items(), users, as_of, HALF_LIFE).collect()
    assert table.select("user_id", "attributes").rows() == [("a", '{"age": 30}'), ("b", None)]


def test_weights_of_the_shop_replace_the_usual_ones(make_events, make_items, make_users, as_of):
    items = make_items({"item_id": "x", "brand": "A"}, {"item_id": "y", "brand": "B"})
    events = make_events([("a", "wish", "x", 1), ("a", "view", "y", 1)])
    table = user_profile(events, items, make_users(), as_of, HALF_LIFE, {"wish": 3.0, "view": 1.0}).collect()
    assert [entry["share"] for entry in table["brand_affinity"][0]] == pytest.approx([0.75, 0.25])
