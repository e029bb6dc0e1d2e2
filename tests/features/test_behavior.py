from datetime import datetime
from math import log, sqrt
from typing import Any

import polars as pl
import pytest

from features.behavior import BEHAVIOR, behavior
from features.behavior_partials import ip_counts, item_counts

SECOND = 1 / 86_400
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


@pytest.fixture
def row(make_events, as_of: datetime, row_of):
    def of(rows: list[tuple[Any, ...]], user: str = "a") -> dict[str, Any]:
        events = make_events(rows)
        table = behavior(events, as_of, item_counts(events, as_of), ip_counts(events, as_of))
        return row_of(table, user_id=user)

    return of


def test_the_most_events_are_counted_in_any_minute_and_hour_not_in_those_of_the_clock(row):
    # Midnight, when `as_of` is, parts the first five from the last two: ages in seconds from the day before.
    at = [30, 20, 10, 5, 5, -20, -29, -30]
    events = [("a", "view", f"i{n}", 1 + age * SECOND) for n, age in enumerate(at)]
    result = row([*events, ("a", "view", "late", 1 - HOUR), ("b", "view", "x", 1)])
    assert result["most_in_minute"] == 7  # that at 30 s after midnight is a whole minute after the first
    assert result["most_in_hour"] == 8
    assert result["most_items_in_minute"] == 5
    assert result["events"] == 9


def test_users_who_follow_each_other_in_the_table_share_no_minute(row):
    events = [(user, "view", "x", 1 - n * SECOND) for user in "ab" for n in range(3)]
    assert [row(events, user)["most_in_hour"] for user in "ab"] == [3, 3]


def test_gaps_of_a_clock(row):
    result = row([("a", "view", "x", 1 - 10 * n * SECOND) for n in range(5)])
    assert result["log_gap_mean"] == pytest.approx(log(10))
    assert result["log_gap_deviation"] == pytest.approx(0, abs=1e-6)
    assert result["same_gap_share"] == 1


def test_gaps_of_different_lengths_leave_out_what_is_of_one_moment(row):
    # 2 s, 2.4 s, 8 s, and one of none.
    ages = [0, 0, 2, 4.4, 12.4]
    result = row([("a", "view", "x", 1 - age * SECOND) for age in ages])
    logs = [log(2), log(2.4), log(8)]
    mean = sum(logs) / 3
    assert result["log_gap_mean"] == pytest.approx(mean)
    assert result["log_gap_deviation"] == pytest.approx(sqrt(sum((one - mean) ** 2 for one in logs) / 2))
    assert result["same_gap_share"] == pytest.approx(2 / 3)


def test_one_moment_has_no_gaps(row):
    result = row([("a", "view", "x", 1), ("a", "view", "y", 1)])
    assert [result[name] for name in ("log_gap_mean", "log_gap_deviation", "same_gap_share")] == [None] * 3
    assert row([("a", "view", "x", 1), ("a", "view", "y", 2)])["log_gap_deviation"] is None


def test_times_of_the_day_and_days(row):
    # At 2, 2, 12 and 20 o'clock of one day, and at 5 of another.
    hours = [22, 22, 12, 4, 24 + 19]
    result = row([("a", "view", "x", hour / 24) for hour in hours])
    assert result["night_share"] == pytest.approx(3 / 5)
    assert result["events_per_active_hour"] == pytest.approx(5 / 4)
    assert result["active_days"] == 2
    assert result["events_per_active_day"] == pytest.approx(5 / 2)
    assert result["busiest_day_share"] == pytest.approx(4 / 5)
    assert result["days_since_first"] == pytest.approx(43 / 24)
    assert result["hour_entropy"] == pytest.approx(-(2 / 5) * log(2 / 5) - 3 * (1 / 5) * log(1 / 5))


