"""Rows of events parsed, completed and checked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from recsys.pseudonyms import Pseudonyms
from recsys.schema import DEFAULT_WEIGHTS
from serving.api import RowError
from serving.guard.counters import Origin
from serving.intake.event_parsing import Event, EventParser, ValidRow, split_rows
from serving.requests import MAX_SHOWN_LENGTH, InvalidValueError

ROW = {"user_id": "7", "event": "view", "item_id": "a1"}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ID = "1 to 128 characters in percent-encoded UTF-8, none white space or a control character"
AMOUNT = "a finite number not below 0"
WHEN = "a time from 2000 up to 5 minutes from now, as 2026-03-01T12:00:00Z"
INVALID_ROWS = (
    ({"event_id": "a b"}, "event_id", ID),
    ({"user_id": ""}, "user_id", ID),
    ({"user_id": "x" * 129}, "user_id", ID),
    ({"user_id": None}, "user_id", "a user id, or the session id of a guest"),
    ({"user_id": 7}, "user_id", "Expected `str | null`, got `int`"),
    ({"item_id": "tab\t"}, "item_id", ID),
    ({"item_id": "\u2028"}, "item_id", ID),
    ({"item_id": None}, "item_id", "Expected `str`, got `null`"),
    ({"event": "stare"}, "event", f"one of {', '.join(sorted(DEFAULT_WEIGHTS))}"),
    ({"timestamp": "1999-12-31T23:59:59Z"}, "timestamp", WHEN),
    ({"timestamp": "0001-01-01T00:00:00+05:00"}, "timestamp", WHEN),
    ({"timestamp": "9999-12-31T23:59:59-05:00"}, "timestamp", WHEN),
    ({"timestamp": "yesterday"}, "timestamp", "Invalid RFC3339 encoded datetime"),
    ({"timestamp": 17}, "timestamp", "Expected `datetime | null`, got `int`"),
    ({"price": -0.01}, "price", AMOUNT),
    ({"price": "3"}, "price", "Expected `float | null`, got `str`"),
    ({"quantity": -1}, "quantity", AMOUNT),
    ({"session_id": "x" * 123}, "session_id", ID.replace("128", "122")),
    ({"session_id": " "}, "session_id", ID.replace("128", "122")),
    ({"ip": "x" * 1001}, "ip", "at most 1000 characters"),
    ({"user_agent": "x" * 1001}, "user_agent", "at most 1000 characters"),
    ({"colour": "red"}, "colour", "Object contains unknown field `colour`"),
)
"""Fields that replace those of a valid row, the field that the error names, and what it expects."""


def parse(*rows: object, pseudonyms: Pseudonyms | None = None) -> tuple[list[ValidRow], list[RowError]]:
    """Parse rows at `NOW`."""
    parser = EventParser(
        DEFAULT_WEIGHTS,
        pseudonyms,
        hash_origin=lambda ip, user_agent: Origin(ip and ip[::-1], user_agent and user_agent[::-1]),
    )
    return parser.parse([Raw(msgspec.json.encode(row)) for row in rows], NOW)


def events_of(*rows: object) -> list[Event]:
    """Return the events of rows that are all valid."""
    valid, errors = parse(*rows)
    assert errors == []
    return [row.event for row in valid]


@pytest.mark.parametrize(("wrong", "field", "expected"), INVALID_ROWS)
def test_an_invalid_row_is_an_error_beside_the_valid_ones(wrong: dict[str, Any], field: str, expected: str) -> None:
    valid, (error,) = parse(ROW | {"event_id": "e1"}, ROW | wrong, ROW | {"event_id": "e2"})
    assert [(row.number, row.event.event_id) for row in valid] == [(0, "e1"), (2, "e2")]
    assert (error.row, error.field, error.expected) == (1, field, expected)
    assert len(error.value) <= MAX_SHOWN_LENGTH


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": "x" * 128, "item_id": "é" * 21, "event_id": "e"},
        {"user_id": None, "session_id": "x" * 122},
        {"price": 0, "quantity": 0.0, "value": -3},
        {"ip": "x" * 1000, "user_agent": "ü" * 1000},
        {"timestamp": "2000-01-01T00:00:00Z"},
        {"timestamp": (NOW + timedelta(minutes=5)).isoformat()},
    ],
    ids=["ids", "guest", "amounts", "origin", "earliest", "latest"],
)
def test_values_at_the_limits_are_valid(fields: dict[str, Any]) -> None:
    assert len(events_of(ROW | fields)) == 1


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (None, NOW),
        ("2026-02-01T12:00:00", datetime(2026, 2, 1, 12, tzinfo=UTC)),
        ("2026-02-01T12:00:00.123456Z", datetime(2026, 2, 1, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-02-01T12:00:00+05:30", datetime(2026, 2, 1, 6, 30, tzinfo=UTC)),
        ((NOW + timedelta(minutes=4)).isoformat(), NOW),
    ],
    ids=["none is now", "without a zone is UTC", "microseconds", "another zone", "ahead counts now"],
)
def test_timestamps_are_in_utc(timestamp: str | None, expected: datetime) -> None:
    (event,) = events_of(ROW | {"timestamp": timestamp})
    assert event.timestamp == expected
    assert event.timestamp is not None
    assert event.timestamp.tzinfo == UTC


@pytest.mark.parametrize("pseudonyms", [None, Pseudonyms(("old", "new"))], ids=["named", "pseudonyms"])
def test_rows_have_stored_ids_and_guests_that_of_their_session(pseudonyms: Pseudonyms | None) -> None:
    view = {"event": "view", "item_id": "a1", "session_id": "s1"}
    (user, guest), _ = parse(ROW | {"session_id": "s1", "event_id": "7"}, view, pseudonyms=pseudonyms)
    assert guest.event.user_id == guest.guest_id == user.guest_id
    assert (user.given_id, guest.given_id) == ("7", None)
    event = user.event
    if pseudonyms is None:
        assert (event.user_id, event.event_id, event.session_id, user.guest_id) == ("7", "7", "s1", "guest:s1")
        return
    assert (event.user_id, event.event_id) == (pseudonyms.user("7"), pseudonyms.event("7"))
    assert (event.session_id, user.guest_id) == (pseudonyms.session("s1"), pseudonyms.user("guest:s1"))


def test_an_event_without_an_id_has_the_pseudonym_of_the_id_that_an_ingest_makes() -> None:
    row, pseudonyms = ROW | {"timestamp": "2026-02-01T12:00:00Z", "ip": "12"}, Pseudonyms(("key",))
    (plain,), (hidden,) = parse(row)[0], parse(row, pseudonyms=pseudonyms)[0]
    assert hidden.event.event_id == pseudonyms.event(str(plain.event.event_id))


@pytest.mark.parametrize("pseudonyms", [None, Pseudonyms(("key",))], ids=["named", "pseudonyms"])
def test_the_origin_is_hashed_and_kept_only_without_pseudonyms(pseudonyms: Pseudonyms | None) -> None:
    (row,), _ = parse(ROW | {"ip": "12", "user_agent": "ab"}, pseudonyms=pseudonyms)
    assert (row.origin.address, row.origin.device) == ("21", "ba")
    assert (row.event.ip, row.event.user_agent) == (("12", "ab") if pseudonyms is None else (None, None))


def test_an_event_id_is_made_of_the_fields_where_there_is_none() -> None:
    row = ROW | {"timestamp": "2026-02-01T12:00:00Z"}
    first, again, other, given_id = events_of(row, row, row | {"price": 2.0}, row | {"event_id": "e1"})
    assert first.event_id == again.event_id
    assert len({first.event_id, other.event_id, given_id.event_id}) == 3
    assert given_id.event_id == "e1"


def test_events_without_id_and_time_are_never_the_same() -> None:
    first, second = events_of(ROW, ROW)
    assert first.event_id != second.event_id


def test_the_checksum_of_an_event_is_that_of_what_it_says() -> None:
    row = ROW | {"event_id": "e1"}
    at_noon = row | {"timestamp": "2026-02-01T12:00:00Z"}
    same = (
        [row, row | {"session_id": "s1", "ip": "12"}],
        [at_noon, at_noon | {"timestamp": "2026-02-01T13:00:00+01:00"}],
    )
    other = [row | {"item_id": "b"}, row | {"event": "cart"}, row | {"price": 2}, row | {"quantity": 2}, at_noon]
    for first, second in same:
        valid, _ = parse(first, second)
        assert valid[0].checksum == valid[1].checksum
    checksums = [valid.checksum for valid in parse(row, *other)[0]]
    assert len(set(checksums)) == len(checksums)
    assert parse(ROW)[0][0].checksum is None


@pytest.mark.parametrize("row", [b"1", b'"a"', b"{", b'{"item_id":"\xff"}', b"[" * 100_000, b"null"])
def test_a_row_that_is_no_event_in_utf_8_names_the_body(row: bytes) -> None:
    parser = EventParser(DEFAULT_WEIGHTS, None, lambda *_: Origin())
    valid, (error,) = parser.parse([Raw(row)], NOW)
    assert (valid, error.row, error.field, error.value) == ([], 0, "body", "(not shown)")


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'{"a":1}', [b'{"a":1}']),
        (b' \n{"a":1}', [b' \n{"a":1}']),
        (b'[{"a":1}, 2]', [b'{"a":1}', b"2"]),
        (b"[" + b",".join([b"{}"] * 500) + b"]", [b"{}"] * 500),
    ],
    ids=["an object", "an object after white space", "an array", "the longest array"],
)
def test_a_body_is_one_row_or_an_array_of_rows(body: bytes, rows: Sequence[bytes]) -> None:
    assert [bytes(row) for row in split_rows(body)] == rows


@pytest.mark.parametrize(
    ("body", "shown"),
    [(b"", "(not shown)"), (b"7", "(not shown)"), (b'{"a":1', "(not shown)"), (b"[1", "(not shown)"),
     (b"[" * 100_000, "(not shown)"), (b"\xff", "(not shown)"), (b"[]", "0 events"),
     (b"[" + b",".join([b"{}"] * 501) + b"]", "501 events")],
    ids=["empty", "a number", "half an object", "half an array", "nested", "not UTF-8", "no row", "too many rows"],
)  # fmt: skip
def test_other_bodies_are_refused(body: bytes, shown: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        split_rows(body)
    assert (error.value.field, error.value.value) == ("body", shown)
    assert error.value.expected == "an event as a JSON object, or an array of 1 to 500 of them"


def test_an_id_that_means_none_is_refused_as_by_an_ingest() -> None:
    null_ids = {"user_id": {"guest", "0"}, "item_id": {"guest"}}
    parser = EventParser(DEFAULT_WEIGHTS, None, lambda *_: Origin(), null_ids=null_ids)
    rows = [ROW | {"user_id": "Guest"}, ROW | {"user_id": "0"}, ROW | {"item_id": "guest"}, ROW | {"item_id": "0"}]
    valid, errors = parser.parse([Raw(msgspec.json.encode(row)) for row in rows], NOW)
    assert [row.event.item_id for row in valid] == ["0"]
    assert [(error.row, error.field) for error in errors] == [(0, "user_id"), (1, "user_id"), (2, "item_id")]
