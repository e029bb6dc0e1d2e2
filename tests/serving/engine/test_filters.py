"""Filters of a request's state, one by one and together, and pages taken from an order."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replace_struct

from recsys.anomaly.acts import Act
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue
from serving.engine.filters import (
    DAY_MS,
    Exclusion,
    bought_before,
    bought_in_session,
    disliked,
    excluded_by_request,
    find_exclusions,
    outside_validity,
    seen_in_session,
    take_page,
    unavailable,
)
from serving.engine.ranking import Candidate
from serving.engine.request_state import Policy, RequestState
from serving.engine.user_state import UserState
from serving.requests import NO_FILTER, ItemFilter, ListRequest

VERSION = "20180101T000000Z"
AS_OF_MS = 1_514_764_800_000
POLICY = Policy(repeat="exclude", exclude_events=frozenset({"purchase"}), hide_seen=True, repeat_days=3.0)
ALLOW = replace(POLICY, repeat="allow")


def request_state(
    *acts: tuple[str, str, int], history: str = "", exclude: str = "", policy: Policy = POLICY, day: int = 1
) -> RequestState:
    """Return the state of a request `day` days after the version; acts are (event, item, day)."""
    rows = [{"item_id": "u", "available": False}, {"item_id": "c", "repeat_days": 10.0}]
    user = UserState(VERSION, acts=[Act(AS_OF_MS + at * DAY_MS, item, event) for event, item, at in acts])
    now_ms = AS_OF_MS + day * DAY_MS
    return RequestState(
        ListRequest("7", exclude=frozenset(exclude)),
        NO_FILTER,
        "7",
        UserState(VERSION, acts=user.acts, history=history),
        Catalogue(VERSION, pl.DataFrame(rows, schema=CATALOGUE_SCHEMA)),
        policy,
        now_ms,
        now_ms,
        is_fresh=True,
    )


def excluded(exclusion: Exclusion | None, item_ids: Iterable[str]) -> str:
    """Return those of some items that are excluded."""
    return "" if exclusion is None else "".join(filter(exclusion.contains, item_ids))


def candidates(item_ids: list[str]) -> list[Candidate]:
    return [Candidate(item_id, "personal", "why") for item_id in item_ids]


def ids(items: list[Candidate]) -> list[str]:
    return [candidate.item_id for candidate in items]


def test_unavailable_items_are_excluded_and_available_again_when_changed() -> None:
    state = request_state()
    exclusion = unavailable(state)
    assert excluded(exclusion, "uc") == "u"
    state.catalogue.put({"u": {"available": True}, "c": {"available": False}})
    assert excluded(exclusion, "uc") == "c"


def test_items_are_valid_from_their_first_moment_to_before_their_last() -> None:
    begins, ends = AS_OF_MS + DAY_MS, AS_OF_MS + 2 * DAY_MS
    times = [datetime.fromtimestamp(at / 1_000, UTC).isoformat() for at in (begins, ends)]
    state = request_state()
    assert outside_validity(state) is None
    state.catalogue.put({"c": {"valid_from": times[0], "valid_until": times[1]}, "new": {"valid_until": times[0]}})
    moments = (begins - 1, begins, ends - 1, ends)
    shown = [outside_validity(replace_struct(state, now_ms=now_ms)) for now_ms in moments]
    assert [excluded(exclusion, ("u", "c", "new", "x")) for exclusion in shown] == ["c", "new", "new", "cnew"]
    popular = [list(state.catalogue.popular(NO_FILTER, now_ms)) for now_ms in moments]
    assert popular == [["new"], ["c"], ["c"], []]
    assert list(state.catalogue.popular(ItemFilter(price_max=1.0), begins)) == []


def test_stock_counts_where_availability_is_not_given() -> None:
    state = request_state()
    exclusion = unavailable(state)
    for facts, expected in (
        ({"stock": 0.0}, "uc"),
        ({"stock": 2.0}, "u"),
        ({"available": False}, "uc"),
        ({"stock": 3.0}, "uc"),
        ({"available": True}, "u"),
        ({"stock": 0.0}, "u"),
        ({"available": None}, "uc"),
    ):
        state.catalogue.put({"c": facts})
        assert excluded(exclusion, "uc") == expected, facts


def test_items_of_the_request_are_excluded() -> None:
    assert excluded(excluded_by_request(request_state(exclude="ab")), "abc") == "ab"
    assert excluded_by_request(request_state()) is None


def test_seen_items_are_excluded_where_the_shop_hides_them() -> None:
    acts = [("view", "v", 0), ("click", "k", 0), ("cart", "c", 0)]
    assert excluded(seen_in_session(request_state(*acts)), "vkc") == "vk"
    assert seen_in_session(request_state(*acts, policy=replace(POLICY, hide_seen=False))) is None


def test_items_bought_in_the_session_are_excluded() -> None:
    acts = [("purchase", "a", -5), ("view", "b", 0)]
    assert excluded(bought_in_session(request_state(*acts)), "ab") == "a"
    assert bought_in_session(request_state(("view", "b", 0))) is None


@pytest.mark.parametrize(
    ("day", "expected"),
    [(1, "ac"), (3, "c"), (9, "c"), (10, "")],
    ids=["at once", "after the shop's days", "before the item's own days", "after the item's own days"],
)
def test_items_are_repeated_after_their_days(day: int, expected: str) -> None:
    # c is bought again after 10 days, others after 3; what was bought before the version was known to the night.
    state = request_state(("purchase", "a", 0), ("purchase", "c", 0), ("purchase", "b", -1), policy=ALLOW, day=day)
    assert excluded(bought_in_session(state), "abc") == expected


def test_items_of_the_history_are_excluded_by_whole_ids() -> None:
    exclusion = bought_before(request_state(history=" h hh "))
    assert exclusion is not None
    assert [exclusion.contains(item_id) for item_id in ("h", "hh", "hhh", "")] == [True, True, False, False]
    assert bought_before(request_state(history=" h ", policy=ALLOW)) is None
    assert bought_before(request_state()) is None


@pytest.mark.parametrize("repeat", [POLICY, ALLOW])
def test_disliked_items_are_excluded_by_session_and_night_until_they_are_wanted(repeat: Policy) -> None:
    policy = replace(repeat, negative_weights={"dislike": -3.0}, certain_weights={"cart": 3.0, "view": 1.0})
    acts = [("dislike", "a", 0), ("dislike", "b", 0), ("cart", "b", 1), ("view", "c", 1), ("cart", "d", 1)]
    state = request_state(*acts, policy=policy)
    state = replace_struct(state, user=replace_struct(state.user, disliked=frozenset("cd")))
    assert excluded(disliked(state), "abcd") == "ac"
    assert disliked(request_state(("view", "a", 0), policy=policy)) is None


def test_returned_items_are_not_excluded() -> None:
    acts = (("purchase", "a", 0), ("purchase", "b", 0), ("refund", "a", 1))
    for names in (("purchase",), ()):
        policy = replace(POLICY, exclude_events=frozenset(names))
        assert excluded(bought_in_session(request_state(*acts, policy=policy)), "ab") == "b"
    assert excluded(bought_in_session(request_state(*acts, policy=ALLOW)), "ab") == "b"


def test_excluded_items_are_reported_with_their_reason() -> None:
    acts = [("purchase", "b", 0), ("view", "s", 0), ("view", "b", -1), ("view", "e", 0)]
    exclusions = find_exclusions(request_state(*acts, history=" h hh b ", exclude="eu"))
    page = take_page(candidates(["h", "b", "s", "e", "u", "k", "hhh"]), 0, 0, 2, exclusions)
    assert (ids(page.items), page.place) == (["k", "hhh"], 7)
    assert page.removed == {"bought": ["h"], "seen": ["b", "s"], "excluded": ["e"], "unavailable": ["u"]}


def one_by_one(item_ids: list[str], start: int, offset: int, n: int, off: set[str]) -> tuple[list[str], int, Any]:
    """Return what `take_page` should, from one candidate after the other."""
    items: list[str] = []
    removed: list[str] = []
    place = 0
    for place, item_id in enumerate(item_ids, 1):
        if place <= start:
            continue
        if item_id in off:
            removed.append(item_id)
            continue
        items.append(item_id)
        if len(items) == offset + n:
            break
    return items[offset:], place, {"off": removed} if removed else {}


ITEM_IDS = st.integers(0, 30).map(lambda size: [f"i{number}" for number in range(size)])
OFF = st.sets(st.integers(0, 29).map(lambda number: f"i{number}"))


@given(ITEM_IDS, OFF, st.integers(0, 10), st.integers(0, 10), st.integers(1, 7))
def test_a_page_is_as_if_candidates_were_taken_one_by_one(
    item_ids: list[str], off: set[str], start: int, offset: int, n: int
) -> None:
    page = take_page(candidates(item_ids), start, offset, n, [Exclusion("off", off.__contains__)])
    assert (ids(page.items), page.place, page.removed) == one_by_one(item_ids, start, offset, n, off)


@given(ITEM_IDS, OFF, st.integers(1, 7))
def test_places_lead_through_an_order_once(item_ids: list[str], off: set[str], n: int) -> None:
    shown: list[str] = []
    place = 0
    while True:
        page = take_page(candidates(item_ids), place, 0, n, [Exclusion("off", off.__contains__)])
        place = page.place
        shown += ids(page.items)
        if len(page.items) < n:
            break
    assert shown == [item_id for item_id in item_ids if item_id not in off]


@pytest.mark.parametrize("n", [1, 5])
def test_an_order_is_not_gone_through_further_than_needed(n: int) -> None:
    taken = 0

    def endless() -> Iterator[Candidate]:
        nonlocal taken
        while True:
            taken += 1
            yield Candidate(f"i{taken}", "personal", "why")

    page = take_page(endless(), 0, 0, n, [Exclusion("off", {"i1"}.__contains__)])
    assert len(page.items) == n
    assert page.place == taken == n + 1


def test_the_events_after_which_a_user_has_an_item_are_a_setting() -> None:
    acts = (("view", "a", 0), ("cart", "b", 0), ("purchase", "c", 0))
    for names, expected in ((("purchase",), "c"), (("view", "purchase"), "ac"), ((), "abc")):
        policy = replace(POLICY, exclude_events=frozenset(names))
        assert excluded(bought_in_session(request_state(*acts, policy=policy)), "abcd") == expected
