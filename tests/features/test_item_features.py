from datetime import timedelta
from math import log, sqrt

import pytest

from features.item_features import item_features

HALF_LIFE = 40
TICK = 1 / 86_400_000_000  # a microsecond, in days


@pytest.fixture
def item(make_items, as_of, row_of):
    def of(events, item_id: str, items=None):
        catalogue = make_items() if items is None else items
        return row_of(item_features(events, catalogue, as_of, HALF_LIFE), item_id=item_id)

    return of


def test_popularity_counts_events_and_users_in_windows(make_events, item):
    events = make_events(
        [("a", "view", "x", age) for age in (TICK, 1, 1 + TICK, 30)]
        + [
            ("b", "view", "x", 7),
            ("c", "view", "x", 90 + TICK),
            ("d", "impression", "x", 1),
            ("e", "refund", "x", 1),
        ]
    )
    row = item(events, "x")
    assert [row[f"events_{days}d"] for days in (1, 7, 30, 90)] == [2, 4, 5, 5]
    assert [row[f"users_{days}d"] for days in (1, 7, 30, 90)] == [1, 2, 2, 2]
    assert (row["events"], row["users"]) == (6, 3)


def test_decayed_popularity_is_worth_half_after_a_half_life(make_events, item):
    events = make_events([("a", "purchase", "x", 40), ("a", "view", "x", 80), ("b", "refund", "x", 80)])
    assert item(events, "x")["popularity"] == pytest.approx(5 / 2 + 1 / 4 - 5 / 4)


def test_items_of_the_catalogue_and_of_the_events_each_have_a_row(make_events, make_items, as_of):
    events = make_events([("a", "view", "sold", 1), ("a", "view", "late", 0), ("a", "view", "商品", 1)])
    table = item_features(events, make_items({"item_id": "shelf"}), as_of, HALF_LIFE).collect()
    assert table.select("item_id", "events", "buyers").rows() == [("shelf", 0, 0), ("sold", 1, 0), ("商品", 1, 0)]
    assert table["popularity"].to_list()[0] == 0


def test_trend_follows_its_formula(make_events, item):
    # Half-lives of 7 and 60 days: three views a week ago count 1/2 each recently, one six weeks ago 1/64.
    events = make_events([(f"u{n}", "view", "x", 7 if n else TICK) for n in range(4)] + [("u", "view", "y", 42)])
    recent, usual, of_y = 1 + 3 / 2, 1 + 3 * 0.5 ** (7 / 60), (1 / 64, 0.5 ** (42 / 60))
    share = (recent + of_y[0]) / (usual + of_y[1])
    growth, error = log((recent + 10) / (usual * share + 10)), 1 / sqrt(recent + 10)
    row = item(events, "x")
    assert row["growth"] == pytest.approx(growth)
    assert row["growth_error"] == pytest.approx(error)
    assert row["trend"] == pytest.approx(growth - error)


def test_three_sales_of_nothing_are_no_trend_but_thirty_are(make_events, make_items, as_of):
    steady = [(f"u{n}", "purchase", "steady", n / 16 + 0.1) for n in range(8000)]
    new = [(f"n{n}", "purchase", "new", 0.1 * n + 0.1) for n in range(3)]
    rising = [(f"r{n}", "purchase", "rising", 0.1 * n + 0.1) for n in range(30)]
    fading = [(f"f{n}", "purchase", "fading", 50 + 0.1 * n) for n in range(30)]
    events = make_events(steady + new + rising + fading)
    table = item_features(events, make_items({"item_id": "unsold"}), as_of, HALF_LIFE).collect()
    trend = dict(table.select("item_id", "trend").rows())
    assert trend["rising"] > 0.5
    assert max(trend["new"], trend["steady"], trend["unsold"], trend["fading"]) < 0
    growth = dict(table.select("item_id", "growth").rows())
    assert growth["new"] > 0 > growth["fading"]
    assert growth["unsold"] == pytest.approx(0, abs=1e-12)
    assert growth["steady"] == pytest.approx(0, abs=0.15)


def test_trend_is_finite_in_a_shop_that_opened_today(make_events, item):
    row = item(make_events([("a", "view", "x", TICK), ("a", "view", "y", 0.01)]), "x")
    assert row["trend"] < 0


def test_conversion_is_smoothed_to_the_shop(make_events, item):
    # Of three viewers of x two cart it and one of them buys; y is viewed once; z is bought without a look.
    rows = [("a", "view", "x", 3), ("a", "view", "x", 2), ("b", "view", "x", 3), ("c", "view", "x", 3)]
    rows += [("a", "cart", "x", 2), ("b", "cart", "x", 2), ("a", "purchase", "x", 1)]
    rows += [("a", "view", "y", 3), ("d", "purchase", "z", 1)]
    events = make_events(rows)
    x, y, z = (item(events, name) for name in "xyz")
    assert x["view_to_cart"] == pytest.approx((2 + 20 * 2 / 4) / (3 + 20))
    assert x["cart_to_purchase"] == pytest.approx((1 + 20 * 1 / 2) / (2 + 20))
    assert x["view_to_purchase"] == pytest.approx((1 + 20 * 1 / 4) / (3 + 20))
    assert y["view_to_cart"] == pytest.approx((0 + 20 * 2 / 4) / (1 + 20))
    assert z["view_to_cart"] == pytest.approx(2 / 4)


def test_a_shop_without_views_has_no_conversion(make_events, item):
    row = item(make_events([("a", "purchase", "x", 1)]), "x")
    assert [row[name] for name in ("view_to_cart", "cart_to_purchase", "view_to_purchase")] == [None] * 3


