"""A request for a list, stage by stage: load, sources, ranking, filters, fill, answer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from recsys.errors import NothingPublishedError, StoreError
from recsys.schema import CATEGORY
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import RedisUnavailableError
from recsys.store.encoding import decode_list
from recsys.store.keys import TRENDING, Keys
from recsys.store.resp import Command
from serving.api import MAX_OFFSET, ItemList, Recommendation, Recommendations
from serving.engine.candidates import NEIGHBOURS, Neighbours, anchors, candidates, once, popular, segment
from serving.engine.catalogue import Catalogue
from serving.engine.catalogue_sync import CatalogueSync
from serving.engine.filters import Exclusions, Policy, Removals, page, unlike_wanted
from serving.engine.ranking import Candidate, Candidates, diversify, fuse, spread
from serving.engine.trace import Trace
from serving.engine.user_state import UserState, UserStateReader
from serving.http.query import Cursor, ListRequest, guest_user_id

FLAGGED: Final = "flagged"


class EngineResult(Struct, frozen=True):
    """An answer, and what the books want of it."""

    answer: Recommendations
    seconds: Mapping[str, float]


class Engine:
    """Answers requests for lists from what Redis and the process know."""

    def __init__(
        self,
        settings: Settings,
        links: RedisClient,
        keys: Keys,
        live: CatalogueSync,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
    ) -> None:
        """`stored_id` is what a user is called in Redis; `now` gives Unix seconds."""
        serving = settings.serving
        self._links, self._keys, self._live = links, keys, live
        self._stored_id, self._now = stored_id, now
        self._reader = UserStateReader(links, keys, live, serving.session_events, serving.cached_users)
        self._policy = Policy.of(settings.repeat, serving)
        self._weights = settings.sources.event_weights
        self._diversity = serving.diversity
        self._most_per_brand = serving.max_per_brand
        self._most_per_category = serving.max_per_category

    def catalogue(self) -> Catalogue:
        """What is answered from now; raises `NothingPublishedError` where nothing is known at all."""
        if self._live.catalogue is None:
            raise NothingPublishedError("no version is live: run `recsys nightly` to publish one")
        return self._live.catalogue

    async def recommend(self, asked: ListRequest, request_id: str) -> EngineResult:
        """The list of a user."""
        trace = Trace.start(asked.debug)
        cursor = asked.cursor
        catalogue = (self._live.of_version(cursor.version) if cursor else None) or self.catalogue()

        stored_id = self._stored_id(asked.user_id)
        known = await self._known(asked, stored_id, catalogue)
        previous = False
        if not known.items:
            known, catalogue, previous = await self._previous(known, asked, catalogue, stored_id)
        now_ms = int(self._now() * 1e3)
        barred = self._policy.barred(known, asked, catalogue, now_ms)
        trace.done("load", known.items, note=None if known.flag is None else FLAGGED)

        at = cursor.at if cursor else now_ms
        lists, fresh = await self._sources(known, asked, catalogue, at, previous)
        trace.done("sources", note=", ".join(each.source for each in lists))

        order, unlike = self._ordered(lists, asked, catalogue)
        trace.done("ranking", _ids(order) if asked.debug else (), unlike)

        # Where brands or categories are held back, others come from further down before they are let in.
        limited = self._most_per_brand or self._most_per_category
        taken, place, removed = ([], 0, {}) if limited else self._page(order, asked, barred, catalogue)
        trace.done("filters", _ids(taken) if asked.debug else (), removed)

        if len(taken) < asked.n:
            liked = await self._favourites(stored_id, catalogue.version) if lists and fresh else ()
            below = chain(segment(liked, asked.item_filter, catalogue), popular(asked.item_filter, catalogue))
            order, _ = self._ordered(lists, asked, catalogue)
            order = once(chain(order, below)) if lists or liked else below
            taken, place, removed = self._page(order, asked, barred, catalogue)
            trace.done("fill", _ids(taken) if asked.debug else (), removed)

        shown = cursor.shown if cursor else asked.offset
        more = len(taken) == asked.n and place < MAX_OFFSET
        answer = Recommendations(
            asked.user_id,
            catalogue.version,
            request_id,
            not fresh,
            ranked(taken, shown),
            Cursor(catalogue.version, at, place, shown + len(taken)).encode() if more else None,
            trace.stages if trace.stages is not None else UNSET,
        )
        return EngineResult(answer, trace.seconds)

    async def similar(self, item_id: str, asked: ListRequest, request_id: str) -> ItemList:
        """Items like one, then what is popular in its category, and in the shop."""
        catalogue = self.catalogue()
        key = self._keys.similar_items(catalogue.version, item_id)
        found, fresh = await self._list(key)
        title = catalogue.title(item_id)
        facts = catalogue.facts(item_id)
        own = Candidates("similar", f"similar to {title}", found)
        within = [] if facts.get(CATEGORY) is None else [facts[CATEGORY]]
        order = chain(
            fuse([own]),
            (
                Candidate(each.item_id, "popular", f"popular in {facts.get(CATEGORY)}, as {title} is")
                for each in segment(within, asked.item_filter, catalogue)
            ),
        )
        return self._everybody(
            order, replace(asked, exclude=asked.exclude | {item_id}), catalogue, fresh, request_id
        )

    async def trending(self, asked: ListRequest, request_id: str) -> ItemList:
        """Items on the rise, then popular ones."""
        catalogue = self.catalogue()
        found, fresh = await self._list(self._keys.ranking(catalogue.version, TRENDING))
        order = fuse([Candidates("trending", "on the rise", found)])
        return self._everybody(order, asked, catalogue, fresh, request_id)

    async def popular(self, asked: ListRequest, request_id: str) -> ItemList:
        """Popular items."""
        fresh = await self._looked()
        return self._everybody((), asked, self.catalogue(), fresh, request_id)

    async def rank(self, asked: ListRequest, item_ids: Sequence[str], request_id: str) -> Recommendations:
        """The given items in the order that suits a user, those left out that must not be shown."""
        trace = Trace.start(asked.debug)
        catalogue = self.catalogue()
        known = await self._known(asked, self._stored_id(asked.user_id), catalogue)
        trace.done("load", known.items)
        now_ms = int(self._now() * 1e3)
        lists, fresh = await self._sources(known, asked, catalogue, now_ms, previous=False)
        given = set(item_ids)
        order = [each for each in fuse(lists) if each.item_id in given]
        last = len(catalogue)
        rest = sorted(dict.fromkeys(item_ids), key=lambda item_id: catalogue.rows.get(item_id, last))
        order += [Candidate(item_id, "given", "popular in the shop") for item_id in rest]
        barred = self._policy.barred(known, asked, catalogue, now_ms)
        taken, _, removed = page(once(order), 0, 0, len(given), barred)
        trace.done("ranking", (each.item_id for each in taken), removed)
        return Recommendations(
            asked.user_id,
            catalogue.version,
            request_id,
            not fresh,
            ranked(taken, 0),
            None,
            trace.stages if trace.stages is not None else UNSET,
        )

    async def user(self, user_id: str) -> tuple[UserState, dict[str, Any]]:
        """A user as Redis knows it, and the profile; raises `RedisUnavailableError` when it does not answer."""
        stored_id = self._stored_id(user_id)
        version = self.catalogue().version
        known = await self._reader.user(stored_id, version)
        if not known.fresh:
            raise RedisUnavailableError("Redis does not answer")
        return known, await self._profile(stored_id, version)

    async def _sources(
        self, known: UserState, asked: ListRequest, catalogue: Catalogue, at: int, previous: bool
    ) -> tuple[list[Candidates], bool]:
        """The lists to blend, none for a user who is held back, and whether Redis has answered up to now."""
        if known.flag is not None:
            return [], known.fresh
        neighbours, fresh = (), known.fresh
        if known.acts and fresh:
            neighbours, fresh = await self._neighbours(known, asked, catalogue.version, at)
        return candidates(known, neighbours, asked, catalogue, previous), fresh

    def _ordered(
        self, lists: Sequence[Candidates], asked: ListRequest, catalogue: Catalogue
    ) -> tuple[Iterable[Candidate], Removals]:
        """The lists as one order of what is wanted, and what is not; it may be gone through once."""
        order = diversify(fuse(lists), catalogue, self._diversity)
        kept, unlike = unlike_wanted(order, asked, catalogue)
        return (list(kept) if asked.debug else kept), unlike

    def apply_local(self, user_id: str, session: Sequence[Any]) -> None:
        """Members and scores that were just put into a user's session, for when Redis does not answer."""
        self._reader.apply_local(user_id, session)

    def _known(self, asked: ListRequest, stored_id: str, catalogue: Catalogue) -> Awaitable[UserState]:
        return self._reader.user(stored_id, catalogue.version, self._guest_id(asked))

    def _guest_id(self, asked: ListRequest) -> str | None:
        return None if asked.session_id is None else self._stored_id(guest_user_id(asked.session_id))

    def _page(
        self, order: Iterable[Candidate], asked: ListRequest, barred: Exclusions, catalogue: Catalogue
    ) -> tuple[list[Candidate], int, Removals]:
        start = asked.cursor.place if asked.cursor else 0
        order = spread(order, asked.n, catalogue, self._most_per_brand, self._most_per_category)
        return page(order, start, asked.offset, asked.n, barred)

    def _everybody(
        self, order: Iterable[Candidate], asked: ListRequest, catalogue: Catalogue, fresh: bool, request_id: str
    ) -> ItemList:
        """Items that are nobody's own, filled with popular ones."""
        kept, _ = unlike_wanted(list(order), asked, catalogue)
        barred = Exclusions(excluded=asked.exclude, unavailable=catalogue.unavailable)
        taken, _, _ = self._page(once(chain(kept, popular(asked.item_filter, catalogue))), asked, barred, catalogue)
        return ItemList(catalogue.version, request_id, not fresh, ranked(taken, asked.offset))

    async def _previous(
        self, known: UserState, asked: ListRequest, catalogue: Catalogue, stored_id: str
    ) -> tuple[UserState, Catalogue, bool]:
        """Where the live version has no list of a user that the one before had, all is taken from that one."""
        before = self._live.previous
        if before is None or before is catalogue:
            return known, catalogue, False
        if known.fresh:
            then = await self._known(asked, stored_id, before)
        else:
            then = self._reader.remembered(stored_id, before.version, self._guest_id(asked))
        return (then, before, True) if then.items else (known, catalogue, False)

    async def _neighbours(
        self, known: UserState, asked: ListRequest, version: str, at: int
    ) -> tuple[Sequence[Neighbours], bool]:
        """Neighbours of the session's latest items, as of the first page, and whether Redis has answered up to now;
        it is not waited for again where it has not.
        """
        acts = [act for act in known.acts if act.at_ms <= at]
        wanted = anchors(acts, asked.context, self._weights)
        keys = self._keys
        try:
            found = await self._links.execute_each([_lists_of(keys, version, act.item_id) for act, _ in wanted])
        except StoreError:
            return (), False
        return [
            Neighbours(act, weight, decode_list(lists[0])[:NEIGHBOURS], decode_list(lists[1])[:NEIGHBOURS])
            for (act, weight), lists in zip(wanted, found, strict=True)
        ], True

    async def _favourites(self, stored_id: str, version: str) -> Sequence[str]:
        """The categories a user likes best; none where Redis does not answer."""
        try:
            profile = await self._profile(stored_id, version)
        except StoreError:
            return ()
        return profile.get("categories", ())

    async def _profile(self, stored_id: str, version: str) -> dict[str, Any]:
        key = self._keys.profile(version, stored_id)
        (value,) = await self._links.execute(key, ("GET", key))
        return msgspec.json.decode(value) if value else {}

    async def _list(self, key: str) -> tuple[list[str], bool]:
        """A list of everybody's, and whether Redis answered."""
        looked = self._live.refresh()
        try:
            (value,) = await self._links.execute(key, ("GET", key))
            await looked
        except StoreError:
            return [], False
        return decode_list(value), True

    async def _looked(self) -> bool:
        """Whether Redis has told what was changed up to now."""
        try:
            await self._live.refresh()
        except StoreError:
            return False
        return True


def ranked(taken: Sequence[Candidate], offset: int) -> list[Recommendation]:
    """Items with their places."""
    return [
        Recommendation(each.item_id, rank, each.source, each.reason) for rank, each in enumerate(taken, offset + 1)
    ]


def _lists_of(keys: Keys, version: str, item_id: str) -> tuple[str, Command]:
    """What asks for an item's neighbours, and the key that tells where."""
    similar = keys.similar_items(version, item_id)
    return similar, ("MGET", similar, keys.bought_together(version, item_id))


def _ids(candidates: Iterable[Candidate]) -> Iterable[str]:
    return (each.item_id for each in candidates)
