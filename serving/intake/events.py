"""Events taken in: checked by the contract's rules, appended to the stream, and in the user's session at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
import polars as pl
from msgspec import Raw, Struct

from recsys.anomaly.scoring import RECENT_ACTS
from recsys.errors import StoreError
from recsys.event_ids import row_hash
from recsys.schema import (
    EVENT,
    EVENT_ID,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SESSION_ID,
    TIMESTAMP,
    USER_ID,
    VALUE,
    Events,
    find_broken_event_rule,
    is_id,
)
from recsys.settings import Settings
from recsys.store.client.client import RedisClient
from recsys.store.keys import EVENT_FIELD, Keys
from recsys.store.resp import encode_argument, encode_arguments, encode_head
from serving.api import MAX_EVENTS, RowError
from serving.guard.counters import Origin
from serving.guard.guard import Guard, KeyedCommand
from serving.guard.observation import UNKNOWN, Batch, Watched
from serving.http.query import EXPECTED, MAX_SESSION_ID_LENGTH, InvalidValueError, guest_user_id
from serving.intake.load_shedding import LoadShedder

MAX_BODY_BYTES: Final = 2_000_000
AHEAD: Final = timedelta(days=1)
MAX_TEXT_LENGTH: Final = 1_000
DAY_MS: Final = 86_400_000
NO_BATCH: Final = Batch(0)
TRIMMING: Final = encode_head(4, "ZREMRANGEBYRANK")
ENDING: Final = encode_head(3, "PEXPIRE")
GLANCING: Final = encode_head(5, "ZREVRANGE")
GLANCED_PARTS: Final = encode_arguments(0, RECENT_ACTS - 1, "WITHSCORES")
AMOUNT: Final = "a finite number not below 0"
EXPECTED_OF_RULE: Final = {
    "event_id_is_an_id": (EVENT_ID, EXPECTED[USER_ID]),
    "user_id_is_an_id": (USER_ID, EXPECTED[USER_ID]),
    "item_id_is_an_id": (ITEM_ID, EXPECTED[ITEM_ID]),
    "value_is_finite": (VALUE, "a finite number"),
    "price_is_an_amount": (PRICE, AMOUNT),
    "quantity_is_an_amount": (QUANTITY, AMOUNT),
    "event_is_known": (EVENT, "one of "),
    "timestamp_is_in_range": (TIMESTAMP, "a time from 2000 up to a day from now, as 2026-03-01T12:00:00Z"),
}

_encode: Final = msgspec.json.Encoder().encode


class Event(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a user did. Without `user_id` it is of the guest whom `session_id` names; without `timestamp` it is of
    now; with neither `event_id` nor `timestamp` a repeated one is another.
    """

    item_id: str
    event: str
    user_id: str | None = None
    event_id: str | None = None
    timestamp: datetime | None = None
    value: float | None = None
    price: float | None = None
    quantity: float | None = None
    session_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True)
class IntakeResult:
    """What became of a batch: how many are in the stream, what is wrong with others, how many found no room."""

    accepted: int
    errors: list[RowError]
    shed: int


