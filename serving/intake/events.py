"""Events taken in: appended to the stream, added to sessions, and counted by the guard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from recsys.errors import StoreError
from recsys.schema import ITEM_ID, USER_ID
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.keys import EVENT_FIELD, Keys
from recsys.store.resp import encode_argument, encode_head
from serving.api import RowError
from serving.guard.commands import NO_WRITES, GuardWrites
from serving.guard.counters import UNKNOWN_ORIGIN, KeyedCommand, Origin
from serving.guard.guard import Guard
from serving.intake.event_parsing import Event, EventParser, split_rows
from serving.intake.load_shedding import LoadShedder
from serving.intake.sessions import Entries, SessionCommands, collect_entries, find_logins

MAX_BODY_BYTES: Final = 2_000_000

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class IntakeResult:
    """Numbers of events accepted and of events shed for lack of room, and the errors of invalid rows."""

    accepted: int
    errors: list[RowError]
    shed: int


class EventWriter:
    """Validates events and writes them to Redis."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisClient,
        keys: Keys,
        load_shedder: LoadShedder,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
        on_session_change: Callable[[str, Entries], None],
        guard: Guard | None = None,
    ) -> None:
        """Create the writer.

        `redis` has the timeout of writes; `stored_id` maps a user id to the id in Redis; `now` returns Unix
        seconds; `on_session_change` is called with a user and the entries just added to the user's session.
        """
        self._redis, self._keys, self._load_shedder = redis, keys, load_shedder
        self._stored_id, self._now, self._on_session_change = stored_id, now, on_session_change
        self._guard = guard
        self._weights = settings.sources.event_weights
        self._sessions = SessionCommands(settings.serving, keys)
        hash_origin = _unknown_origin if guard is None else guard.origin
        null_ids = {name: settings.sources.null_texts(name) for name in (USER_ID, ITEM_ID)}
        keeps_origin = not settings.pseudonym_key
        self._parser = EventParser(self._weights, stored_id, hash_origin, keeps_origin, null_ids)

    async def take(self, body: bytes) -> IntakeResult:
        """Take one event, a JSON object, or a batch, an array of them.

        An event is accepted when it is in the stream and in its user's session; sending an `event_id` again changes
        nothing. Raises `InvalidValueError` if the body is neither, and `StoreError` if Redis does not take
        all events: some may then be in the stream, and all may be sent again.
        """
        now = datetime.fromtimestamp(self._now(), UTC)
        rows = split_rows(body)
        if self._guard is not None:
            await self._guard.ready()
        valid, errors = self._parser.parse(rows, now)
        accepted = [
            (event, origin)
            for event, origin in valid
            if self._load_shedder.accepts(event.event, self._weights[event.event])
        ]
        if accepted:
            await self._write([event for event, _ in accepted], [origin for _, origin in accepted])
        return IntakeResult(len(accepted), errors, len(valid) - len(accepted))

    async def _write(self, events: Sequence[Event], origins: Sequence[Origin]) -> None:
        try:
            writes = await self._append_to_stream(events, origins)
            replies = await self._add_to_sessions(events, writes)
        except StoreError as error:
            if "OOM" in str(error):
                self._load_shedder.report_full()
            raise
        if self._guard is not None:
            await self._guard.flag_suspects(writes, replies)

    async def _append_to_stream(self, events: Sequence[Event], origins: Sequence[Origin]) -> GuardWrites:
        """Append events to the stream, and return the commands by which the guard counts them."""
        key, guard = self._keys.events, self._guard
        append = encode_head(5, "XADD", key, "*", EVENT_FIELD)
        commands: list[KeyedCommand] = [(key, append + encode_argument(_encode(event))) for event in events]
        if guard is None:
            await self._redis.execute_each(commands)
            return NO_WRITES
        reads = guard.read_commands(events)
        replies = await self._redis.execute_each([*commands, *reads.commands])
        return guard.write_commands(events, origins, reads, replies[len(commands) :])

    async def _add_to_sessions(self, events: Sequence[Event], writes: GuardWrites) -> Sequence[Reply]:
        """Add events to the sessions of their users, then merge the sessions of guests who have logged in.

        The guard's commands go in the same round trip, after those that add events; return their replies.
        """
        entries, logins = collect_entries(events, self._weights), find_logins(events, self._stored_id)
        commands = [command for user_id, added in entries.items() for command in self._sessions.add(user_id, added)]
        first_guest = len(commands)
        commands += [self._sessions.read_all(guest_id) for _, guest_id in logins]
        first_write = len(commands)
        replies = await self._redis.execute_each([*commands, *writes.commands])
        for user_id, added in entries.items():
            self._on_session_change(user_id, added)
        for (user_id, guest_id), session in zip(logins, replies[first_guest:first_write], strict=True):
            if session:
                await self._merge_session(user_id, guest_id, session)
        return replies[first_write:]

    async def _merge_session(self, user_id: str, guest_id: str, session: Sequence[Any]) -> None:
        """Move the session of a guest who has logged in into the user's session."""
        await self._redis.execute_each(self._sessions.add(user_id, session))
        self._on_session_change(user_id, session)
        await self._redis.execute(*self._sessions.remove(guest_id))


def _unknown_origin(ip: str | None, user_agent: str | None) -> Origin:
    del ip, user_agent
    return UNKNOWN_ORIGIN
