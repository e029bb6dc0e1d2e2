from math import sqrt

import pytest

from features.bought_with import LARGEST_ORDER, bought_with


def baskets(*orders: str):
    """One user's orders, a letter an item."""
    return [
        ("u", "purchase", item, number + 1, {"session_id": f"s{number}"})
        for number, order in enumerate(orders)
        for item in order
    ]


@pytest.fixture
def pairs(make_events, as_of):
    def of(rows, n: int = 10):
        return bought_with(make_events(rows), as_of, n).collect(engine="streaming")

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
    assert table.filter(item_id="a").select("other_item_id", "orders").rows() == [("c", 3)]


def test_an_order_is_of_one_user_and_one_session_or_moment(pairs):
    apart = [(user, "purchase", item, 1, {"session_id": "s"}) for user, item in ["ua", "vb"] * 3]
    assert pairs(apart).is_empty()
    together = [("u", "purchase", item, days) for days in (1, 2, 3) for item in "ab"]
    assert pairs(together)["orders"].to_list() == [3, 3]
    minutes_apart = [("u", "purchase", item, days + (item == "a") / 1440) for days in (1, 2, 3) for item in "ab"]
    assert pairs(minutes_apart).is_empty()


def test_only_purchases_before_as_of_count(pairs):
    views = [("u", "view", item, days, {"session_id": f"s{days}"}) for days in (1, 2, 3) for item in "ab"]
    assert pairs(views).is_empty()
    late = [("u", "purchase", item, days, {"session_id": f"s{days}"}) for days in (0, 1, 2) for item in "ab"]
    assert pairs(late).is_empty()


def test_of_a_very_large_order_only_the_first_event_ids_count(pairs):
    names = [f"i{number:03d}" for number in range(LARGEST_ORDER + 10)]
    rows = [("u", "purchase", name, day, {"session_id": f"s{day}"}) for day in (1, 2, 3) for name in names]
    table = pairs(rows, n=1000)
    assert table["item_id"].unique().sort().to_list() == names[:LARGEST_ORDER]
    assert table.height == LARGEST_ORDER * (LARGEST_ORDER - 1)
    assert table["cosine"].unique().to_list() == [1.0]
