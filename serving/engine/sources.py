"""Sources of candidates: the lists that are blended, and the ladder that fills an answer that is too short.

Each source is a function of the request's state. To add one, write it, test it, and add it to `LIST_SOURCES` or
`FILL_SOURCES`; a name of its own goes to `serving.api.Source`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from recsys.schema import CART, PURCHASE
from serving.api import Context, ListName, Source
from serving.engine.catalogue import STATIC_VERSION
from serving.engine.filters import keep_matching
from serving.engine.ranking import NEIGHBORS_CONSTANT, Candidate, CandidateList, to_candidates
from serving.engine.request_state import RequestState
from serving.requests import NO_FILTER

PERSONAL: Final = "picked for you from what you and shoppers like you have chosen"
PREVIOUS: Final = "picked for you the night before"
LIST_REASONS: Final[Mapping[ListName, str]] = {
    "blend": PERSONAL,
    "again": "you have bought it before",
    "new": "new for you, picked from what you and shoppers like you have chosen",
}
POPULAR: Final = "popular in the shop"
STATIC: Final = "a favourite of the shop"
ACTION_TEXTS: Final = {CART: "is in your cart", PURCHASE: "you bought"}
DEFAULT_ACTION_TEXT: Final = "you viewed"


@dataclass(frozen=True, slots=True)
class ListWeights:
    """Weights of the lists in one context, before the decay along the session.

    `bought_with`, the constants and the decay are tuned on the last but one week of Complete Journey. That data has
    purchases only, so the other weights are a choice.
    """

    personal: float = 1.0
    similar: float = 0.3
    bought_with: float = 0.15

    @property
    def use_session(self) -> bool:
        """Return whether neighbors of the session's items count at all."""
        return bool(self.similar or self.bought_with)


LIST_WEIGHTS: Final[Mapping[Context, ListWeights]] = {
    "home": ListWeights(),
    "product": ListWeights(similar=1.0),
    "cart": ListWeights(similar=0.1, bought_with=1.0),
    "mail": ListWeights(similar=0.0, bought_with=0.0),
}

ListSource = Callable[[RequestState], list[CandidateList]]
FillSource = Callable[[RequestState], Iterator[Candidate]]


def personal(state: RequestState) -> list[CandidateList]:
    """Return the user's own list, of the live version or the previous one."""
    if not state.user.items:
        return []
    reason = PREVIOUS if state.is_previous else LIST_REASONS[state.request.list]
    source: Source = "previous" if state.is_previous else "personal"
    return [CandidateList(source, reason, state.user.items, LIST_WEIGHTS[state.request.context].personal)]


def session(state: RequestState) -> list[CandidateList]:
    """Return items bought together with items of the session, and items similar to those not yet bought."""
    weights = LIST_WEIGHTS[state.request.context]
    lists: list[CandidateList] = []
    for neighbors in state.neighbors:
        act = neighbors.act
        title, action = state.catalogue.title(act.item_id), ACTION_TEXTS.get(act.event, DEFAULT_ACTION_TEXT)
        if neighbors.bought_together and weights.bought_with:
            reason, weight = f"often bought with {title}, which {action}", neighbors.weight * weights.bought_with
            lists.append(
                CandidateList("bought_with", reason, neighbors.bought_together, weight, NEIGHBORS_CONSTANT, title)
            )
        if neighbors.similar and weights.similar and act.event != PURCHASE:
            reason, weight = f"similar to {title}, which {action}", neighbors.weight * weights.similar
            lists.append(CandidateList("session", reason, neighbors.similar, weight, NEIGHBORS_CONSTANT, title))
    return lists


def bought(state: RequestState) -> Iterator[Candidate]:
    """Yield what the user has bought and passes the request's item filter, the latest first."""
    rows, acts = state.catalogue.rows, state.user.acts
    purchases = (act.item_id for act in acts if act.event == PURCHASE and act.item_id in rows)
    item_ids = dict.fromkeys(chain(purchases, state.user.history.split()))
    order = to_candidates(item_ids, "personal", LIST_REASONS["again"])
    yield from keep_matching(order, state.item_filter, state.catalogue)[0]


def segment(state: RequestState) -> Iterator[Candidate]:
    """Yield popular items of the user's favorite categories, one of each category in turns."""
    for category, item_id in popular_in_turns(state.favorite_categories, state):
        yield Candidate(item_id, "segment", f"popular in {category}, where you often choose")


def popular(state: RequestState) -> Iterator[Candidate]:
    """Return popular items that pass the request's item filter."""
    return to_candidates(state.catalogue.popular(state.item_filter, state.now_ms), *popular_label(state))


def popular_label(state: RequestState) -> tuple[Source, str]:
    """Return the source and the reason of popular items that pass the request's item filter."""
    item_filter = state.item_filter
    source: Source
    source, reason = ("static", STATIC) if state.catalogue.version == STATIC_VERSION else ("popular", POPULAR)
    if item_filter != NO_FILTER:
        parts = (
            ("in", " or ".join(item_filter.categories) or None),
            ("of", " or ".join(item_filter.brands) or None),
            ("from", item_filter.price_min),
            ("up to", item_filter.price_max),
            ("with", ", ".join(map(str, item_filter.attributes)) or None),
        )
        reason = "popular" + "".join(f" {word} {value}" for word, value in parts if value is not None)
    return source, reason


LIST_SOURCES: Final[tuple[ListSource, ...]] = (personal, session)
"""Sources of lists that are blended; if scores are equal, earlier lists win."""
FILL_SOURCES: Final[tuple[FillSource, ...]] = (segment, popular)
"""Rungs of the ladder below the blended lists, each used when the rungs above it have no items left."""
AGAIN_SOURCES: Final[tuple[FillSource, ...]] = (bought,)
"""The same for items to buy again."""


def fill_sources(state: RequestState) -> tuple[FillSource, ...]:
    """Return the rungs of the ladder below the list of a request."""
    return AGAIN_SOURCES if state.request.list == "again" else FILL_SOURCES


def collect_lists(state: RequestState) -> list[CandidateList]:
    """Return the lists of all sources; none for a flagged user, whose answer is filled with popular items."""
    if state.user.flag is not None:
        return []
    lists = [candidates for source in LIST_SOURCES for candidates in source(state)]
    return lists if state.variants is None else state.variants.choose_in_lists(lists)


def popular_in_turns(categories: Sequence[str], state: RequestState) -> Iterator[tuple[str, str]]:
    """Yield popular items of several categories in turns, each with its category.

    Yields nothing if the item filter names a category itself.
    """
    item_filter, catalogue, now_ms = state.item_filter, state.catalogue, state.now_ms
    if item_filter.categories:
        return
    remaining = [
        (category, catalogue.popular(replace(item_filter, categories=(category,)), now_ms))
        for category in categories
    ]
    while remaining:
        for turn in list(remaining):
            category, items = turn
            item_id = next(items, None)
            if item_id is None:
                remaining.remove(turn)
            else:
                yield category, item_id
