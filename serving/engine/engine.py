"""The engine: answers list requests stage by stage; while Redis does not answer, from the memory of the process."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from recsys.errors import NothingPublishedError, StoreError
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import RedisUnavailableError
from recsys.store.encoding import decode_list
from recsys.store.keys import TRENDING, Keys
from serving.api import ItemList, Recommendations
from serving.engine.catalogue import Catalogue
from serving.engine.catalogue_sync import CatalogueSync
from serving.engine.filters import (
    NO_PAGE,
    Exclusion,
    Page,
    Removals,
    find_cart,
    find_disliked,
    find_exclusions,
    keep_matching,
    take_page,
)
from serving.engine.last_words import without_returned
from serving.engine.order.page_order import PageLimits, ladder, next_cursor, show_variants, take_given, with_ranks
from serving.engine.ranking import (
    Candidate,
    CandidateList,
    deduplicate,
    diversify,
    fuse,
    to_candidates,
)
from serving.engine.redis_health import RedisHealth
from serving.engine.request_state import Policy, RequestState
from serving.engine.session_neighbors import NeighborReader, select_anchors
from serving.engine.sources import LIST_WEIGHTS, collect_lists, popular, popular_in_turns
from serving.engine.trace import Trace
from serving.engine.user_state import UserState, UserStateReader
from serving.engine.variants import VariantChoice
from serving.requests import ListRequest, guest_user_id

FLAGGED: Final = "flagged"


class EngineResult(Struct, frozen=True):
    """An answer, and the seconds that each stage took."""

    answer: Recommendations
    seconds: Mapping[str, float]
    is_opted_out: bool = False
    """Whether the user wants no personal lists, so that nothing of the answer is recorded."""


class Engine:
    """Answers list requests."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisClient,
        keys: Keys,
        catalogue_sync: CatalogueSync,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
        health: RedisHealth,
    ) -> None:
        """Create the engine.

        `redis` has the timeout of reads; `stored_id` maps a user id to the id in Redis; `now` returns Unix seconds.
        """
        serving = settings.serving
        self._redis, self._keys, self._catalogue_sync = redis, keys, catalogue_sync
        self._stored_id, self._now, self._health = stored_id, now, health
        self._user_states = UserStateReader(
            *(redis, keys, catalogue_sync, serving.session_events, serving.cached_users),
            is_repeating=settings.repeat == "allow",
        )
        self._neighbors = NeighborReader(redis, keys)
        self._policy = Policy.from_settings(settings)
        ratings = dict.fromkeys(
            settings.sources.rating_events, 0.0
        )  # good or bad by the user's mean, known by night
        self._event_weights = settings.sources.event_weights | ratings
        self._diversity = serving.diversity
        self._limits = PageLimits.from_settings(settings)

    def catalogue(self) -> Catalogue:
        """Return the catalogue to answer from; raises `NothingPublishedError` if there is none."""
        if self._catalogue_sync.catalogue is None:
            raise NothingPublishedError("no version is live: run `recsys nightly` to publish one")
        return self._catalogue_sync.catalogue

    async def recommend(self, request: ListRequest, request_id: str) -> EngineResult:
        """Return the list of a user, made in stages: load, sources, ranking, filters, fill, answer."""
        trace = Trace.start(bool(request.debug))
        state = await self._load(request)
        exclusions = find_exclusions(state)
        trace.finish("load", state.user.items, note=None if state.user.flag is None else FLAGGED)

        if state.user.acts:
            state = await self._load_neighbors(state)
        lists = collect_lists(state)
        trace.finish("sources", note=", ".join(each.source for each in lists) if request.debug else None)

        order, mismatches = self._rank(lists, state)
        trace.finish("ranking", _item_ids(deduplicate(order)) if request.debug else (), mismatches)

        # With limits per brand or category, filled items take the place of deferred ones before a limit is broken.
        page = NO_PAGE if self._limits.has_labels else self._take_page(order, state, exclusions)
        trace.finish("filters", _item_ids(page.items) if request.debug else (), page.removed)

        if len(page.items) < request.n:
            page = await self._fill(lists, state, exclusions)
            trace.finish("fill", _item_ids(page.items) if request.debug else (), page.removed)

        answer = Recommendations(
            request.user_id,
            state.catalogue.version,
            request_id,
            self._is_degraded(state),
            with_ranks(page.items, request.cursor.shown if request.cursor else request.offset),
            next_cursor(page, state),
            trace.stages,
        )
        return EngineResult(answer, trace.seconds, state.user.is_opted_out)

    async def similar(self, item_id: str, request: ListRequest, request_id: str) -> ItemList:
        """Return items similar to an item, then popular ones of its category, then popular ones of the shop."""
        catalogue = self.catalogue()
        items, is_fresh = await self._read_list(self._keys.similar_items(catalogue.version, item_id))
        state = self._shared_state(replace(request, exclude=request.exclude | {item_id}), catalogue, is_fresh)
        title = catalogue.title(item_id)
        popular_items = popular_in_turns(catalogue.paths(item_id), state)
        order = chain(
            to_candidates(items, "similar", f"similar to {title}"),
            (Candidate(other, "popular", f"popular in {path}, as {title} is") for path, other in popular_items),
        )
        return self._item_list(order, state, request_id, is_limited_by_type=False)

    async def trending(self, request: ListRequest, request_id: str) -> ItemList:
        """Return trending items, then popular ones."""
        catalogue = self.catalogue()
        items, is_fresh = await self._read_list(self._keys.ranking(catalogue.version, TRENDING))
        order = to_candidates(items, "trending", "on the rise")
        return self._item_list(order, self._shared_state(request, catalogue, is_fresh), request_id)

    async def popular(self, request: ListRequest, request_id: str) -> ItemList:
        """Return popular items."""
        try:
            await self._catalogue_sync.refresh()
            is_fresh = True
        except StoreError:
            is_fresh = False
        return self._item_list((), self._shared_state(request, self.catalogue(), is_fresh), request_id)

    async def rank(self, request: ListRequest, item_ids: Sequence[str], request_id: str) -> Recommendations:
        """Return the given items, the best for the user first, without those that must not be shown."""
        trace = Trace.start(bool(request.debug))
        state = await self._load(request)
        trace.finish("load", state.user.items)

        if state.variants is not None:
            variants = VariantChoice(state.catalogue, state.item_filter, state.now_ms, frozenset(item_ids))
            state = replace(state, variants=variants)
        if state.user.acts:
            state = await self._load_neighbors(state)
        lists, exclusions = collect_lists(state), find_exclusions(state)
        if not set(item_ids).issubset(chain.from_iterable(candidates.items for candidates in lists)):
            state = await self._load_favorites(lists, state)
        order, _ = self._rank(lists, state)
        whole = self._limits.apply(chain(order, ladder(state)), state, exclusions, is_whole=True)
        given = take_given(whole, item_ids, state)
        matching, mismatches = keep_matching(deduplicate(given), state.item_filter, state.catalogue)
        page = take_page(matching, 0, 0, len(item_ids), exclusions)
        trace.finish("ranking", _item_ids(page.items), mismatches | page.removed)

        items = with_ranks(page.items, 0)
        version, is_degraded = state.catalogue.version, self._is_degraded(state)
        return Recommendations(request.user_id, version, request_id, is_degraded, items, None, trace.stages)

    async def user(self, stored_id: str) -> tuple[UserState, dict[str, Any]]:
        """Return a user's state and profile, by the stored id; raises `StoreError` if Redis does not answer."""
        version = self.catalogue().version
        user = await self._user_states.read(stored_id, version)
        if not user.is_fresh:
            raise RedisUnavailableError("Redis does not answer")
        return user, await self._read_profile(stored_id, version)

    def apply_local(self, user_id: str, session: Sequence[Any]) -> None:
        """Add members and scores, which this process has just written, to the last known session of a user."""
        self._user_states.apply_local(user_id, session)

    def forget(self, is_forgotten: Callable[[str], bool] | None) -> None:
        """Forget the last known states of some users, by their ids in Redis, or of all without a condition."""
        self._user_states.forget(is_forgotten)

    async def _load(self, request: ListRequest) -> RequestState:
        """Read the user's state in the live version, or in the previous one if only that has a list of the user.

        With a cursor, the version is that of the first page, as long as its catalogue is in memory.
        """
        cursor, name = request.cursor, request.list
        catalogue = (self._catalogue_sync.find_version(cursor.version) if cursor else None) or self.catalogue()
        stored_id, guest_id = self._stored_ids(request)
        user = await self._user_states.read(stored_id, catalogue.version, guest_id, name)
        previous = self._catalogue_sync.previous
        if user.items or previous is None or previous is catalogue:
            return self._state(request, stored_id, user, catalogue)
        if user.is_fresh:
            previous_user = await self._user_states.read(stored_id, previous.version, guest_id, name)
        else:
            previous_user = self._user_states.read_cached(stored_id, previous.version, guest_id, name)
        if not previous_user.items:
            return self._state(request, stored_id, user, catalogue)
        return replace(self._state(request, stored_id, previous_user, previous), is_previous=True)

    def _stored_ids(self, request: ListRequest) -> tuple[str, str | None]:
        """Return the ids in Redis of the user, and of the guest whose session belongs to the request."""
        session_id = request.session_id
        guest_id = None if session_id is None else self._stored_id(guest_user_id(session_id))
        return self._stored_id(request.user_id), guest_id

    def _state(self, request: ListRequest, stored_id: str, user: UserState, catalogue: Catalogue) -> RequestState:
        now_ms = int(self._now() * 1e3)
        latest_ms = request.cursor.at if request.cursor else now_ms
        item_filter = request.build_item_filter()
        if item_filter.attributes:
            self.catalogue().attributes.check(item_filter.attributes)
        return RequestState(
            request,
            item_filter,
            stored_id,
            user,
            catalogue,
            self._policy,
            now_ms,
            latest_ms,
            user.is_fresh,
            withheld=self._catalogue_sync.withheld,
            variants=VariantChoice(catalogue, item_filter, now_ms) if catalogue.groups else None,
        )

    def _shared_state(self, request: ListRequest, catalogue: Catalogue, is_fresh: bool) -> RequestState:
        """Return the state of a request for a list that is the same for all users."""
        return self._state(request, "", UserState(catalogue.version, is_fresh=is_fresh), catalogue)

    async def _load_neighbors(self, state: RequestState) -> RequestState:
        """Read the neighbors of the session's latest items, in one more round trip unless they are kept."""
        if state.user.flag is not None or not state.is_fresh or not LIST_WEIGHTS[state.request.context].use_session:
            return state
        unwanted = find_disliked(state)
        acts = [
            act
            for act in without_returned(state.user.acts, state.catalogue.groups.group_or_item)
            if act.at_ms <= state.latest_ms and act.item_id not in unwanted
        ]
        first = find_cart(state) if state.request.context == "cart" else ()
        anchors = select_anchors(acts, self._event_weights, first)
        try:
            neighbors = await self._neighbors.read(state.catalogue.version, anchors)
        except StoreError:
            return replace(state, is_fresh=False)
        return replace(state, neighbors=neighbors)

    def _rank(self, lists: Sequence[CandidateList], state: RequestState) -> tuple[Iterable[Candidate], Removals]:
        """Return the candidates that pass the item filter, in their order, and the ones removed.

        The order can be iterated once; with `debug`, any number of times.
        """
        order = diversify(fuse(lists), state.catalogue, self._diversity)
        order, mismatches = keep_matching(order, state.item_filter, state.catalogue)
        return (list(order) if state.request.debug else order), mismatches

    def _take_page(
        self,
        order: Iterable[Candidate],
        state: RequestState,
        exclusions: Sequence[Exclusion],
        is_whole: bool = False,
        is_limited_by_type: bool = True,
    ) -> Page:
        """Take the page of a request from an order, which `is_whole` if nothing follows it."""
        request, limits = state.request, self._limits.label_limits(state, is_limited_by_type)
        order = self._limits.apply(order, state, exclusions, is_whole, limits)
        return take_page(
            order, request.cursor.place if request.cursor else 0, request.offset, request.n, exclusions
        )

    async def _fill(
        self, lists: Sequence[CandidateList], state: RequestState, exclusions: Sequence[Exclusion]
    ) -> Page:
        """Take the page from the candidates of the lists, followed by those of the ladder."""
        state = await self._load_favorites(lists, state)
        order, _ = self._rank(lists, state)
        return self._take_page(chain(order, ladder(state)), state, exclusions, is_whole=True)

    async def _load_favorites(self, lists: Sequence[CandidateList], state: RequestState) -> RequestState:
        """Read the categories that the user likes best, which the ladder begins with."""
        if not lists or not state.is_fresh:
            return state
        return replace(state, favorite_categories=await self._read_favorite_categories(state))

    def _item_list(
        self, order: Iterable[Candidate], state: RequestState, request_id: str, is_limited_by_type: bool = True
    ) -> ItemList:
        """Return a list that does not depend on the user, filled with popular items."""
        matching, _ = keep_matching(show_variants(order, state), state.item_filter, state.catalogue)
        order = chain(matching, show_variants(popular(state), state))
        page = self._take_page(order, state, find_exclusions(state), True, is_limited_by_type)
        items = with_ranks(page.items, state.request.offset)
        return ItemList(state.catalogue.version, request_id, self._is_degraded(state), items)

    def _is_degraded(self, state: RequestState) -> bool:
        """Return whether Redis did not answer, or its data are not what they should be."""
        return not state.is_fresh or not self._health.is_sound

    async def _read_list(self, key: str) -> tuple[list[str], bool]:
        """Return a list that does not depend on the user, and whether Redis answered."""
        refreshed = self._catalogue_sync.refresh()
        try:
            (value,) = await self._redis.execute(key, ("GET", key))
            await refreshed
        except StoreError:
            return [], False
        return decode_list(value), True

    async def _read_favorite_categories(self, state: RequestState) -> Sequence[str]:
        """Return the categories that a user likes best; none if Redis does not answer."""
        try:
            profile = await self._read_profile(state.stored_id, state.catalogue.version)
        except StoreError:
            return ()
        return profile.get("categories", ())

    async def _read_profile(self, stored_id: str, version: str) -> dict[str, Any]:
        key = self._keys.profile(version, stored_id)
        (value,) = await self._redis.execute(key, ("GET", key))
        return msgspec.json.decode(value) if value else {}


def _item_ids(candidates: Iterable[Candidate]) -> Iterable[str]:
    return (candidate.item_id for candidate in candidates)
