"""Each source of candidates on the state of a request, made by hand."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from recsys.anomaly.acts import Act
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.api import Context
from serving.engine.catalogue import Catalogue
from serving.engine.ranking import LIST_CONSTANT, NEIGHBORS_CONSTANT, Candidate
from serving.engine.request_state import Policy, RequestState
from serving.engine.session_neighbors import Neighbors
from serving.engine.sources import (
    STATIC_VERSION,
    collect_lists,
    personal,
    popular,
    popular_in_turns,
    segment,
    session,
)
from serving.engine.user_state import UserState
from serving.requests import ListRequest

VERSION = "20180101T000000Z"
POLICY = Policy(repeat="exclude", exclude_events=frozenset({"purchase"}), hide_seen=True, repeat_days=3.0)
ITEMS = (
    {"item_id": "t1", "category": "TEA", "brand": "X", "price": 1.0, "title": "Green tea"},
    {"item_id": "c1", "category": "CUPS", "brand": "X", "price": 8.0},
    {"item_id": "t2", "category": "TEA>GREEN", "brand": "Y", "price": 2.0},
    {"item_id": "t3", "category": "TEA", "brand": "X", "price": 3.0},
    {"item_id": "t4", "category": "TEA", "brand": "X", "price": 3.0, "available": False},
)
"""Most popular first; t4 is unavailable."""


def catalogue(version: str = VERSION) -> Catalogue:
    """Return the catalogue of `ITEMS`."""
    rows = [{"available": True} | item for item in ITEMS]
    return Catalogue(version, pl.DataFrame(rows, schema=CATALOGUE_SCHEMA))


def request_state(
    context: Context = "home",
    *,
    items: str = "",
    flag: str | None = None,
    neighbors: tuple[Neighbors, ...] = (),
    favorites: tuple[str, ...] = (),
    version: str = VERSION,
    is_previous: bool = False,
    **conditions: Any,
) -> RequestState:
    """Return the state of a request of user 7 in a context; `conditions` are those of the item filter."""
    request = ListRequest("7", context=context, **conditions)
    return RequestState(
        request,
        request.build_item_filter(),
        "7",
        UserState(version, items=items.split(), flag=flag),
        catalogue(version),
        POLICY,
        now_ms=0,
        latest_ms=0,
        is_fresh=True,
        is_previous=is_previous,
        neighbors=neighbors,
        favorite_categories=favorites,
    )


def neighbors_of(item_id: str, event: str, weight: float = 1.0) -> Neighbors:
    """Return the neighbors of an item: two similar ones, and one bought together with it."""
    return Neighbors(Act(0, item_id, event), weight, ["s1", "s2"], ["b1"])


def ids(candidates: Iterator[Candidate]) -> list[str]:
    return [candidate.item_id for candidate in candidates]


@pytest.mark.parametrize("context", ["home", "product", "cart", "mail"])
def test_the_own_list_counts_fully_in_every_context(context: Context) -> None:
    (candidates,) = personal(request_state(context, items="a b"))
    assert (candidates.source, list(candidates.items), candidates.weight) == ("personal", ["a", "b"], 1.0)
    assert candidates.constant == LIST_CONSTANT
    assert candidates.reason == "picked for you from what you and shoppers like you have chosen"


def test_the_list_of_the_version_before_says_so() -> None:
    (candidates,) = personal(request_state(items="a b", is_previous=True))
    assert (candidates.source, candidates.reason) == ("previous", "picked for you the night before")
    assert list(candidates.items) == ["a", "b"]


def test_a_user_without_a_list_has_no_personal_candidates() -> None:
    assert personal(request_state()) == []


@pytest.mark.parametrize(
    ("context", "weights"),
    [
        ("home", {"bought_with": 0.2, "session": 0.3}),
        ("product", {"bought_with": 0.2, "session": 1.0}),
        ("cart", {"bought_with": 1.0, "session": 0.1}),
        ("mail", {}),
    ],
)
def test_neighbors_of_the_session_weigh_as_the_context_says(context: Context, weights: dict[str, float]) -> None:
    lists = session(request_state(context, neighbors=(neighbors_of("t1", "view"),)))
    assert {candidates.source: candidates.weight for candidates in lists} == weights
    items = {candidates.source: list(candidates.items) for candidates in lists}
    assert items == {source: {"bought_with": ["b1"], "session": ["s1", "s2"]}[source] for source in weights}
    assert {candidates.constant for candidates in lists} <= {NEIGHBORS_CONSTANT}


def test_neighbors_weigh_less_along_the_session() -> None:
    lists = session(request_state(neighbors=(neighbors_of("t1", "view"), neighbors_of("c1", "view", 0.5))))
    assert [candidates.weight for candidates in lists] == pytest.approx([0.2, 0.3, 0.1, 0.15])


@pytest.mark.parametrize(
    ("item_id", "event", "reasons"),
    [
        (
            "t1",
            "view",
            ["often bought with Green tea, which you viewed", "similar to Green tea, which you viewed"],
        ),
        ("c1", "cart", ["often bought with c1, which is in your cart", "similar to c1, which is in your cart"]),
        (
            "t1",
            "click",
            ["often bought with Green tea, which you viewed", "similar to Green tea, which you viewed"],
        ),
        ("t1", "purchase", ["often bought with Green tea, which you bought"]),
    ],
    ids=["title", "id where there is no title", "other events are views", "no similar items once bought"],
)
def test_reasons_name_the_item_and_the_action(item_id: str, event: str, reasons: list[str]) -> None:
    lists = session(request_state(neighbors=(neighbors_of(item_id, event),)))
    assert [candidates.reason for candidates in lists] == reasons


def test_an_item_without_neighbors_gives_no_lists() -> None:
    alone = Neighbors(Act(0, "t1", "view"), 1.0)
    assert session(request_state(neighbors=(alone,))) == []
    assert session(request_state()) == []


def test_own_list_and_neighbors_are_collected_in_this_order() -> None:
    state = request_state(items="a", neighbors=(neighbors_of("t1", "view"),))
    assert [candidates.source for candidates in collect_lists(state)] == ["personal", "bought_with", "session"]


def test_a_flagged_user_has_no_lists_but_popular_items() -> None:
    neighbors = (neighbors_of("t1", "view"),)
    state = request_state(items="a b", neighbors=neighbors, favorites=("TEA",), flag='{"score":91}')
    assert collect_lists(state) == []
    assert ids(popular(state)) == ["t1", "c1", "t2", "t3"]


def test_favorite_categories_take_turns_with_their_available_items() -> None:
    candidates = list(segment(request_state(favorites=("TEA", "CUPS"))))
    assert [(candidate.item_id, candidate.reason) for candidate in candidates] == [
        ("t1", "popular in TEA, where you often choose"),
        ("c1", "popular in CUPS, where you often choose"),
        ("t2", "popular in TEA, where you often choose"),
        ("t3", "popular in TEA, where you often choose"),
    ]
    assert {candidate.source for candidate in candidates} == {"segment"}
    assert ids(segment(request_state())) == []


def test_items_of_favorite_categories_pass_the_item_filter() -> None:
    favorites = ("CUPS", "TEA")
    assert ids(segment(request_state(favorites=favorites, brand=("Y",)))) == ["t2"]
    assert ids(segment(request_state(favorites=favorites, price_min=2.0, price_max=4.0))) == ["t2", "t3"]
    # With a category of the request, the next rung gives its popular items.
    assert ids(segment(request_state(favorites=favorites, category=("CUPS",)))) == []


def test_popular_items_in_turns_name_their_category() -> None:
    turns = popular_in_turns(["TEA>GREEN", "CUPS", "NONE"], request_state())
    assert list(turns) == [("TEA>GREEN", "t2"), ("CUPS", "c1")]


@pytest.mark.parametrize(
    ("conditions", "items", "reason"),
    [
        ({}, ["t1", "c1", "t2", "t3"], "popular in the shop"),
        ({"category": ("TEA",)}, ["t1", "t2", "t3"], "popular in TEA"),
        ({"brand": ("X",), "price_min": 2.0}, ["c1", "t3"], "popular of X from 2.0"),
        ({"category": ("CUPS", "TEA > GREEN")}, ["c1", "t2"], "popular in CUPS or TEA>GREEN"),
        (
            {"category": ("TEA",), "brand": ("Y",), "price_min": 1.0, "price_max": 2.5},
            ["t2"],
            "popular in TEA of Y from 1.0 up to 2.5",
        ),
        ({"price_min": 0.0, "price_max": 0.5}, [], ""),
    ],
    ids=["no filter", "category", "brand and price", "categories", "all conditions", "no item"],
)
def test_popular_items_pass_the_filter_and_say_it(
    conditions: dict[str, Any], items: list[str], reason: str
) -> None:
    candidates = list(popular(request_state(**conditions)))
    assert [candidate.item_id for candidate in candidates] == items
    assert {(candidate.source, candidate.reason) for candidate in candidates} <= {("popular", reason)}


def test_the_static_list_of_the_shop_says_so() -> None:
    first, *_ = popular(request_state(version=STATIC_VERSION))
    assert first == Candidate("t1", "static", "a favourite of the shop")
