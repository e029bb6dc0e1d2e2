"""Limits of product types and titles in the places of an answer."""

from collections.abc import Sequence
from itertools import islice

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.product_types import LIMITED_PLACES
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue
from serving.engine.filters import Exclusion, take_page
from serving.engine.order.place_limits import MAX_DEFERRED, LabelLimits, limit_places
from serving.engine.ranking import Candidate

ITEMS = 40


def catalogue(types: Sequence[str | None], titles: Sequence[str | None]) -> Catalogue:
    """Items i0, i1, … of these product types and titles."""
    rows = [
        {"item_id": f"i{number}", "product_type": product_type, "title": title, "category": product_type}
        for number, (product_type, title) in enumerate(zip(types, titles, strict=True))
    ]
    return Catalogue("20180101T000000Z", pl.DataFrame(rows, schema=CATALOGUE_SCHEMA))


def order_of(item_ids: list[str]) -> list[Candidate]:
    return [Candidate(item_id, "personal", "why") for item_id in item_ids]


def never(_item_id: str) -> bool:
    return False


def place_one_by_one(item_ids: list[str], shop: Catalogue, excluded: set[str]) -> list[str]:
    """Take for each place the first item left that has room: two of a type, one of a title, in ten places."""
    left, placed = [item_id for item_id in item_ids if item_id not in excluded], []
    labels = {item_id: [label for label in shop.labels.of(shop.rows[item_id]) if label != -1] for item_id in left}
    while left:
        last = placed[-LIMITED_PLACES + 1 :]

        def has_room(item_id: str, last: list[str] = last) -> bool:
            counts = ((label, sum(label in labels[other] for other in last)) for label in labels[item_id])
            return all(count < (2 if label >= 0 else 1) for label, count in counts)

        chosen = next(filter(has_room, left), left[0])
        left.remove(chosen)
        placed.append(chosen)
    return placed


@st.composite
def shops(draw: st.DrawFn) -> Catalogue:
    types = draw(st.lists(st.sampled_from(["milk", "tea", "soap", None]), min_size=ITEMS, max_size=ITEMS))
    titles = draw(st.lists(st.sampled_from(["One", "ONE!", "two", "three", None]), min_size=ITEMS, max_size=ITEMS))
    return catalogue(types, titles)


ORDERS = st.permutations([f"i{number}" for number in range(ITEMS)])
EXCLUDED = st.sets(st.sampled_from([f"i{number}" for number in range(ITEMS)]), max_size=10)


@settings(max_examples=100, deadline=None)
@given(shops(), ORDERS, EXCLUDED)
def test_orders_equal_those_made_one_by_one(shop: Catalogue, item_ids: list[str], excluded: set[str]) -> None:
    limits = LabelLimits(shop, 2, 1, ())
    limited = [each.item_id for each in limit_places(order_of(item_ids), 1.0, excluded.__contains__, True, limits)]
    assert sorted(limited) == sorted(item_ids)
    shown = [item_id for item_id in limited if item_id not in excluded]
    assert shown == place_one_by_one(item_ids, shop, excluded)


@settings(max_examples=60, deadline=None)
@given(shops(), ORDERS, EXCLUDED, st.integers(1, 12), st.integers(1, ITEMS))
def test_pages_one_after_the_other_are_one_long_answer(
    shop: Catalogue, item_ids: list[str], excluded: set[str], n: int, length: int
) -> None:
    exclusions = [Exclusion("off", excluded.__contains__)]

    def order(whole: bool) -> list[Candidate]:
        candidates = order_of(item_ids if whole else item_ids[:length])
        limits = LabelLimits(shop, 2, 1, ())
        return list(limit_places(candidates, 1.0, excluded.__contains__, whole, limits))

    # What the lists alone give is the beginning of what lists and ladder give together.
    assert order(whole=True)[: len(order(whole=False))] == order(whole=False)
    pages, place = [], 0
    while True:
        page = take_page(order(whole=True), place, 0, n, exclusions)
        pages += page.items
        place = page.place
        if len(page.items) < n:
            break
    assert pages == take_page(order(whole=True), 0, 0, ITEMS, exclusions).items


def test_a_household_has_as_many_of_a_type_as_its_published_list() -> None:
    shop = catalogue(["milk"] * 6 + [None] * 34, [None] * 40)
    own = ["i0", "i9", "i1", "i2", *(f"i{number}" for number in range(10, 20))]
    order = order_of([f"i{number}" for number in range(ITEMS)])
    limited = limit_places(order, 1.0, never, True, LabelLimits(shop, 2, 1, own))
    # Three milks in ten places, as in the list; the fourth has room when the first one leaves these places.
    first = [each.item_id for each in islice(limited, 12)]
    assert first == ["i0", "i1", "i2", *(f"i{number}" for number in range(6, 13)), "i3", "i4"]


def test_an_item_changed_online_has_the_deepest_known_type_and_its_new_title() -> None:
    shop = catalogue(["Food>Milk"] * 3 + ["Food"] * 3, ["a", "b", "c", "d", "e", "f"])
    shop.put({"i4": {"category": ["Food", "Milk", "Oat"], "title": "A."}, "new": {"category": None, "title": "b"}})
    product_type, title = shop.labels.of(shop.rows["i4"])
    assert (product_type, title) == shop.labels.of(shop.rows["i0"])
    assert shop.labels.of(shop.rows["new"]) == (-1, shop.labels.of(shop.rows["i1"])[1])
    assert Catalogue(shop.version, shop.table()).labels.column().to_list()[4] == "Food>Milk"


def test_an_order_of_one_type_is_not_read_to_its_end() -> None:
    shop = catalogue(["milk"] * ITEMS, [None] * ITEMS)
    many = (
        Candidate(f"i{number % ITEMS}" if number < ITEMS else f"x{number}", "popular", "why")
        for number in range(10**6)
    )
    shop.put({f"x{number}": {"category": ["milk"], "title": None} for number in range(ITEMS, 2_000)})
    assert len(list(islice(limit_places(many, 1.0, never, True, LabelLimits(shop, 2, 1, ())), 10))) == 10
    assert int(next(many).item_id[1:]) <= MAX_DEFERRED + 20
