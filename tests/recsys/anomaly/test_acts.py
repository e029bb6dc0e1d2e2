"""The lines of an order are one act, whatever order they come in."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from recsys.anomaly.acts import ORDER_MS, Act, merge_order_lines

ORDERS = frozenset({"purchase", "refund"})
ACTS = st.lists(
    st.builds(
        Act,
        st.integers(0, 3 * ORDER_MS),
        st.sampled_from(["milk", "salt", "tea"]),
        st.sampled_from(["purchase", "refund", "view"]),
        st.sampled_from([0.0, 1.0, 2.5]),
    ),
    max_size=20,
)


def lines(*rows: tuple[int, str], event: str = "purchase") -> list[Act]:
    return [Act(at_ms, item, event) for at_ms, item in rows]


def test_lines_at_one_moment_are_one_act() -> None:
    assert merge_order_lines(lines((7, "tea"), (7, "milk"), (7, "salt")), ORDERS) == lines((7, "milk"))


def test_lines_that_come_one_after_the_other_are_one_act_for_so_long() -> None:
    order = lines((0, "tea"), (40, "milk"), (ORDER_MS, "salt"))
    assert merge_order_lines(order, ORDERS) == order[:1]
    late = lines((ORDER_MS + 1, "bread"))
    assert merge_order_lines([*order, *late], ORDERS) == [order[0], *late]


def test_an_order_begins_with_its_first_line_and_is_not_drawn_out() -> None:
    rows = lines((0, "a"), (3_000, "b"), (6_000, "c"), (9_000, "d"), (12_000, "e"))
    assert [act.at_ms for act in merge_order_lines(rows, ORDERS)] == [0, 6_000, 12_000]


def test_an_item_that_is_bought_again_is_no_line() -> None:
    rows = lines((0, "tea"), (10, "milk"), (20, "tea"), (30, "tea"))
    assert merge_order_lines(rows, ORDERS) == [rows[0], rows[2], rows[3]]


def test_purchases_and_refunds_are_different_orders_and_views_are_none() -> None:
    bought, returned = lines((0, "tea"), (0, "milk")), lines((0, "tea"), (0, "milk"), event="refund")
    views = lines((0, "tea"), (0, "milk"), event="view")
    expected = sorted([bought[1], returned[1], *views])
    assert merge_order_lines([*bought, *returned, *views], ORDERS) == expected
    assert merge_order_lines([*bought, *views], ()) == sorted([*bought, *views])


@given(ACTS, st.randoms(use_true_random=False))
def test_acts_may_come_in_any_order(acts: list[Act], random: Random) -> None:
    shuffled = list(acts)
    random.shuffle(shuffled)
    assert merge_order_lines(shuffled, ORDERS) == merge_order_lines(acts, ORDERS)


@given(ACTS)
def test_what_is_left_is_in_the_order_of_time_and_nothing_is_made_up(acts: list[Act]) -> None:
    kept = merge_order_lines(acts, ORDERS)
    assert kept == sorted(kept)
    assert not set(kept) - set(acts)
    views = [act for act in acts if act.event == "view"]
    assert [act for act in kept if act.event == "view"] == sorted(views)
    assert merge_order_lines(acts, ()) == sorted(acts)


@given(ACTS)
def test_the_first_act_and_every_event_name_are_left(acts: list[Act]) -> None:
    kept = merge_order_lines(acts, ORDERS)
    assert kept[:1] == sorted(acts)[:1]
    assert {act.event for act in kept} == {act.event for act in acts}