def test_from_looking_to_buying(row):
    names = ["view"] * 5 + ["cart"] * 2 + ["purchase"] * 3 + ["refund"]
    events: list[tuple[Any, ...]] = [("a", name, "x", 1) for name in names]
    result = row([*events, ("a", "purchase", "x", 1, {"price": 2.0}), ("a", "impression", "x", 1)])
    assert result["carts_per_view"] == pytest.approx(3 / 6)
    assert result["purchases_per_cart"] == pytest.approx(5 / 3)
    assert result["purchases_per_view"] == pytest.approx(5 / 6)
    assert result["refund_share"] == pytest.approx(1 / 5)
    assert result["unpriced_share"] == pytest.approx(3 / 4)
    assert result["events"] == 12
    looker = row([("a", "view", "x", 1)])
    assert (looker["refund_share"], looker["unpriced_share"]) == (None, None)


def test_items_and_their_popularity_in_the_whole_shop(row):
    # x has 4 users, y one.
    events = [("a", "view", item, 1) for item in "xxxy"] + [(user, "view", "x", 1) for user in "bcd"]
    result = row(events)
    assert result["items"] == 2
    assert result["distinct_share"] == 0.5
    assert result["item_entropy"] == pytest.approx(-0.75 * log(0.75) - 0.25 * log(0.25))
    assert result["log_popularity_mean"] == pytest.approx(log(4) / 2)
    assert result["log_popularity_deviation"] == pytest.approx(log(4) / sqrt(2))
    assert row(events, "b")["log_popularity_deviation"] is None
    assert row(events, "b")["item_entropy"] == 0


def test_ratings(row):
    given = [("a", "x", 5.0), ("a", "y", 5.0), ("a", "z", 1.0), ("b", "x", 2.0), ("c", "x", 4.0), ("c", "y", 3.0)]
    events: list[tuple[Any, ...]] = [(user, "rating", item, 1, {"value": value}) for user, item, value in given]
    result = row([*events, ("a", "purchase", "x", 1, {"value": 900.0}), ("a", "rating", "x", 1)])
    assert result["rating_mean"] == pytest.approx(11 / 3)
    assert result["rating_deviation"] == pytest.approx(sqrt((2 * (4 / 3) ** 2 + (8 / 3) ** 2) / 2))
    assert result["greatest_rating_share"] == pytest.approx(2 / 3)
    assert result["least_rating_share"] == pytest.approx(1 / 3)
    # Others gave x 3 on average, y 3, z nothing.
    assert result["rating_dissent"] == pytest.approx((2 + 2) / 2)
    silent = row([("a", "view", "x", 1)])
    names = [name for name in silent if "rating" in name]
    assert len(names) == 5
    assert [silent[name] for name in names] == [None] * 5


def test_addresses_and_those_that_count_for_nothing(make_events, as_of, row_of):
    places = [
        ("a", "1"),
        ("a", "1"),
        ("a", "2"),
        ("b", "2"),
        ("c", "2"),
        ("c", "proxy"),
        ("d", "proxy"),
        ("e", None),
    ]
    events = make_events([(user, "view", "x", 1, {"ip": ip}) for user, ip in places])
    ips = ip_counts(events, as_of).filter(pl.col("ip") != "proxy")
    table = behavior(events, as_of, item_counts(events, as_of), ips)
    result = {user: row_of(table, user_id=user) for user in "acde"}
    shown = {user: (of["ips"], of["users_per_ip"], of["most_users_of_ip"]) for user, of in result.items()}
    nothing = (None, None, None)
    assert shown == {"a": (2, 2.0, 3), "c": (1, 3.0, 3), "d": nothing, "e": nothing}


def test_items_of_other_buckets_are_passed_over(make_events, as_of, row_of):
    events = make_events([("a", "view", "x", 1)])
    shop = make_events([("a", "view", "x", 1), ("b", "view", "x", 1), ("b", "view", "elsewhere", 1)])
    table = behavior(events, as_of, item_counts(shop, as_of), ip_counts(shop, as_of))
    assert row_of(table, user_id="a")["log_popularity_mean"] == pytest.approx(log(2))


def test_every_column_is_in_the_table_in_its_order(make_events, as_of):
    events = make_events([("b", "view", "x", 1), ("a", "view", "x", 1)])
    table = behavior(events, as_of, item_counts(events, as_of), ip_counts(events, as_of)).collect()
    assert table.schema == pl.Schema({feature.name: feature.dtype for feature in BEHAVIOR})
    assert table["user_id"].to_list() == ["a", "b"]
