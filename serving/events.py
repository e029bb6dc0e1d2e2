"""Events taken in: checked by the contract's rules, appended to the stream, and in the user's session at once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import polars as pl
from msgspec import Raw, Struct

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
    broken_event_rule,
    is_id,
)
from recsys.settings import Settings
from recsys.store.keys import EVENT_FIELD, Keys
from recsys.store.link import Command
from recsys.store.links import Links
from serving.answers import RowError
from serving.asked import EXPECTED, SESSION_LENGTH, InvalidValueError, guest
from serving.guard import UNKNOWN, Batch, Guard, Origin, Watched, glance
from serving.pressure import Pressure

MOST_EVENTS: Final = 500
MOST_BODY_BYTES: Final = 2_000_000
AHEAD: Final = timedelta(days=1)
TEXT_LENGTH: Final = 1_000
DAY_MS: Final = 86_400_000
NO_BATCH: Final = Batch(0)
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


class Event(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a user did. Without `user_id` it is of the guest whom `session_id` names; without `timestamp` it is of
    now; with neither `event_id` nor `timestamp` a repeated one is another."""

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
class Taken:
    """What became of a batch: how many are in the stream, what is wrong with others, how many found no room."""

    accepted: int
    errors: list[RowError]
    shed: int


class EventWriter:
    """Takes events in."""

    def __init__(
        self,
        settings: Settings,
        links: Links,
        keys: Keys,
        pressure: Pressure,
        stored_id: Callable[[str], str],
        now: Callable[[], float],
        hear: Callable[[str, Sequence[Any]], None],
        guard: Guard | None = None,
    ) -> None:
        """`links` waits long enough for a write; `stored_id` is what a user is called in Redis; `hear` is told what
        was put into a user's session: members and scores, as a reply has them; `guard` looks at all of it."""
        self._links, self._keys, self._pressure = links, keys, pressure
        self._stored_id, self._now, self._hear, self._guard = stored_id, now, hear, guard
        self._weights = settings.sources.event_weights
        self._private = bool(settings.pseudonym_key)
        self._session_events = settings.serving.session_events
        self._session_ms = int(settings.serving.session_days * DAY_MS)

    async def take(self, body: bytes) -> Taken:
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
        return Taken(len(room), errors, len(received) - len(room))

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
        if session_id is not None and not (is_id(session_id) and len(session_id) <= SESSION_LENGTH):
            raise InvalidValueError(SESSION_ID, session_id)
        if event.user_id is None:
            if session_id is None:
                raise InvalidValueError(USER_ID, "null", "a user id, or the session id of a guest")
            event.user_id = guest(session_id)
        for name in ("ip", "user_agent"):
            text: str | None = getattr(event, name)
            if text is not None and len(text) > TEXT_LENGTH:
                raise InvalidValueError(name, text, f"at most {TEXT_LENGTH} characters")
        rule = broken_event_rule(
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
        guard, batch = self._guard, NO_BATCH
        try:
            if guard is None:
                await self._append(events)
            else:
                _, batch = await asyncio.gather(self._append(events), guard.begin(events, origins))
            sessions = self._sessions(events)
            guests = {
                (event.user_id, self._stored_id(guest(event.session_id)))
                for event in events
                if event.session_id is not None and event.user_id is not None
            }
            counting = asyncio.ensure_future(_nothing() if guard is None else guard.count(batch))
            await asyncio.gather(
                counting,
                *(self._put(user_id, scored, batch.users.get(user_id)) for user_id, scored in sessions.items()),
                *(self._join(user_id, guest_id) for user_id, guest_id in sorted(guests) if user_id != guest_id),
            )
        except StoreError as error:
            if "OOM" in str(error):
                self._pressure.refused()
            raise
        if guard is not None:
            await guard.finish(batch, counting.result())

    async def _append(self, events: Sequence[Event]) -> None:
        """Write events to the stream."""
        key = self._keys.events
        entries = (("XADD", key, "*", EVENT_FIELD, msgspec.json.encode(event)) for event in events)
        await self._links.call(key, *entries)

    def _sessions(self, events: Sequence[Event]) -> Mapping[str, list[Any]]:
        """What events put into the session of each user: members, and scores behind them."""
        found: dict[str, list[Any]] = {}
        for event in events:
            if event.event_id and event.user_id and event.timestamp and self._weights[event.event]:
                member = f"{event.event_id} {event.item_id} {event.event}".encode()
                found.setdefault(event.user_id, []).extend((member, milliseconds(event.timestamp)))
        return found

    async def _put(self, user_id: str, session: Sequence[Any], watched: Watched | None = None) -> None:
        """Put members and scores into a user's session, and take a glance at the latest of a user who is watched.

        A sorted set keeps the latest whatever the order they come in, and takes the same event once.
        """
        key = self._keys.session(user_id)
        scored = [part for pair in zip(session[1::2], session[::2], strict=True) for part in pair]
        commands: list[Command] = [
            ("ZADD", key, *scored),
            ("ZREMRANGEBYRANK", key, 0, -self._session_events - 1),
            ("PEXPIRE", key, self._session_ms),
        ]
        if watched is None:
            await self._links.call(key, *commands)
        else:
            *_, watched.glance = await self._links.call(key, *commands, glance(key))
        self._hear(user_id, session)

    async def _join(self, user_id: str, guest_id: str) -> None:
        """A guest has logged in: what the guest did becomes part of the user's session."""
        key = self._keys.session(guest_id)
        (found,) = await self._links.call(key, ("ZRANGE", key, 0, -1, "WITHSCORES"))
        if found:
            await self._put(user_id, found)
            await self._links.call(key, ("UNLINK", key))


async def _nothing() -> list[Any]:
    return []


def rows_of(body: bytes) -> list[Raw]:
    """The events of a body, not yet read; raises `InvalidValueError` where it has none or too many."""
    expected = f"an event as a JSON object, or an array of 1 to {MOST_EVENTS} of them"
    try:
        if body.lstrip()[:1] != b"[":
            msgspec.json.decode(body, type=dict[str, Raw])
            return [Raw(body)]
        rows = msgspec.json.decode(body, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidValueError("body", "(not shown)", expected) from None
    if not 1 <= len(rows) <= MOST_EVENTS:
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
