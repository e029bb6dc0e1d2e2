"""Known answers of the features of orders, and their agreement with a naive computation."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from math import log, sqrt
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.event_weights import EventRules
from features.tables import feature_tables
from features.user_profile import user_profile
from recsys.contract import Events, Items, Users

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def frame(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    numbered = [{"event_id": f"e{number:03d}", **row} for number, row in enumerate(rows)]
    return pl.DataFrame(numbered, schema=Events.create_empty().schema).lazy()


def line(user: str, item: str, days: float, price: float | None = None, **others: Any) -> dict[str, Any]:
    event = {"user_id": user, "item_id": item, "event": "purchase", "timestamp": AS_OF - days * DAY, "price": price}
    return {**event, **others}


def profiles(*buckets: list[dict[str, Any]], time_zone: str = "UTC") -> dict[str, dict[str, Any]]:
    """Compute profiles with returns taken back, joined with the segments."""
    rules = EventRules(matches_returns=True)
    items, users = Items.create_empty().lazy(), Users.create_empty().lazy()
    tables: dict[str, pl.DataFrame] = {}
    for together in feature_tables(
        list(map(frame, buckets)), items, users, AS_OF, 30.0, rules, time_zone=time_zone
    ):
        tables |= {name: table.collect() for name, table in together.items()}
    profile = pl.concat([table for name, table in tables.items() if name.startswith("user_profile")])
    joined = profile.join(tables["user_segments"], on="user_id", validate="1:1")
    assert joined.height == tables["user_segments"].height
    return {row["user_id"]: row for row in joined.iter_rows(named=True)}


def test_orders_are_counted_apart_from_their_lines():
    basket = [line("ann", item, 5, session_id="s") for item in ("x", "y", "z")]
    ann = profiles([*basket, line("ann", "x", 20)])["ann"]
    assert [ann[f"orders_{days}d"] for days in (1, 7, 30, 90)] == [0, 1, 2, 2]
    assert [ann[f"purchase_lines_{days}d"] for days in (1, 7, 30, 90)] == [0, 3, 4, 4]
    assert (ann["tenure_days"], ann["recency_days"], ann["first_order_at"]) == (20, 5, AS_OF - 20 * DAY)


def test_hours_and_days_are_those_of_the_shop():
    # Half past seven and nine in the evening in New York, on Sunday the 18th: two days in UTC, one in the shop.
    evening = [(datetime(2024, 2, 19, 0, 30, tzinfo=UTC)), datetime(2024, 2, 18, 23, 0, tzinfo=UTC)]
    visits = [line("ann", "x", 0, timestamp=time) for time in evening]
    here, utc = profiles(visits, time_zone="America/New_York")["ann"], profiles(visits)["ann"]
    assert [hour for hour, share in enumerate(here["hour_shares"]) if share] == [18, 19]
    assert [hour for hour, share in enumerate(utc["hour_shares"]) if share] == [0, 23]
    assert (here["weekday_shares"][6], utc["weekday_shares"][6], utc["weekday_shares"][0]) == (1, 0.5, 0.5)
    assert (here["night_share"], utc["night_share"]) == (0, 0.5)
    assert (here["repeat_share"], utc["repeat_share"]) == (0, 0.5)


def test_deals_compare_prices_with_those_that_all_customers_paid():
    # The mean prices are 10 of x, from both buckets, and 2 of y.
    cheap = [line("ann", "x", 3, 8.0, quantity=5.0), line("ann", "y", 3, 2.0), line("ann", "z", 3)]
    dear = [line("bob", "x", 4, 12.0), line("eve", "z", 1)]
    found = profiles(cheap, dear)
    assert found["ann"]["deal_affinity"] == pytest.approx(1 - 10 / 12)
    assert found["bob"]["deal_affinity"] == pytest.approx(1 - 12 / 10)
    assert found["eve"]["deal_affinity"] is None


def test_what_was_returned_counts_in_the_return_rate_only():
    def refund(item: str, units: float | None) -> dict[str, Any]:
        return line("ann", item, 1, event="refund", quantity=units)

    bought = [line("ann", "x", 9, 5.0, quantity=4.0), line("ann", "y", 8, 7.0)]
    ann = profiles([*bought, refund("x", 1.0), refund("y", None)])["ann"]
    assert (ann["return_rate"], ann["orders"], ann["spent"]) == (2 / 5, 1, 15)
    assert (ann["purchase_lines_30d"], ann["refund_lines_30d"], ann["tenure_days"]) == (1, 2, 9)
    everything = profiles([line("ann", "x", 9, 5.0), refund("x", None)])["ann"]
    assert (everything["return_rate"], everything["orders"], everything["orders_30d"]) == (1, 0, 0)
    assert (everything["spent"], everything["lifecycle_stage"]) == (None, "prospect")
    assert profiles([line("ann", "x", 1, event="view")])["ann"]["return_rate"] is None


def test_growth_of_spend_is_relative_to_the_shop():
    # Decayed with 30 and with 180 days: ann 10 * (0.5 ** 1, 0.5 ** (1/6)), bob 40 * (0.5 ** 6, 0.5).
    found = profiles([line("ann", "x", 30, 10.0)], [line("bob", "x", 180, 40.0)])
    recent, usual = 0.5, 0.5 ** (1 / 6)
    share = (10 * recent + 40 * 0.5**6) / (10 * usual + 40 * 0.5)
    assert found["ann"]["spend_growth"] == pytest.approx(log((recent + 1) / (usual * share + 1)))
    assert found["ann"]["spend_growth_error"] == pytest.approx(1 / sqrt(recent + 1))
    assert found["bob"]["spend_growth"] == pytest.approx(log((0.5**6 + 1) / (0.5 * share + 1)))


ROWS = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["ann", "bob", "eve"]),
        "item_id": st.sampled_from(["x", "y"]),
        "event": st.sampled_from(["purchase", "purchase", "purchase", "view"]),
        "days": st.integers(1, 100),
        "price": st.none() | st.sampled_from([1.0, 2.5, 10.0]),
        "quantity": st.none() | st.sampled_from([1.0, 3.0]),
        "session_id": st.none() | st.sampled_from(["s", "t"]),
    }
)


@settings(max_examples=15, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=25))
def test_features_agree_with_a_naive_computation(rows: list[dict[str, Any]]):
    events = [{**row, "timestamp": AS_OF - row["days"] * DAY} for row in rows]
    for event in events:
        del event["days"]
    items, users = Items.create_empty().lazy(), Users.create_empty().lazy()
    table = user_profile(frame(events), items, users, AS_OF, 30.0).collect()
    prices: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["event"] == "purchase" and row["price"] is not None:
            prices[row["item_id"]].append(row["price"])
    for profile in table.iter_rows(named=True):
        lines = [row for row in rows if (row["user_id"], row["event"]) == (profile["user_id"], "purchase")]
        baskets: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for row in lines:
            baskets[row["session_id"] or row["days"]].append(row)
        ages = sorted((max(row["days"] for row in basket) for basket in baskets.values()), reverse=True)
        assert profile["orders"] == len(ages)
        assert [profile[f"orders_{window}d"] for window in (7, 30, 90)] == [
            sum(age <= window for age in ages) for window in (7, 30, 90)
        ]
        assert (profile["tenure_days"], profile["recency_days"]) == ((ages[0], ages[-1]) if ages else (None, None))
        assert profile["last_gap_days"] == (ages[-2] - ages[-1] if len(ages) > 1 else None)
        priced = [row for row in lines if row["price"] is not None]
        spent = sum(row["price"] * (row["quantity"] or 1) for row in priced)
        assert profile["spent"] == (pytest.approx(spent) if priced else None)
        expected = sum(sum(prices[row["item_id"]]) / len(prices[row["item_id"]]) for row in priced)
        saved = 1 - sum(row["price"] for row in priced) / expected if priced else None
        assert profile["deal_affinity"] == (pytest.approx(saved) if priced else None)
        assert profile["return_rate"] == (0 if lines else None)
