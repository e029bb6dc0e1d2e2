"""Parse the events of a request body row by row, complete them, and check them by the contract's rules."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zlib import crc32

import msgspec
import polars as pl
from msgspec import Raw, Struct

from recsys.event_ids import new_id, row_hash
from recsys.pseudonyms import Pseudonyms
from recsys.schema import (
    EVENT,
    EVENT_DTYPES,
    EVENT_ID,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SESSION_ID,
    TIMESTAMP,
    USER_ID,
    VALUE,
    find_broken_event_rule,
    is_id,
)
from serving.api import MAX_EVENTS, RowError
from serving.guard.counters import Origin
from serving.requests import (
    EXPECTED,
    MAX_SESSION_ID_LENGTH,
    MAX_SHOWN_LENGTH,
    MAX_TEXT_LENGTH,
    REDACTED,
    InvalidValueError,
    guest_user_id,
)

MAX_AHEAD: Final = timedelta(minutes=5)
"""Maximum distance of a timestamp into the future; an event from the future counts as of now."""
NO_ID: Final = "the id of one user or item; this text means none (sources.null_ids)"
AMOUNT: Final = "a finite number not below 0"
EXPECTED_BY_RULE: Final = {
    "event_id_is_an_id": (EVENT_ID, EXPECTED[USER_ID]),
    "user_id_is_an_id": (USER_ID, EXPECTED[USER_ID]),
    "item_id_is_an_id": (ITEM_ID, EXPECTED[ITEM_ID]),
    "value_is_finite": (VALUE, "a finite number"),
    "price_is_an_amount": (PRICE, AMOUNT),
    "quantity_is_an_amount": (QUANTITY, AMOUNT),
    "event_is_known": (EVENT, "one of "),
    "timestamp_is_in_range": (TIMESTAMP, "a time from 2000 up to 5 minutes from now, as 2026-03-01T12:00:00Z"),
}
"""Rule of `find_broken_event_rule` -> the field that it checks, and the expected value."""


class Event(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An action of a user.

    Without `user_id` it belongs to the guest named by `session_id`; without `timestamp` it happened now. Events
    without both `event_id` and `timestamp` are never duplicates of each other.
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
class ValidRow:
    """An event that keeps the rules."""

    number: int
    """Number of the row in its batch, from 0."""
    event: Event
    origin: Origin
    """Where the event comes from, hashed."""
    given_id: str | None
    """Id of the event as the client gave it; None for an event whose id was made of what it says."""
    checksum: str | None
    """Checksum of an event whose id the client gave."""
    guest_id: str | None
    """Stored id of the guest whose session the event names."""


def split_rows(body: bytes) -> list[Raw]:
    """Return the rows of a body, not yet parsed: a JSON object is one row, an array has one or more.

    Raises `InvalidValueError` if the body is neither, or has no row or more than `MAX_EVENTS`.
    """
    expected = f"an event as a JSON object, or an array of 1 to {MAX_EVENTS} of them"
    try:
        if body.lstrip()[:1] != b"[":
            msgspec.json.decode(body, type=dict[str, Raw])
            return [Raw(body)]
        rows = msgspec.json.decode(body, type=list[Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidValueError("body", REDACTED, expected) from None
    if not 1 <= len(rows) <= MAX_EVENTS:
        raise InvalidValueError("body", f"{len(rows)} events", expected)
    return rows


class EventParser:
    """Parses and checks rows of events."""

    def __init__(
        self,
        weights: Mapping[str, float],
        pseudonyms: Pseudonyms | None,
        hash_origin: Callable[[str | None, str | None], Origin],
        null_ids: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Create a parser with the shop's event weights and its handling of personal data.

        With `pseudonyms` they replace the ids of events, and addresses and user agents are removed. `hash_origin`
        hashes an address and a user agent. `null_ids` are the texts in lower case that mean no id, by field; an
        ingest refuses them too.
        """
        self._null_ids = null_ids or {}
        self._weights = weights
        self._pseudonyms = pseudonyms
        self._hash_origin = hash_origin

    def parse(self, rows: Sequence[Raw], now: datetime) -> tuple[list[ValidRow], list[RowError]]:
        """Return the valid rows, and the errors of the others."""
        valid: list[tuple[int, Event, str | None, bool]] = []
        errors: list[RowError] = []
        for number, row in enumerate(rows):
            try:
                event = msgspec.json.decode(row, type=Event)
                given_id, has_time = event.event_id, event.timestamp is not None
                self._complete(event, now)
                self._check(event, now + MAX_AHEAD)
            except msgspec.MsgspecError as error:
                errors.append(_decoding_error(number, error))
            except (UnicodeDecodeError, RecursionError):
                errors.append(RowError(number, "body", REDACTED, "an event as a JSON object in UTF-8"))
            except InvalidValueError as error:
                errors.append(RowError(number, error.field, error.value[:MAX_SHOWN_LENGTH], error.expected))
            else:
                valid.append((number, event, given_id, has_time))
        _add_event_ids([event for _, event, _, _ in valid if event.event_id is None])
        return [self._to_valid_row(*row, now) for row in valid], errors

    def _to_valid_row(
        self, number: int, event: Event, given_id: str | None, has_time: bool, now: datetime
    ) -> ValidRow:
        """Return a valid event as it is stored: with pseudonyms, if there are any, and not in the future."""
        origin = self._hash_origin(event.ip, event.user_agent)
        checksum = _checksum(event, has_time) if given_id is not None else None
        guest_id = None if event.session_id is None else guest_user_id(event.session_id)
        if self._pseudonyms is not None:
            guest_id = None if guest_id is None else self._pseudonyms.user(guest_id)
            _hide_ids(event, self._pseudonyms)
        event.timestamp = min(event.timestamp or now, now)
        return ValidRow(number, event, origin, given_id, checksum, guest_id)

    def _complete(self, event: Event, now: datetime) -> None:
        """Set the timestamp in UTC, the id of an event without id and timestamp, and the user id of a guest."""
        if event.timestamp is None:
            event.timestamp = now
            if event.event_id is None:
                event.event_id = new_id()
        elif event.timestamp.tzinfo is None:
            event.timestamp = event.timestamp.replace(tzinfo=UTC)
        else:
            try:
                event.timestamp = event.timestamp.astimezone(UTC)
            except OverflowError:
                field, expected = EXPECTED_BY_RULE["timestamp_is_in_range"]
                raise InvalidValueError(field, event.timestamp.isoformat(), expected) from None
        session_id = event.session_id
        if session_id is not None and not (is_id(session_id) and len(session_id) <= MAX_SESSION_ID_LENGTH):
            raise InvalidValueError(SESSION_ID, session_id)
        if event.user_id is None:
            if session_id is None:
                raise InvalidValueError(USER_ID, "null", "a user id, or the session id of a guest")
            event.user_id = guest_user_id(session_id)

    def _check(self, event: Event, latest: datetime) -> None:
        """Check a completed event by the contract's rules."""
        assert event.timestamp is not None
        assert event.user_id is not None
        for name in ("ip", "user_agent"):
            text: str | None = getattr(event, name)
            if text is not None and len(text) > MAX_TEXT_LENGTH:
                raise InvalidValueError(name, text, f"at most {MAX_TEXT_LENGTH} characters")
        for name, null_ids in self._null_ids.items():
            text = getattr(event, name)
            if text is not None and text.lower() in null_ids:
                raise InvalidValueError(name, text, NO_ID)
        rule = find_broken_event_rule(
            "-" if event.event_id is None else event.event_id,
            event.user_id,
            event.item_id,
            event.event,
            event.timestamp,
            _amounts(event),
            self._weights,
            latest,
        )
        if rule is not None:
            field, expected = EXPECTED_BY_RULE[rule]
            names = ", ".join(sorted(self._weights)) if field == EVENT else ""
            raise InvalidValueError(field, str(getattr(event, field)), expected + names)