class EventWriter:
    """Takes events in."""

    def __init__(
        self,
        settings: Settings,
        links: RedisClient,
        keys: Keys,
        pressure: LoadShedder,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
        hear: Callable[[str, Sequence[Any]], None],
        guard: Guard | None = None,
    ) -> None:
        """`links` waits long enough for a write; `stored_id` is what a user is called in Redis; `hear` is told what
        was put into a user's session: members and scores, as a reply has them; `guard` looks at all of it.
        """
        self._links, self._keys, self._pressure = links, keys, pressure
        self._stored_id, self._now, self._hear, self._guard = stored_id, now, hear, guard
        self._weights = settings.sources.event_weights
        self._private = bool(settings.pseudonym_key)
        self._session_part = encode_argument(int(settings.serving.session_days * DAY_MS))
        self._beyond = encode_arguments(0, -settings.serving.session_events - 1)

    async def take(self, body: bytes) -> IntakeResult:
        """Take one event, a JSON object, or a batch, an array of them.

        An event is accepted when it is in the stream and in its user's session; the same `event_id` again changes
        nothing. Raises `InvalidValueError` where the body is neither, and `StoreError` when Redis does not take all
        of them: some may then be in the stream, and all may be sent again.
        """
        now = datetime.fromtimestamp(self._now(), UTC)
        rows = rows_of(body)
        if self._guard is not None:
            await self._guard.ready()
        received, errors = self._checked(rows, now)
        room = [
            (event, origin)
            for event, origin in received
            if self._pressure.takes(event.event, self._weights[event.event])
        ]
        if room:
            await self._write([event for event, _ in room], [origin for _, origin in room])
        return IntakeResult(len(room), errors, len(received) - len(room))

    def _checked(self, rows: Sequence[Raw], now: datetime) -> tuple[list[tuple[Event, Origin]], list[RowError]]:
        """The events that break no rule, each with where it came from."""
        received: list[tuple[Event, Origin]] = []
        errors: list[RowError] = []
        for number, row in enumerate(rows):
            try:
                event = msgspec.json.decode(row, type=Event)
                self._complete(event, now)
                self._check(event, now)
                received.append((event, self._origin(event)))
            except msgspec.MsgspecError as error:
                errors.append(_unreadable(number, error))
            except (UnicodeDecodeError, RecursionError):
                errors.append(RowError(number, "body", "(not shown)", "an event as a JSON object in UTF-8"))
            except InvalidValueError as error:
                errors.append(RowError(number, error.field, error.value[:200], error.expected))
        without_id = [event for event, _ in received if event.event_id is None]
        if without_id:
            for event, event_id in zip(without_id, _hashes(without_id), strict=True):
                event.event_id = event_id
        return received, errors

    def _origin(self, event: Event) -> Origin:
        """Where an event came from, as hashes; what must not be kept of it is gone afterwards."""
        origin = UNKNOWN if self._guard is None else self._guard.origin(event.ip, event.user_agent)
        if self._private:
            event.ip = event.user_agent = None
        return origin

    def _complete(self, event: Event, now: datetime) -> None:
        """Whose event it is and when it was, where that is not given."""
        if event.timestamp is None:
            event.timestamp = now
        elif event.timestamp.tzinfo is None:
            event.timestamp = event.timestamp.replace(tzinfo=UTC)
        else:
            try:
                event.timestamp = event.timestamp.astimezone(UTC)
            except OverflowError:
                field, expected = EXPECTED_OF_RULE["timestamp_is_in_range"]
                raise InvalidValueError(field, event.timestamp.isoformat(), expected) from None

    def _check(self, event: Event, now: datetime) -> None:
        assert event.timestamp is not None
        session_id = event.session_id
        if session_id is not None and not (is_id(session_id) and len(session_id) <= MAX_SESSION_ID_LENGTH):
            raise InvalidValueError(SESSION_ID, session_id)
        if event.user_id is None:
            if session_id is None:
                raise InvalidValueError(USER_ID, "null", "a user id, or the session id of a guest")
            event.user_id = guest_user_id(session_id)
        for name in ("ip", "user_agent"):
            text: str | None = getattr(event, name)
            if text is not None and len(text) > MAX_TEXT_LENGTH:
                raise InvalidValueError(name, text, f"at most {MAX_TEXT_LENGTH} characters")
        rule = find_broken_event_rule(
            "-" if event.event_id is None else event.event_id,
            event.user_id,
            event.item_id,
            event.event,
            event.timestamp,
            (event.value, event.price, event.quantity),
            self._weights,
            now + AHEAD,
        )
        if rule is not None:
            field, expected = EXPECTED_OF_RULE[rule]
            names = ", ".join(sorted(self._weights)) if field == EVENT else ""
            raise InvalidValueError(field, str(getattr(event, field)), expected + names)
        event.user_id = self._stored_id(event.user_id)

    async def _write(self, events: Sequence[Event], origins: Sequence[Origin]) -> None:
        try:
            batch = await self._append(events, origins)
            await self._remember(events, batch)
        except StoreError as error:
            if "OOM" in str(error):
                self._pressure.refused()
            raise
        if self._guard is not None:
            await self._guard.finish(batch)

    async def _append(self, events: Sequence[Event], origins: Sequence[Origin]) -> Batch:
        """Write events to the stream; what the guard has to count of them."""
        key, guard = self._keys.events, self._guard
        adding = encode_head(5, "XADD", key, "*", EVENT_FIELD)
        entries: list[KeyedCommand] = [(key, adding + encode_argument(_encode(event))) for event in events]
        if guard is None:
            await self._links.execute_each(entries)
            return NO_BATCH
        users = guard.users_of(events)
        replies = await self._links.execute_each(entries + guard.asking(users))
        return guard.batch(events, origins, users, replies[len(entries) :])

    async def _remember(self, events: Sequence[Event], batch: Batch) -> None:
        """Put events into the sessions of their users, and count them, in one trip; then what guests did who have
        logged in.
        """
        sessions, logins = self._sessions(events), self._logins(events)
        asked: list[KeyedCommand] = []
        glances: list[tuple[Watched, int]] = []
        for user_id, session in sessions.items():
            watched = batch.users.get(user_id)
            asked += self._putting(self._keys.session(user_id), session, watched is not None)
            if watched is not None:
                glances.append((watched, len(asked) - 1))
        of_guests = len(asked)
        for _, guest_id in logins:
            key = self._keys.session(guest_id)
            asked.append((key, ("ZRANGE", key, 0, -1, "WITHSCORES")))
        counting = len(asked)
        if self._guard is not None:
            asked += self._guard.counting(batch)
        replies = await self._links.execute_each(asked)
        for watched, place in glances:
            watched.glance = replies[place]
        if self._guard is not None and batch.users:
            self._guard.counted(batch, replies[counting:])
        for user_id, session in sessions.items():
            self._hear(user_id, session)
        for (user_id, guest_id), found in zip(logins, replies[of_guests:counting], strict=True):
            if found:
                await self._join(user_id, guest_id, found)

    def _sessions(self, events: Sequence[Event]) -> Mapping[str, list[Any]]:
        """What events put into the session of each user: members, and scores behind them."""
        found: dict[str, list[Any]] = {}
        for event in events:
            if event.event_id and event.user_id and event.timestamp and self._weights[event.event]:
                member = f"{event.event_id} {event.item_id} {event.event}".encode()
                found.setdefault(event.user_id, []).extend((member, milliseconds(event.timestamp)))
        return found

    def _logins(self, events: Sequence[Event]) -> list[tuple[str, str]]:
        """Users who were guests before, as far as their events say, each with the guest."""
        guests = {
            (event.user_id, self._stored_id(guest_user_id(event.session_id)))
            for event in events
            if event.session_id is not None and event.user_id is not None
        }
        return sorted((user_id, guest_id) for user_id, guest_id in guests if user_id != guest_id)

    def _putting(self, key: str, session: Sequence[Any], glanced: bool = False) -> list[KeyedCommand]:
        """The commands that put members and scores into a session; with `glanced` the last asks for its latest.

        A sorted set keeps the latest whatever the order they come in, and takes the same event once.
        """
        packed = encode_argument(key)
        scored = b"".join([encode_argument(session[place ^ 1]) for place in range(len(session))])
        asked: list[KeyedCommand] = [
            (key, _adding(len(session)) + packed + scored),
            (key, TRIMMING + packed + self._beyond),
            (key, ENDING + packed + self._session_part),
        ]
        return [*asked, (key, GLANCING + packed + GLANCED_PARTS)] if glanced else asked

    async def _join(self, user_id: str, guest_id: str, session: Sequence[Any]) -> None:
        """A guest has logged in: what the guest did becomes part of the user's session."""
        key = self._keys.session(guest_id)
        await self._links.execute_each(self._putting(self._keys.session(user_id), session))
        self._hear(user_id, session)
        await self._links.execute(key, ("UNLINK", key))


