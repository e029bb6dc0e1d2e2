"""Due items: the formula by hand, and which purchases are not due."""

from datetime import date, datetime, timedelta
from math import exp

import polars as pl
import pytest

from features.repurchase.due_items import due_items

ITEM_FEATURES = pl.LazyFrame(
    {
        "item_id": ["milk", "tea", "sofa", "soap"],
        "gaps": [50, 20, 0, 10],
        "cycle_days": [8.0, 40.0, 90.0, 30.0],
        "repurchase_rate_365d": [0.9, 0.5, 0.2, 0.5],
    }
)


def interactions(as_of: datetime, *rows: tuple[str, str, int, int, int]) -> pl.LazyFrame:
    """Make interactions from rows (user, item, purchase days, days before `as_of` of the first and the last)."""

    def day(days: int) -> date:
        return (as_of - timedelta(days=days)).date()

    return pl.LazyFrame(
        [(user, item, n, day(first), day(last)) for user, item, n, first, last in rows],
        schema=["user_id", "item_id", "purchase_days", "first_purchase_day", "last_purchase_day"],
        orient="row",
    )  # fmt: skip


def test_due_items_follow_the_formula(as_of: datetime):
    bought = interactions(as_of, ("a", "milk", 4, 33, 3), ("a", "tea", 1, 61, 61), ("b", "tea", 1, 11, 11))
    rows = due_items(bought, ITEM_FEATURES, as_of).collect().rows()
    # Three gaps over 30 days and two of 8; the day of the last purchase was 2 whole days ago.
    milk, returns = (30 + 2 * 8) / 5, (3 + 2 * 0.9) / 5
    still_open = returns * exp(-2 / milk)
    of_milk = still_open / (still_open + 1 - returns) * (1 - exp(-14 / milk))
    of_tea = [0.5 * exp(-days / 40) / (0.5 * exp(-days / 40) + 0.5) * (1 - exp(-14 / 40)) for days in (60, 10)]
    assert rows == [
        ("a", 1, "milk", as_of + timedelta(days=9 - 3), pytest.approx(of_milk)),
        ("a", 2, "tea", as_of, pytest.approx(of_tea[0])),  # overdue
        ("b", 1, "tea", as_of + timedelta(days=40 - 11), pytest.approx(of_tea[1])),
    ]


def test_what_nobody_repeats_or_the_user_stopped_buying_is_not_due(as_of: datetime):
    stopped = ("a", "milk", 4, 360, 330)
    bought = interactions(
        as_of, stopped, ("a", "sofa", 1, 20, 20), ("a", "unlisted", 9, 90, 5), ("a", "soap", 1, 9, 9)
    )
    assert due_items(bought, ITEM_FEATURES, as_of).collect()["item_id"].to_list() == ["soap"]


def test_five_items_of_each_user_are_due(as_of: datetime):
    features = pl.LazyFrame(
        {"item_id": [f"i{n}" for n in range(9)], "gaps": 5, "cycle_days": 10.0, "repurchase_rate_365d": 0.5}
    )
    bought = interactions(
        as_of, *((user, f"i{n}", 10 - n, 100 - 10 * n, 10) for user in "ab" for n in reversed(range(9)))
    )
    table = due_items(bought, features, as_of).collect()
    assert table.select("user_id", "rank", "item_id").rows() == [
        (user, n + 1, f"i{n}") for user in "ab" for n in range(5)
    ]