def _hide_ids(event: Event, pseudonyms: Pseudonyms) -> None:
    """Replace the ids of an event by their pseudonyms, and remove address and user agent, as an ingest does."""
    assert event.user_id is not None
    assert event.event_id is not None
    event.user_id, event.event_id = pseudonyms.user(event.user_id), pseudonyms.event(event.event_id)
    event.session_id = None if event.session_id is None else pseudonyms.session(event.session_id)
    event.ip = event.user_agent = None


def _checksum(event: Event, has_time: bool) -> str:
    """Return a checksum of what an event says; a timestamp that the client did not give does not count."""
    said = (event.item_id, event.event, event.timestamp if has_time else None, *_amounts(event))
    return f"{crc32(msgspec.json.encode(said)):08x}"


def _amounts(event: Event) -> tuple[float | None, float | None, float | None]:
    return event.value, event.price, event.quantity


def _decoding_error(number: int, error: msgspec.MsgspecError) -> RowError:
    """Return the field and the problem that msgspec names in its message."""
    problem, _, place = str(error).partition(" - at `$.")
    field = place.rstrip("`") or problem.partition(" field `")[2].rstrip("`")
    return RowError(number, field or "body", REDACTED, problem)


def _add_event_ids(events: Sequence[Event]) -> None:
    """Set the ids of events without one to the hash that ingest gives such rows."""
    if not events:
        return
    schema = pl.Schema(EVENT_DTYPES)
    rows = pl.DataFrame([msgspec.to_builtins(event, builtin_types=(datetime,)) for event in events], schema=schema)
    event_ids: list[str] = rows.select(row_hash(schema)).to_series().to_list()
    for event, event_id in zip(events, event_ids, strict=True):
        event.event_id = event_id