@lru_cache(MAX_EVENTS)
def _adding(count: int) -> bytes:
    return encode_head(2 + count, "ZADD")


def rows_of(body: bytes) -> list[Raw]:
    """The events of a body, not yet read; raises `InvalidValueError` where it has none or too many."""
    expected = f"an event as a JSON object, or an array of 1 to {MAX_EVENTS} of them"
    try:
        if body.lstrip()[:1] != b"[":
            msgspec.json.decode(body, type=dict[str, Raw])
            return [Raw(body)]
        rows = msgspec.json.decode(body, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidValueError("body", "(not shown)", expected) from None
    if not 1 <= len(rows) <= MAX_EVENTS:
        raise InvalidValueError("body", f"{len(rows)} events", expected)
    return rows


def milliseconds(moment: datetime) -> int:
    """A moment in Unix milliseconds."""
    return int(moment.timestamp() * 1e3)


def _unreadable(number: int, error: msgspec.MsgspecError) -> RowError:
    problem, _, place = str(error).partition(" - at `$.")
    field = place.rstrip("`") or problem.partition(" field `")[2].rstrip("`")
    return RowError(number, field or "body", "(not shown)", problem)


def _hashes(events: Sequence[Event]) -> list[str]:
    """Ids of events without one, as ingest makes them."""
    schema = pl.Schema(Events)
    rows = pl.DataFrame([msgspec.to_builtins(event, builtin_types=(datetime,)) for event in events], schema=schema)
    return rows.select(row_hash(schema)).to_series().to_list()
