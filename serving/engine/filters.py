"""Filters: which items must not be in an answer, and why.

Each filter is a function of the request's state. To add one, write it, test it, and add it to `FILTERS`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final

import numpy as np
from msgspec import Struct

from recsys.schema import PURCHASE, REFUND
from serving.engine.catalogue import Catalogue
from serving.engine.last_words import cart_items, disliked_items, without_returned
from serving.engine.ranking import Candidate
from serving.engine.request_state import RequestState
from serving.engine.session_limits import SEEN_EVENTS
from serving.requests import NO_FILTER, ItemFilter

DAY_MS: Final = 86_400_000
MISMATCH: Final = "category, brand, price or attribute"


class Exclusion(Struct, frozen=True):
    """Items that must not be in an answer, and the reason; `contains` is called for each candidate."""

    reason: str
    contains: Callable[[str], bool]


Filter = Callable[[RequestState], Exclusion | None]
Removals = dict[str, list[str]]
"""Reason -> the items that were removed for it."""


def unavailable(state: RequestState) -> Exclusion:
    """Exclude items that the shop cannot sell now."""
    return Exclusion("unavailable", state.catalogue.unavailable.__contains__)


def changed_lately(state: RequestState) -> Exclusion | None:
    """Exclude items that were switched on or off lately, while Redis is not heard and they may be off again."""
    return Exclusion("changed lately", state.withheld.__contains__) if state.withheld else None


def outside_validity(state: RequestState) -> Exclusion | None:
    """Exclude items before their `valid_from`, and from their `valid_until` on, at the time of the request."""
    catalogue, now_ms = state.catalogue, state.now_ms
    if not catalogue.offers.has_validity:
        return None
    return Exclusion("not valid now", lambda item_id: not catalogue.is_valid(item_id, now_ms))


def not_recommendable(state: RequestState) -> Exclusion | None:
    """Exclude items that are no goods, which were put online with such a title, category or id."""
    item_ids = state.catalogue.not_recommendable
    return Exclusion("not recommendable", item_ids.__contains__) if item_ids else None


def excluded_by_request(state: RequestState) -> Exclusion | None:
    """Exclude the items that the request names."""
    return _exclude("excluded", state.request.exclude, state.catalogue)


def seen_in_session(state: RequestState) -> Exclusion | None:
    """Exclude items viewed or clicked in the session, if the shop hides them."""
    if not state.policy.hide_seen or not state.user.acts:
        return None
    item_ids = {act.item_id for act in state.user.acts if act.event in SEEN_EVENTS}
    return _exclude("seen", item_ids, state.catalogue)


def bought_in_session(state: RequestState) -> Exclusion | None:
    """Exclude items that the user got in the session, forever or until they are likely to be bought again.

    A list of new items has none of them again.
    """
    if not state.user.acts:
        return None
    if _is_of_new_items(state):
        item_ids = _owned_in_session(state)
    else:
        acts = without_returned(state.user.acts, state.catalogue.groups.group_or_item)
        item_ids = {
            act.item_id
            for act in acts
            if act.event == PURCHASE
            and act.at_ms >= state.catalogue.as_of_ms
            and state.now_ms < act.at_ms + DAY_MS * _repeat_days(act.item_id, state)
        }
    return _exclude("bought", item_ids, state.catalogue)


def bought_before(state: RequestState) -> Exclusion | None:
    """Exclude items that the user had before the nightly run, if the shop or the list never repeats them."""
    history = state.user.history
    if not history or not _is_of_new_items(state):
        return None
    if state.catalogue.groups:
        return _exclude("bought", history.split(), state.catalogue)
    return Exclusion("bought", lambda item_id: f" {item_id} " in history)


def never_bought(state: RequestState) -> Exclusion | None:
    """Exclude items that the user never had from the list of items to buy again."""
    if state.request.list != "again":
        return None
    group_or_item, user = state.catalogue.groups.group_or_item, state.user
    # A long history is cut; the list itself is of items that the user has.
    item_ids = (*user.items, *user.history.split(), *_owned_in_session(state))
    owned = {group_or_item(item_id) for item_id in item_ids}
    return Exclusion("never bought", lambda item_id: group_or_item(item_id) not in owned)


def in_cart(state: RequestState) -> Exclusion | None:
    """Exclude what is in the cart from the list beside the cart."""
    if state.request.context != "cart":
        return None
    return _exclude("in the cart", find_cart(state), state.catalogue)


def on_page(state: RequestState) -> Exclusion | None:
    """Exclude the product of the page, which is the last one viewed, from the list beside it."""
    if state.request.context != "product":
        return None
    product = next((act.item_id for act in state.user.acts if act.event in SEEN_EVENTS), None)
    return _exclude("on the page", () if product is None else (product,), state.catalogue)


def find_cart(state: RequestState) -> list[str]:
    """Return the items in the cart of the user of a request, the latest first."""
    return cart_items(state.user.acts, state.policy.certain_weights, state.catalogue.groups.group_or_item)


def disliked(state: RequestState) -> Exclusion | None:
    """Exclude items that the user dislikes, in the session or before the nightly run, and does not want since."""
    return _exclude("disliked", find_disliked(state), state.catalogue)


def find_disliked(state: RequestState) -> frozenset[str]:
    """Return the items that the user of a request dislikes."""
    user, policy, catalogue = state.user, state.policy, state.catalogue
    weights = policy.negative_weights, policy.certain_weights
    return disliked_items(user.acts, *weights, user.disliked, catalogue.as_of_ms, catalogue.groups.group_or_item)


FILTERS: Final[tuple[Filter, ...]] = (
    unavailable,
    changed_lately,
    outside_validity,
    not_recommendable,
    excluded_by_request,
    seen_in_session,
    bought_in_session,
    bought_before,
    never_bought,
    in_cart,
    on_page,
    disliked,
)
"""All filters; an item that several filters exclude is removed for the reason of the first."""


def find_exclusions(state: RequestState) -> list[Exclusion]:
    """Return the exclusions of all filters that apply to a request."""
    return [exclusion for exclude in FILTERS if (exclusion := exclude(state)) is not None]


class Page(Struct, frozen=True):
    """Items of an order that may be shown, and the items removed before them."""

    items: list[Candidate]
    place: int
    """Place in the order after the last item taken."""
    removed: Removals


NO_PAGE: Final = Page([], 0, {})


def take_page(order: Iterable[Candidate], start: int, offset: int, n: int, exclusions: Sequence[Exclusion]) -> Page:
    """Take `n` items that may be shown, from the place `start` on, after skipping `offset` of them.

    The order is iterated no further than needed: as many candidates as are missing are taken and checked together,
    which takes less time than one by one.
    """
    source = iter(order)
    place = sum(1 for _ in islice(source, start)) if start else 0
    allowed: list[Candidate] = []
    removed: Removals = {}
    while missing := offset + n - len(allowed):
        candidates = list(islice(source, missing))
        place += len(candidates)
        reasons = _find_reasons([candidate.item_id for candidate in candidates], exclusions)
        if reasons:
            allowed += [candidate for candidate in candidates if candidate.item_id not in reasons]
            for candidate in candidates:
                if candidate.item_id in reasons:
                    removed.setdefault(reasons[candidate.item_id], []).append(candidate.item_id)
        else:
            allowed += candidates
        if len(candidates) < missing:
            break
    return Page(allowed[offset:] if offset else allowed, place, removed)


def _find_reasons(item_ids: Sequence[str], exclusions: Sequence[Exclusion]) -> dict[str, str]:
    """Return the items that are excluded, each with the reason of the first exclusion."""
    reasons: dict[str, str] = {}
    for exclusion in exclusions:
        for item_id in filter(exclusion.contains, item_ids):
            reasons.setdefault(item_id, exclusion.reason)
    return reasons


def keep_matching(
    order: Iterable[Candidate], item_filter: ItemFilter, catalogue: Catalogue
) -> tuple[Iterable[Candidate], Removals]:
    """Return the candidates that pass an item filter, in their order, and the ones removed."""
    if item_filter is NO_FILTER:
        return order, {}
    order = list(order)
    passes = catalogue.passes(item_filter, (candidate.item_id for candidate in order))
    kept = [candidate for candidate, passed in zip(order, passes, strict=True) if passed]
    mismatches = [candidate.item_id for candidate, passed in zip(order, passes, strict=True) if not passed]
    return kept, {MISMATCH: mismatches} if mismatches else {}


def _exclude(reason: str, item_ids: Collection[str], catalogue: Catalogue) -> Exclusion | None:
    """Exclude items with all variants of their groups; None if there is none."""
    if not item_ids:
        return None
    groups = catalogue.groups
    if not groups:
        return Exclusion(reason, item_ids.__contains__)
    excluded = {groups.group_or_item(item_id) for item_id in item_ids}
    return Exclusion(reason, lambda item_id: groups.group_or_item(item_id) in excluded)


def _is_of_new_items(state: RequestState) -> bool:
    """Return whether the list of a request has no item that the user had before."""
    return state.policy.repeat == "exclude" or state.request.list == "new"


def _owned_in_session(state: RequestState) -> set[str]:
    """Return the items that the user has by what is in the session."""
    acts = without_returned(state.user.acts, state.catalogue.groups.group_or_item)
    events = state.policy.exclude_events
    return {act.item_id for act in acts if (act.event in events if events else act.event != REFUND)}


def _repeat_days(item_id: str, state: RequestState) -> float:
    """Return the days after which a bought item is recommended again."""
    row = state.catalogue.rows.get(item_id)
    days = np.nan if row is None else float(state.catalogue.repeat_days[row])
    return state.policy.repeat_days if np.isnan(days) else days
