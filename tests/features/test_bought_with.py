from math import sqrt

import pytest

from features.bought_with import MAX_ORDER_ITEMS, bought_with


def baskets(*orders: str):
    """An order of each of as many users, a letter an item."""
    return [(f"u{number}", "purchase", item, 1) for number, order in enumerate(orders) for item in order]


def weekly(users: range, items: str, times: int):
    """So many orders of each user."""
    return [
        (f"weekly {user}", "purchase", item, 1 + time / 10, {"session_id": f"s{time}"})
        for user in users
        for time in range(times)
        for item in items
    ]


@pytest.fixture
def pairs(make_events, as_of):
    def of(rows, n: int = 10, min_users: int = 3):
        return bought_with(make_events(rows), as_of, n, min_users).collect(engine="streaming")

    return of


def test_counts_cosine_and_order(pairs):
    table = pairs(baskets("ab", "ab", "abb", "ca", "ca", "ca", "a", "bc", "bc"))
    cosine = 3 / sqrt(7 * 5)
    assert table.drop("cosine").rows() == [
        ("a", 1, "b", 3),
        ("a", 2, "c", 3),
        ("b", 1, "a", 3),
        ("c", 1, "a", 3),
    ]
    assert table["cosine"].to_list() == pytest.approx([cosine] * 4)


def test_the_best_n_by_cosine(pairs):
    # a is with b in 4 orders of 4 and 8, with c in 3 of 4 and 3.
    table = pairs(baskets("abc", "abc", "abc", "ab", "b", "b", "b", "b"), n=1)
    assert table.filter(item_id="a").select("other_item_id", "users").rows() == [("c", 3)]


def test_a_user_counts_once_however_many_the_orders(pairs):
    """Of a, b and d, 10, 10 and 3 users; those of d have it with a in 30 orders."""
    table = pairs([*baskets(*["ab"] * 10), *weekly(range(3), "ad", times=30)])
    assert table.filter(item_id="a").select("other_item_id", "users").rows() == [("b", 10), ("d", 3)]
    assert table["cosine"].max() == pytest.approx(10 / sqrt(13 * 10))


@pytest.mark.parametrize("min_users", [2, 3])
def test_fewer_users_than_the_minimum_put_nothing_beside_a_popular_item(pairs, min_users: int):
    shop = baskets(*["ab"] * 10)
    few = pairs([*shop, *weekly(range(min_users - 1), "at", times=1_000)], min_users=min_users)
    assert set(few["item_id"]) | set(few["other_item_id"]) == {"a", "b"}
    enough = pairs([*shop, *weekly(range(min_users), "at", times=1)], min_users=min_users)
    assert enough.filter(item_id="a")["other_item_id"].to_list() == ["b", "t"]
    assert enough.filter(item_id="t")["other_item_id"].to_list() == ["a"]


def test_an_order_is_of_one_user_and_one_session_or_moment(pairs):
    apart = [(user, "purchase", item, 1, {"session_id": "s"}) for user, item in ["ua", "vb"] * 3]
    assert pairs(apart, min_users=1).filter(other_item_id="b").is_empty()
    together = [(user, "purchase", item, 1) for user in "uvw" for item in "ab"]
    assert pairs(together)["users"].to_list() == [3, 3]
    minutes_apart = [(user, "purchase", item, 1 + (item == "a") / 1440) for user in "uvw" for item in "ab"]
    assert pairs(minutes_apart).is_empty()


def test_only_purchases_before_as_of_count(pairs):
    views = [(user, "view", item, 1, {"session_id": "s"}) for user in "uvw" for item in "ab"]
    assert pairs(views).is_empty()
    late = [(user, "purchase", item, days) for days, user in enumerate("uvw") for item in "ab"]
    assert pairs(late).is_empty()
    assert pairs(late, min_users=2)["users"].to_list() == [2, 2]


def test_of_a_very_large_order_only_the_first_event_ids_count(pairs):
    names = [f"i{number:03d}" for number in range(MAX_ORDER_ITEMS + 10)]
    rows = [(user, "purchase", name, 1, {"session_id": "s"}) for user in "uvw" for name in names]
    table = pairs(rows, n=1000)
    assert table["item_id"].unique().sort().to_list() == names[:MAX_ORDER_ITEMS]
    assert table.height == MAX_ORDER_ITEMS * (MAX_ORDER_ITEMS - 1)
    assert table["cosine"].unique().to_list() == [1.0]
