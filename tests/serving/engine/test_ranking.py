"""Orders of candidates: numbers worked out by hand, and what holds for any order."""

from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.schema import VECTOR
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue
from serving.engine.filters import take_page
from serving.engine.order.place_limits import limit_places
from serving.engine.ranking import Candidate, CandidateList, diversify, fuse, spread

BRANDS = ("x", "y", "z", None)


def candidate(item_id: str) -> Candidate:
    """An item of a user's list."""
    return Candidate(item_id, "personal", "why")


def catalogue(brands: dict[str, str | None], vectors: dict[str, list[int]] | None = None) -> Catalogue:
    """Items of these brands, and perhaps vectors of two numbers."""
    rows = [{"item_id": item_id, "brand": brand, "available": True} for item_id, brand in brands.items()]
    items = pl.DataFrame(rows, schema=CATALOGUE_SCHEMA)
    if vectors is not None:
        column = np.array([vectors[item_id] for item_id in brands], np.int8)
        items = items.with_columns(pl.Series(VECTOR, column))
    return Catalogue("20180101T000000Z", items)


def names(order: object) -> list[str]:
    return [each.item_id for each in order]  # type: ignore[attr-defined]


def test_a_single_list_stays_as_it_is() -> None:
    order = list(fuse([CandidateList("personal", "why", ["a", "b"])]))
    assert order == [Candidate("a", "personal", "why"), Candidate("b", "personal", "why")]


def test_lists_are_fused_by_reciprocal_ranks() -> None:
    own = CandidateList("personal", "own", ["a", "b", "c"], 1.0, 10)
    near = CandidateList("session", "near", ["c", "d"], 0.3, 3)
    # a 1/11 = .0909, b 1/12 = .0833, c 1/13 + .3/4 = .1519, d .3/5 = .06; c's own list, with 1/13, counts most.
    order = list(fuse([own, near]))
    assert names(order) == ["c", "a", "b", "d"]
    assert order[0].source == "personal"
    assert order[3] == Candidate("d", "session", "near")


def test_equal_scores_keep_the_order_of_the_lists() -> None:
    lists = [CandidateList("personal", "own", ["a"]), CandidateList("session", "near", ["b"])]
    assert names(fuse(lists)) == ["a", "b"]


@st.composite
def lists_of_sources(draw: st.DrawFn) -> list[CandidateList]:
    """Several lists, of which some share an anchor."""
    shapes = st.tuples(
        st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
        st.sampled_from([1.0, 0.3, 0.15]),
        st.integers(1, 10),
        st.sampled_from(["tea", "mug", None]),
    )
    drawn = draw(st.lists(shapes, min_size=2, max_size=5))
    return [
        CandidateList("session" if anchor else "personal", f"list {number}", items, weight, constant, anchor)
        for number, (items, weight, constant, anchor) in enumerate(drawn)
    ]


@given(lists_of_sources())
def test_an_item_has_the_sum_of_its_scores_then_that_without_its_best_anchor(lists: list[CandidateList]) -> None:
    expected: list[tuple[float, Candidate]] = []
    for item_id in dict.fromkeys(item_id for each in lists for item_id in each.items):
        scores = [
            (each.weight / (each.constant + each.items.index(item_id) + 1), -number)
            for number, each in enumerate(lists)
            if item_id in each.items
        ]
        while scores:
            best = lists[-max(scores)[1]]
            candidate = Candidate(item_id, best.source, best.reason, best.anchor)
            expected.append((sum(score for score, _ in scores), candidate))
            left = [each for each in scores if lists[-each[1]].anchor != best.anchor]
            scores = left if best.anchor else []
    order = list(fuse(lists))
    scores_of = {(each.item_id, each.reason): score for score, each in expected}
    assert sorted(map(str, order)) == sorted(str(each) for _, each in expected)
    ordered = [scores_of[each.item_id, each.reason] for each in order]
    assert all(before >= after - 1e-12 for before, after in pairwise(ordered))


def test_marginal_relevance_by_hand() -> None:
    # b is just like a, c is unlike both. Relevance falls from 1 over 1/2 to 0; diversity .4.
    items = catalogue(dict.fromkeys("abc"), {"a": [127, 0], "b": [127, 0], "c": [0, 127]})
    order = [candidate("a"), candidate("b"), candidate("c")]
    # a first: .6 * 1. Then b: .6 * .5 - .4 * 1 = -.1, and c: 0 - 0 = 0, so c comes before b.
    assert names(diversify(order, items, 0.4)) == ["a", "c", "b"]
    # With .2: b .8 * .5 - .2 = .2, c 0.
    assert names(diversify(order, items, 0.2)) == ["a", "b", "c"]
    assert names(diversify(order, items, 0.0)) == ["a", "b", "c"]


def test_without_vectors_nothing_moves() -> None:
    order = [candidate("a"), candidate("b")]
    assert diversify(order, catalogue(dict.fromkeys("ab")), 0.9) == order


def test_an_empty_order_stays_empty() -> None:
    items = catalogue({"a": None}, {"a": [127, 0]})
    assert diversify([], items, 0.5) == []


@st.composite
def branded(draw: st.DrawFn) -> dict[str, str | None]:
    chosen = draw(st.lists(st.sampled_from(BRANDS), max_size=40))
    return {f"i{number}": brand for number, brand in enumerate(chosen)}


@given(branded(), st.integers(1, 8), st.integers(1, 3))
def test_spreading_loses_nothing_and_keeps_to_the_limit_while_it_can(
    brands: dict[str, str | None], n: int, most: int
) -> None:
    items = catalogue(brands)
    order = [candidate(item_id) for item_id in brands]
    result = names(spread(order, n, items, most, 0))
    assert sorted(result) == sorted(brands)
    for start in range(0, len(result), n):
        counts = Counter(brands[item_id] for item_id in result[start : start + n])
        del counts[None]
        if counts and max(counts.values()) > most:
            # Only where what is left from here on has nothing else to offer.
            left = Counter(brands[item_id] for item_id in result[start:])
            room = left[None] + sum(min(count, most) for brand, count in left.items() if brand is not None)
            assert room < min(n, len(result) - start)


@given(branded(), st.integers(1, 8))
def test_pages_of_a_spread_order_are_the_order(brands: dict[str, str | None], n: int) -> None:
    items = catalogue(brands)
    order = [candidate(item_id) for item_id in brands]
    whole = names(spread(order, n, items, 1, 0))
    pages: list[str] = []
    for offset in range(0, len(order) + 1, n):
        pages += names(take_page(spread(order, n, items, 1, 0), 0, offset, n, []).items)
    assert pages == whole


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["tea", "mug", None])), max_size=60), st.data())
def test_no_anchor_has_more_than_its_share_of_any_prefix_while_others_remain(
    drawn: list[tuple[int, str | None]], data: st.DataObject
) -> None:
    order = [Candidate(str(number), "session" if anchor else "personal", "why", anchor) for number, anchor in drawn]
    excluded = data.draw(st.sets(st.sampled_from([str(number) for number in range(31)])))
    limited = list(limit_places(order, 0.3, excluded.__contains__, keep_rest=False))
    shown = [each for each in limited if each.item_id not in excluded]
    for length in range(1, len(shown) + 1):
        counts = Counter(each.anchor for each in shown[:length] if each.anchor)
        assert max(counts.values(), default=0) <= -(-3 * length // 10)
    whole = list(limit_places(order, 0.3, excluded.__contains__))
    assert whole[: len(limited)] == limited
    assert sorted(names(whole)) == sorted({each.item_id for each in order})
