"""Events taken in: appended to the stream, added to sessions, and counted by the guard."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import msgspec

from recsys.errors import StoreError
from recsys.schema import GUEST_ID, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.keys import EVENT_FIELD, IDENTITY_FIELD, Keys
from recsys.store.resp import encode_argument, encode_head
from serving.api import RowError
from serving.engine.pseudonym_key import PseudonymKey
from serving.engine.session_limits import Entries
from serving.guard.commands import NO_WRITES, GuardWrites
from serving.guard.counters import UNKNOWN_ORIGIN, KeyedCommand, Origin
from serving.guard.guard import Guard
from serving.intake.event_ids import OTHER, SAME, read_checksums, register_ids, reused_id_error
from serving.intake.event_parsing import Event, EventParser, ValidRow, split_rows
from serving.intake.load_shedding import LoadShedder
from serving.intake.sessions import SessionCommands, collect_entries, find_logins

MAX_BODY_BYTES: Final = 2_000_000

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class IntakeResult:
    """Numbers of events accepted and of events shed for lack of room, and the errors of invalid rows.

    `duplicates` of the accepted events were accepted before; `refused` are of users who have opted out, or who were
    erased after the event.
    """

    accepted: int
    duplicates: int
    errors: list[RowError]
    shed: int
    refused: int = 0


class EventWriter:
    """Validates events and writes them to Redis."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisClient,
        keys: Keys,
        load_shedder: LoadShedder,
        pseudonym_key: PseudonymKey,
        now: Callable[[], float],
        on_session_change: Callable[[str, Entries], None],
        find_opted_out: Callable[[Sequence[str], Sequence[str]], Awaitable[frozenset[str]]],
        is_before_erasure: Callable[[str | None, datetime | None], bool],
        guard: Guard | None = None,
    ) -> None:
        """Create the writer.

        `redis` has the timeout of writes; `pseudonym_key` says under which ids; `now` returns Unix seconds;
        `on_session_change` is called with a user and the entries just added to the user's session;
        `find_opted_out` and `is_before_erasure` tell whose events, and which, are refused.
        """
        self._redis, self._keys, self._load_shedder = redis, keys, load_shedder
        self._pseudonym_key, self._now, self._on_session_change = pseudonym_key, now, on_session_change
        self._find_opted_out, self._is_before_erasure = find_opted_out, is_before_erasure
        self._guard = guard
        self._weights = settings.sources.event_weights
        self._value_weights = settings.sources.value_weights
        self._sessions = SessionCommands(settings.serving, keys)
        hash_origin = _unknown_origin if guard is None else guard.origin
        null_ids = {name: settings.sources.null_texts(name) for name in (USER_ID, ITEM_ID)}
        self._parser = EventParser(self._weights, pseudonym_key.pseudonyms, hash_origin, null_ids)

    async def take(self, body: bytes) -> IntakeResult:
        """Take one event, a JSON object, or a batch, an array of them.

        An event is accepted when it is in the stream and in its user's session. Sending it again changes nothing;
        another event of the user with the same `event_id` is an error. Raises `InvalidValueError` if the body is
        neither, and `StoreError` if Redis does not take all events: some may then be in the stream, and all may be
        sent again.
        """
        now = datetime.fromtimestamp(self._now(), UTC)
        rows = split_rows(body)
        await self._pseudonym_key.check()
        if self._guard is not None:
            await self._guard.ready()
        valid, errors = self._parser.parse(rows, now)
        welcome = [
            row for row in valid if self._load_shedder.accepts(row.event.event, self._weights[row.event.event])
        ]
        kept = await self._without_refused(welcome) if welcome else []
        accepted, duplicates, conflicts = await self._write(kept) if kept else ([], 0, [])
        errors = sorted([*errors, *conflicts], key=lambda error: error.row)
        shed, refused = len(valid) - len(welcome), len(welcome) - len(kept)
        return IntakeResult(len(accepted), duplicates, errors, shed, refused)

    async def _without_refused(self, rows: Sequence[ValidRow]) -> Sequence[ValidRow]:
        """Leave out events of users who have opted out, and events from before a user was erased.

        A guest who logs in as a user who has opted out is known as the user from then on.
        """
        users = sorted({str(row.event.user_id) for row in rows})
        guests = sorted({row.guest_id for row in rows if row.guest_id and row.guest_id == row.event.user_id})
        opted_out = await self._find_opted_out(users, guests)
        opted_out |= await self._link_refused([row for row in rows if row.event.user_id in opted_out])
        return [
            row
            for row in rows
            if row.event.user_id not in opted_out
            and not self._is_before_erasure(row.event.user_id, row.event.timestamp)
        ]

    async def _link_refused(self, rows: Sequence[ValidRow]) -> frozenset[str]:
        """Note the guests of refused events as the users who have opted out, and remove the guests' sessions.

        The events of these guests, those in the lake too, are then left out as those of the users are. Returns the
        guests.
        """
        logins = find_logins(rows)
        if not logins:
            return frozenset()
        joins = [self._sessions.join(guest_id, user_id) for user_id, guest_id in logins]
        removals = [self._sessions.remove(guest_id) for _, guest_id in logins]
        identities = self._append_identities([(guest_id, user_id, ()) for user_id, guest_id in logins])
        await self._redis.execute_each([*joins, *removals, *identities])
        return frozenset(guest_id for _, guest_id in logins)

    async def _write(self, rows: Sequence[ValidRow]) -> tuple[Sequence[ValidRow], int, Sequence[RowError]]:
        """Write rows to Redis; return those written, how many of them are not new, and the errors of the others."""
        try:
            duplicates, conflicts, guests = await self._find_repeated(rows)
            refused = {error.row for error in conflicts}
            rows = [row for row in rows if row.number not in refused]
            if not rows:
                return [], 0, conflicts
            await self._append_guest_events(
                [(row.event, guests[row.number]) for row in rows if row.number in guests]
            )
            own = [row for row in rows if row.number not in guests]
            writes = await self._append_to_stream([row.event for row in own], [row.origin for row in own])
            replies = await self._add_to_sessions(rows, writes)
            await self._redis.wait_for_replicas(self._keys.events)
        except StoreError as error:
            if "OOM" in str(error):
                self._load_shedder.report_full()
            raise
        if self._guard is not None:
            await self._guard.flag_suspects(writes, replies)
        return rows, duplicates, conflicts

    async def _find_repeated(self, rows: Sequence[ValidRow]) -> tuple[int, list[RowError], dict[int, str]]:
        """Register the ids of events that can be sent again.

        Return how many events are not new, the errors of reused ids, and of events that a guest sent before the
        log-in the number of the row and the guest. An event that is not new is written again, because an earlier
        write may have failed after this.
        """
        given: dict[str, list[ValidRow]] = {}
        of_guests: dict[str, list[ValidRow]] = {}
        for row in rows:
            if row.checksum is not None and row.event.user_id is not None:
                given.setdefault(row.event.user_id, []).append(row)
                if row.guest_id not in (None, row.event.user_id):
                    of_guests.setdefault(str(row.guest_id), []).append(row)
        if not given:
            return 0, [], {}
        registers = [register_ids(self._keys, part) for part in given.values()]
        reads = [read_checksums(self._keys, guest_id, part) for guest_id, part in of_guests.items()]
        replies = await self._redis.execute_each([*registers, *reads])
        guests = {
            row.number: guest_id
            for (guest_id, part), checksums in zip(of_guests.items(), replies[len(registers) :], strict=True)
            for row, checksum in zip(part, checksums, strict=True)
            if checksum is not None and decode_text(checksum) == row.checksum
        }
        outcomes = list(zip(chain(*given.values()), chain(*replies[: len(registers)]), strict=True))
        errors = [
            reused_id_error(row) for row, outcome in outcomes if outcome == OTHER and row.number not in guests
        ]
        return sum(outcome == SAME or row.number in guests for row, outcome in outcomes), errors, guests

    async def _append_guest_events(self, events: Sequence[tuple[Event, str]]) -> None:
        """Append events of users to the stream as those of the guests who sent them, and who the guests are."""
        if not events:
            return
        first = [msgspec.structs.replace(event, user_id=guest_id) for event, guest_id in events]
        identities = self._append_identities([(guest_id, str(event.user_id), ()) for event, guest_id in events])
        await self._redis.execute_each([*self._append_commands(first), *identities])

    def _append_commands(self, events: Sequence[Event]) -> list[KeyedCommand]:
        """Return the commands that append events to the stream."""
        key = self._keys.events
        append = encode_head(5, "XADD", key, "*", EVENT_FIELD)
        return [(key, append + encode_argument(_encode(event))) for event in events]

    async def _append_to_stream(self, events: Sequence[Event], origins: Sequence[Origin]) -> GuardWrites:
        """Append events to the stream, and return the commands by which the guard counts them."""
        commands, guard = self._append_commands(events), self._guard
        if guard is None:
            await self._redis.execute_each(commands)
            return NO_WRITES
        reads = guard.read_commands(events)
        replies = await self._redis.execute_each([*commands, *reads.commands])
        return guard.write_commands(events, origins, reads, replies[len(commands) :])

    async def _add_to_sessions(self, rows: Sequence[ValidRow], writes: GuardWrites) -> Sequence[Reply]:
        """Add events to the sessions of their users, then merge the sessions of guests who have logged in.

        An event of a guest who has logged in goes to the session of that user. The guard's commands go in the same
        round trip, after those that add events; return their replies.
        """
        entries = collect_entries([row.event for row in rows], self._weights, self._value_weights)
        logins, guest_ids = find_logins(rows), {row.guest_id for row in rows}
        guests = [user_id for user_id in entries if user_id in guest_ids]
        own = {user_id: added for user_id, added in entries.items() if user_id not in guests}
        commands = [
            *(self._sessions.add_to_guest(guest_id, entries[guest_id]) for guest_id in guests),
            *(self._sessions.join(guest_id, user_id) for user_id, guest_id in logins),
            *(self._sessions.add(user_id, added) for user_id, added in own.items()),
        ]
        replies = await self._redis.execute_each([*commands, *writes.commands])
        for user_id, added in own.items():
            self._on_session_change(user_id, added)
        moved: list[tuple[str, str, Entries]] = []
        for guest_id, owner in zip(guests, replies, strict=False):
            if owner is None:
                self._on_session_change(guest_id, entries[guest_id])
            else:
                moved.append((guest_id, decode_text(owner), entries[guest_id]))
        sessions = replies[len(guests) : len(guests) + len(logins)]
        joined = [(pair, session) for pair, session in zip(logins, sessions, strict=True) if session]
        moved += [(guest_id, user_id, session) for (user_id, guest_id), session in joined]
        await self._move(moved, [guest_id for (_, guest_id), _ in joined])
        return replies[len(commands) :]

    async def _move(self, moved: Sequence[tuple[str, str, Entries]], left: Sequence[str]) -> None:
        """Add entries of guests to the sessions of their users, then remove the sessions that these guests left.

        `moved` are guest, user and entries; the stream tells the night who the guests are.
        """
        if not moved:
            return
        added = [self._sessions.add(user_id, entries) for _, user_id, entries in moved]
        await self._redis.execute_each([*added, *self._append_identities(moved)])
        for _, user_id, entries in moved:
            self._on_session_change(user_id, entries)
        if left:
            await self._redis.execute_each([self._sessions.remove(guest_id) for guest_id in left])

    def _append_identities(self, moved: Sequence[tuple[str, str, Entries]]) -> list[KeyedCommand]:
        """Return the commands that append to the stream which users the guests are."""
        key, when = self._keys.events, datetime.fromtimestamp(self._now(), UTC).isoformat()
        append = encode_head(5, "XADD", key, "*", IDENTITY_FIELD)
        identities = [{GUEST_ID: guest_id, USER_ID: user_id, TIMESTAMP: when} for guest_id, user_id, _ in moved]
        return [(key, append + encode_argument(_encode(identity))) for identity in identities]


def _unknown_origin(ip: str | None, user_agent: str | None) -> Origin:
    del ip, user_agent
    return UNKNOWN_ORIGIN
