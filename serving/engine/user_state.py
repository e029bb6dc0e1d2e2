"""The state of a user, read from Redis in one round trip; the last known state while Redis does not answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Final, get_args

from msgspec import Struct

from recsys.anomaly.acts import Act
from recsys.errors import StoreError
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys, hash_tag
from recsys.store.resp import Command, KeyTemplate
from serving.api import ListName
from serving.engine.catalogue_sync import CatalogueSync
from serving.engine.session_limits import keep_latest


class UserState(Struct, frozen=True):
    """A user's list, session, history and flag as of one moment."""

    version: str
    items: Sequence[str] = ()
    """The user's list in the version, best first."""
    acts: Sequence[Act] = ()
    """The session, latest first."""
    history: str = ""
    """Ids of items bought before the nightly run, each between two spaces; empty where no filter needs it.

    A search in this text for each candidate takes less time than building a set for each request.
    """
    disliked: frozenset[str] = frozenset()
    """Items that the user disliked before the nightly run."""
    flag: str | None = None
    """The flag as JSON, for a user classified as a bot."""
    is_fresh: bool = True
    """Whether Redis answered; otherwise this is the last known state, or an empty one."""
    is_opted_out: bool = False
    """Whether the user wants no personal lists; the state is empty then."""


MAX_COMMANDS: Final = 12
"""Commands that are kept: of each list in the live version, the one before it, and those of cursors."""
BLEND: Final = "blend"
LISTS: Final[tuple[ListName, ...]] = get_args(ListName)
NO_VALUES: Final[tuple[Reply, ...]] = (None, None, None, None)


class UserStateReader:
    """Reads user states, and keeps the replies of the latest users for when Redis does not answer."""

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        catalogue_sync: CatalogueSync,
        session_events: int,
        cached_users: int,
        is_repeating: bool = False,
    ) -> None:
        """Read sessions of up to `session_events` views, and keep the last known states of `cached_users` users.

        A shop that `is_repeating` recommends items again: only its lists besides the blended one need the history.
        """
        self._is_repeating = is_repeating
        self._redis, self._keys, self._catalogue_sync = redis, keys, catalogue_sync
        self._session_events = session_events
        self._cached_users = cached_users
        self._session_command = KeyTemplate(
            lambda user_id: ("ZREVRANGE", keys.session(user_id), 0, -1, "WITHSCORES")
        )
        self._value_commands: dict[tuple[str, ListName], KeyTemplate] = {}
        """Version and list -> command that reads a user's values of it."""
        self._cache: OrderedDict[tuple[str, ListName], tuple[str, Sequence[Reply], Sequence[Reply]]] = OrderedDict()

    async def read(
        self, user_id: str, version: str, guest_id: str | None = None, name: ListName = BLEND
    ) -> UserState:
        """Return a user's list of a version, session, history, dislikes and flag.

        With `guest_id`, the session includes that guest's.
        """
        try:
            refreshed = self._catalogue_sync.refresh()
            user_replies = self._redis.execute(self._keys.flag(user_id), *self._commands(user_id, version, name))
            if guest_id is None:
                values, session = await user_replies
            else:
                guest_command = self._session_command.encode(hash_tag(guest_id))
                guest_replies = self._redis.execute(self._keys.session(guest_id), guest_command)
                (values, session), (guest_session,) = await asyncio.gather(user_replies, guest_replies)
                session = [*session, *guest_session]
            await refreshed
        except StoreError:
            return self.read_cached(user_id, version, guest_id, name)
        self._remember(user_id, name, version, values, session)
        return _parse_state(version, values, session, is_fresh=True)

    def read_cached(
        self, user_id: str, version: str, guest_id: str | None = None, name: ListName = BLEND
    ) -> UserState:
        """Return the last known state, without the list if it belongs to another version."""
        cached_version, values, session = self._cache.get((user_id, name), (version, NO_VALUES, ()))
        if cached_version != version:
            values = (None, *values[1:])
        if guest_id is not None and (guest_id, BLEND) in self._cache:
            session = [*session, *self._cache[guest_id, BLEND][2]]
        return _parse_state(version, values, session, is_fresh=False)

    def apply_local(self, user_id: str, session: Sequence[Reply]) -> None:
        """Add members and scores, which this process has just written, to the last known session of a user."""
        for name in LISTS:
            if name != BLEND and (user_id, name) not in self._cache:
                continue
            version, values, cached_session = self._cache.get((user_id, name), ("", NO_VALUES, ()))
            entries = keep_latest([*session, *cached_session], self._session_events)
            self._remember(user_id, name, version, values, entries)

    def forget(self, is_forgotten: Callable[[str], bool] | None) -> None:
        """Forget the last known states of some users, or of all without a condition."""
        for entry in [each for each in self._cache if is_forgotten is None or is_forgotten(each[0])]:
            del self._cache[entry]

    def _commands(self, user_id: str, version: str, name: ListName) -> tuple[Command, Command]:
        template = self._value_commands.get((version, name))
        if template is None:
            template = KeyTemplate(partial(self._value_command, version, name))
            kept = dict(islice(self._value_commands.items(), MAX_COMMANDS))
            self._value_commands = {(version, name): template, **kept}
        tag = hash_tag(user_id)
        return template.encode(tag), self._session_command.encode(tag)

    def _value_command(self, version: str, name: ListName, user_id: str) -> Command:
        keys = self._keys
        values = (
            self._list_key(version, name, user_id),
            keys.flag(user_id),
            keys.disliked(version, user_id),
            keys.opt_out(user_id),
        )
        needs_history = not self._is_repeating or name != BLEND
        return ("MGET", *values, *([keys.history(version, user_id)] if needs_history else ()))

    def _list_key(self, version: str, name: ListName, user_id: str) -> str:
        """Return the key of a list; where nothing is repeated, all of a user's items are new."""
        if name == "again":
            return self._keys.again_items(version, user_id)
        if name == "new" and self._is_repeating:
            return self._keys.new_items(version, user_id)
        return self._keys.user_items(version, user_id)

    def _remember(
        self, user_id: str, name: ListName, version: str, values: Sequence[Reply], session: Sequence[Reply]
    ) -> None:
        cache = self._cache
        cache[user_id, name] = (version, values, session)
        cache.move_to_end((user_id, name))
        if len(cache) > self._cached_users:
            cache.popitem(last=False)


def _parse_state(version: str, values: Sequence[Reply], session: Sequence[Reply], is_fresh: bool) -> UserState:
    items, flag, disliked, opt_out, *rest = values
    history = rest[0] if rest else None
    if opt_out is not None:
        return UserState(version, is_fresh=is_fresh, is_opted_out=True)
    return UserState(
        version,
        items.decode().split(" ") if items else (),
        parse_session(session) if session else (),
        f" {history.decode()} " if history else "",
        frozenset(disliked.decode().split(" ")) if disliked else frozenset(),
        None if flag is None else decode_text(flag),
        is_fresh,
    )


def parse_session(replies: Sequence[Reply]) -> list[Act]:
    """Return the acts of a session, latest first, from members and scores in turns; see `Keys.session`."""
    acts: list[Act] = []
    for member, score in zip(replies[::2], replies[1::2], strict=True):
        _, item_id, event = member.decode().split(" ", 2)
        event, _, quantity = event.partition("\t")
        acts.append(Act(int(float(score)), item_id, event, float(quantity or 0)))
    acts.sort(key=lambda act: -act.at_ms)
    return acts