def test_prices(make_events, make_items, as_of):
    items = make_items(
        *(
            {"item_id": name, "category": ["c"], "price": price}
            for name, price in [("p", 1.0), ("q", 2.0), ("r", 2.0)]
        ),
        {"item_id": "s", "category": ["c"]},
        {"item_id": "alone", "category": ["d"], "price": 7.0},
        {"item_id": "free", "price": 7.0},
        {"item_id": "unpriced", "category": ["c"]},
    )
    events = make_events(
        [
            ("a", "view", "s", 9, {"price": 9.0}),
            ("a", "view", "s", 2, {"price": 3.0}),
            ("b", "view", "s", 2, {"price": 6.0}),
            ("b", "view", "s", 1),
            ("b", "view", "p", 1, {"price": 5.0}),
        ]
    )
    table = item_features(events, items, as_of, HALF_LIFE).collect()
    rows = {row["item_id"]: row for row in table.iter_rows(named=True)}
    assert (rows["s"]["last_price"], rows["s"]["price_mean"], rows["s"]["price"]) == (6, 6, 6)
    assert (rows["p"]["last_price"], rows["p"]["price"]) == (5, 1)
    assert [rows[name]["price_rank"] for name in "pqrs"] == [0.125, 0.5, 0.5, 0.875]
    assert rows["alone"]["price_rank"] == 0.5
    assert [rows["free"]["price_rank"], rows["unpriced"]["price_rank"], rows["unpriced"]["price"]] == [None] * 3


def test_age_is_from_creation_or_else_the_first_event(make_events, make_items, as_of):
    items = make_items(
        {"item_id": "old", "created_at": as_of - timedelta(days=50)},
        {"item_id": "ahead", "created_at": as_of + timedelta(days=1)},
        {"item_id": "unknown"},
    )
    events = make_events([("a", "view", "old", 3), ("a", "view", "ahead", 3), ("b", "impression", "ahead", 4)])
    table = item_features(events, items, as_of, HALF_LIFE).collect()
    assert dict(table.select("item_id", "age_days").rows()) == {"old": 50, "ahead": 4, "unknown": None}


@pytest.fixture
def repeats(make_events):
    """Four gaps at risk of ending after a day: of two of x one ended, of one of y none, of one of z one."""
    rows = [("a", "purchase", "x", days) for days in (2, 2, 1)] + [("b", "purchase", "x", 2)]
    rows += [("c", "purchase", "y", 2), ("c", "purchase", "z", 2), ("c", "purchase", "z", 1)]
    rows += [("c", "purchase", "w", 1), ("c", "view", "v", 5)]
    rows += [("b", "refund", "x", 1), ("c", "refund", "v", 1)]
    return make_events(rows)


@pytest.fixture
def shelves(make_items):
    return make_items(
        {"item_id": "x", "category": ["food"]},
        {"item_id": "y", "category": ["food"]},
        {"item_id": "z", "category": ["toys"]},
    )


def test_repurchase_is_shrunk_to_the_category_and_that_to_the_shop(repeats, shelves, item):
    shop = 2 / 4
    food = (1 + 20 * shop) / (3 + 20)
    toys = (1 + 20 * shop) / (1 + 20)
    expected = {"x": (1 + 20 * food) / 22, "y": 20 * food / 21, "z": (1 + 20 * toys) / 21, "w": shop, "v": shop}
    for name, rate in expected.items():
        row = item(repeats, name, shelves)
        assert (row["repurchase_rate"], row["repurchase_rate_365d"]) == (pytest.approx(rate), pytest.approx(rate))
        assert row["cycle_days"] == pytest.approx(1)
    assert item(repeats, "x", shelves)["gaps"] == 1


def test_refund_rate(repeats, shelves, item):
    # Five pairs of a buyer and an item, of which one gave back what was bought.
    x, w = item(repeats, "x", shelves), item(repeats, "w", shelves)
    assert (x["buyers"], w["buyers"]) == (2, 1)
    assert x["refund_rate"] == pytest.approx((1 + 20 * 1 / 5) / (2 + 20))
    assert w["refund_rate"] == pytest.approx((0 + 20 * 1 / 5) / (1 + 20))


def test_sales_name_orders_lines_units_and_revenue_apart(make_events, item):
    # Two lines of one session are one order, the third order has no price, and a coupon's line buys nothing.
    rows = [
        ("a", "purchase", "x", 40, {"session_id": "s", "price": 2.0, "quantity": 3.0}),
        ("a", "purchase", "x", 40, {"session_id": "s", "price": 1.0}),
        ("b", "purchase", "x", 3, {"session_id": "s", "price": 4.0, "quantity": 0.5}),
        ("b", "purchase", "x", 2, {"quantity": 2.0}),
        ("b", "purchase", "x", 2, {"price": 9.0, "quantity": 0.0}),
        ("b", "view", "x", 2, {"price": 9.0}),
        ("c", "purchase", "gift", 2),
    ]
    x, gift = (item(make_events(rows), name) for name in ("x", "gift"))
    assert [x[name] for name in ("orders", "lines", "units", "revenue")] == [3, 4, 6.5, 9.0]
    assert [x[f"revenue_{days}d"] for days in (1, 7, 30, 90)] == [0, 2, 2, 9]
    assert [gift[name] for name in ("orders", "units", "revenue", "revenue_7d")] == [1, 1, None, None]


def test_a_shop_that_never_sold_the_same_twice_has_no_cycle(make_events, item):
    row = item(make_events([("a", "purchase", "x", 5), ("b", "purchase", "x", 3)]), "x")
    assert (row["gaps"], row["cycle_days"], row["repurchase_rate"]) == (0, None, 0)
