"""The order that pages are taken from: limits of what places have in common, and the ladder below the lists."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from msgspec.structs import replace

from recsys.settings import Settings
from serving.api import MAX_OFFSET, Recommendation
from serving.engine.filters import Exclusion, Page, find_exclusions
from serving.engine.order.place_limits import LabelLimits, limit_places
from serving.engine.ranking import Candidate, deduplicate, spread
from serving.engine.request_state import RequestState
from serving.engine.sources import fill_sources, popular_label
from serving.requests import Cursor

MAX_COMPARED: Final = 2_000
"""Places of a user's order in which given items are looked for; the others follow by popularity."""
UNKNOWN: Final = "unknown item"


@dataclass(frozen=True)
class PageLimits:
    """How many places of a page may have one thing in common."""

    max_anchor_share: float
    max_per_brand: int
    max_per_category: int
    max_per_type: int = 0
    max_per_title: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "PageLimits":
        """Return the limits of the settings."""
        serving, lists = settings.serving, settings.lists
        return cls(
            serving.max_anchor_share,
            serving.max_per_brand,
            serving.max_per_category,
            lists.max_per_type,
            lists.max_per_title,
        )

    @property
    def has_labels(self) -> bool:
        """Return whether brands or categories are limited."""
        return bool(self.max_per_brand or self.max_per_category)

    def apply(
        self,
        order: Iterable[Candidate],
        state: RequestState,
        exclusions: Sequence[Exclusion],
        is_whole: bool,
        limits: LabelLimits | None = None,
    ) -> Iterable[Candidate]:
        """Reorder candidates such that nothing has more places than its limit; each item comes once.

        An order that `is_whole` has nothing after it: in the end the limits are broken. The list beside a product
        is there for the neighbors of that one item, so anchors are not limited there.
        """
        share = 1.0 if state.request.context == "product" else self.max_anchor_share
        if limits is not None or (share < 1 and state.neighbors):
            order = limit_places(order, share, _was_excluded(state, exclusions), is_whole, limits)
        elif is_whole or state.neighbors:
            order = deduplicate(order)
        if self.has_labels:
            order = spread(order, state.request.n, state.catalogue, self.max_per_brand, self.max_per_category)
        return order

    def label_limits(self, state: RequestState, of_types: bool = True) -> LabelLimits | None:
        """Return the limits of titles, and `of_types`, for a request; None if there are none.

        Where the request asks for a category, or for what is like a product, types are not limited.
        """
        if state.item_filter.categories or state.request.context == "product":
            of_types = False
        max_per_type = self.max_per_type if of_types else 0
        if not max_per_type and not self.max_per_title:
            return None
        return LabelLimits(state.catalogue, max_per_type, self.max_per_title, state.user.items)


def ladder(state: RequestState) -> Iterable[Candidate]:
    """Return the candidates that fill an answer whose lists have no items left."""
    return show_variants(chain.from_iterable(source(state) for source in fill_sources(state)), state)


def show_variants(order: Iterable[Candidate], state: RequestState) -> Iterable[Candidate]:
    """Return an order with the variant of each group that the answer shows."""
    return order if state.variants is None else state.variants.choose_in_order(order)


def take_given(order: Iterable[Candidate], item_ids: Sequence[str], state: RequestState) -> Iterator[Candidate]:
    """Yield given items in their places of a user's order, then the others by popularity, unknown ones last."""
    missing, rows = set(item_ids), state.catalogue.rows
    for candidate in islice(order, MAX_COMPARED):
        if candidate.item_id in missing:
            missing.discard(candidate.item_id)
            yield candidate
            if not missing:
                return
    source, reason = popular_label(state)
    rest = sorted((each for each in missing if each in rows), key=rows.__getitem__)
    unknown = (each for each in dict.fromkeys(item_ids) if each in missing and each not in rows)
    others = chain(
        (Candidate(each, source, reason) for each in rest), (Candidate(each, "given", UNKNOWN) for each in unknown)
    )
    yield from show_variants(others, state)


def with_ranks(candidates: Sequence[Candidate], offset: int) -> list[Recommendation]:
    """Return the items of a page with their ranks."""
    return [
        Recommendation(candidate.item_id, rank, candidate.source, candidate.reason)
        for rank, candidate in enumerate(candidates, offset + 1)
    ]


def next_cursor(page: Page, state: RequestState) -> str | None:
    """Return the cursor of the next page; None after the last."""
    request = state.request
    if len(page.items) < request.n or page.place >= MAX_OFFSET:
        return None
    shown = request.cursor.shown if request.cursor else request.offset
    return Cursor(state.catalogue.version, state.latest_ms, page.place, shown + len(page.items)).encode()


def _was_excluded(state: RequestState, exclusions: Sequence[Exclusion]) -> Callable[[str], bool]:
    """Return whether an item was excluded when the first page was taken: a cursor goes on in that page's order."""
    if state.request.cursor is not None:
        acts = [act for act in state.user.acts if act.at_ms <= state.latest_ms]
        exclusions = find_exclusions(replace(state, user=replace(state.user, acts=acts)))
    contains = [exclusion.contains for exclusion in exclusions]

    def was_excluded(item_id: str) -> bool:
        # A generator in `any` would take several times as long, for each candidate of each request.
        for each in contains:  # noqa: SIM110
            if each(item_id):
                return True
        return False

    return was_excluded
