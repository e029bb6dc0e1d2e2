"""What Redis knows of a user, read in one round trip; what it said last where it does not answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from recsys.anomaly.acts import Act
from recsys.errors import StoreError
from recsys.schema import PURCHASE
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.resp import Command
from serving.engine.catalogue_sync import CatalogueSync


class UserState(Struct, frozen=True):
    """A user as of one moment: `items` the list of the version, `acts` the session, the latest first."""

    version: str
    items: Sequence[str] = ()
    acts: Sequence[Act] = ()
    had: str = ""
    """Ids that are not to be recommended again, a space around each: to look for, faster than a set is made."""
    flag: str | None = None
    fresh: bool = True
    """Whether Redis was asked just now; otherwise it is what was known before, or nothing."""

    @property
    def bought(self) -> list[Act]:
        """The purchases of the session."""
        return [act for act in self.acts if act.event == PURCHASE]


NOTHING: Final[tuple[Reply, ...]] = (None, None, None)


class UserStateReader:
    """Reads users, and remembers the last ones as they came."""

    def __init__(
        self, links: RedisClient, keys: Keys, live: CatalogueSync, session_events: int, cached_users: int
    ) -> None:
        self._links, self._keys, self._live = links, keys, live
        self._session_events = session_events
        self._cached_users = cached_users
        self._cache: OrderedDict[str, tuple[str, Sequence[Reply], Sequence[Reply]]] = OrderedDict()

    async def user(self, user_id: str, version: str, guest_id: str | None = None) -> UserState:
        """The user's list of a version, session, history, flag; with `guest_id` that session too."""
        try:
            beat = self._live.refresh()
            own = self._links.execute(self._keys.flag(user_id), *self._commands(user_id, version))
            if guest_id is None:
                values, session = await own
            else:
                (values, session), (of_guest,) = await asyncio.gather(
                    own, self._links.execute(self._keys.session(guest_id), self._session(guest_id))
                )
                session = [*session, *of_guest]
            await beat
        except StoreError:
            return self.remembered(user_id, version, guest_id)
        self._remember(user_id, version, values, session)
        return _known(version, values, session, True)

    def remembered(self, user_id: str, version: str, guest_id: str | None = None) -> UserState:
        """What was last known; a list of another version than asked for is none."""
        then, values, session = self._cache.get(user_id, (version, NOTHING, ()))
        if then != version:
            values = (None, *values[1:])
        if guest_id is not None and guest_id in self._cache:
            session = [*session, *self._cache[guest_id][2]]
        return _known(version, values, session, False)

    def apply_local(self, user_id: str, session: Sequence[Reply]) -> None:
        """Members and scores that were just put into a user's session: what is remembered has them too."""
        version, values, known = self._cache.get(user_id, ("", NOTHING, ()))
        self._remember(user_id, version, values, [*session, *known][: 2 * self._session_events])

    def _commands(self, user_id: str, version: str) -> tuple[Command, Command]:
        keys = self._keys
        lists = (keys.user_items(version, user_id), keys.flag(user_id), keys.history(version, user_id))
        return ("MGET", *lists), self._session(user_id)

    def _session(self, user_id: str) -> Command:
        return ("ZREVRANGE", self._keys.session(user_id), 0, self._session_events - 1, "WITHSCORES")

    def _remember(self, user_id: str, version: str, values: Sequence[Reply], session: Sequence[Reply]) -> None:
        cache = self._cache
        cache[user_id] = (version, values, session)
        cache.move_to_end(user_id)
        if len(cache) > self._cached_users:
            cache.popitem(last=False)


def _known(version: str, values: Sequence[Reply], session: Sequence[Reply], fresh: bool) -> UserState:
    items, flag, had = values
    return UserState(
        version,
        items.decode().split(" ") if items else (),
        parse_session(session) if session else (),
        f" {had.decode()} " if had else "",
        None if flag is None else decode_text(flag),
        fresh,
    )


def parse_session(session: Sequence[Reply]) -> list[Act]:
    """Members and scores of a session's sorted set, the latest first; members are as `Keys.session` says."""
    acts: list[Act] = []
    for member, score in zip(session[::2], session[1::2], strict=True):
        _, item_id, event = member.decode().split(" ", 2)
        acts.append(Act(int(float(score)), item_id, event))
    acts.sort(key=lambda act: -act.at_ms)
    return acts
