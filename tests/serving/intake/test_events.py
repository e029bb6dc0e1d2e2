"""Accepted events: in the stream and the session at once, and in the lake after the next archive."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest
import redis

from jobs.ingest.mapping import map_rows
from jobs.ingest.stream import ArchiveResult, archive
from jobs.lake.lake import Lake
from recsys.contract import Events
from recsys.settings import Settings, Sources, Table
from recsys.store.embedded import start_server, stop_server
from recsys.store.keys import Keys
from tests.serving.conftest import VERSION, Publish, Talk, application, ids
from tests.waiting import PATIENCE_SECONDS, until

KEYS = Keys("recsys")
ROW = {"user_id": "7", "event": "view", "item_id": "a1"}
ID = "1 to 128 characters in percent-encoded UTF-8, none white space or a control character"
Post = Callable[..., httpx.Response]


def posting(*rows: object) -> tuple[str, str, list[object]]:
    """Return a request with a batch of events."""
    return ("POST", "/v1/events", list(rows))


def in_stream(client: redis.Redis) -> list[dict[str, Any]]:
    """Return the events of the stream."""
    entries: Any = client.xrange(KEYS.events)
    return [msgspec.json.decode(fields[b"event"]) for _, fields in entries if b"event" in fields]


def session(client: redis.Redis, user_id: str = "7") -> list[str]:
    """Return event id, item and event of a session, earliest first."""
    members: Any = client.zrange(KEYS.session(user_id), 0, -1)
    return [member.decode() for member in members]


@pytest.mark.parametrize(
    ("wrong", "field", "expected"),
    [
        ({"item_id": "tab\t"}, "item_id", ID),
        ({"user_id": 7}, "user_id", "Expected `str | null`, got `int`"),
    ],
    ids=["against a rule", "of another type"],
)
def test_invalid_rows_are_refused_and_the_others_are_accepted(
    talk: Talk, publish_shop: Publish, client: redis.Redis, wrong: dict[str, Any], field: str, expected: str
) -> None:
    publish_shop()
    good = [{**ROW, "event_id": name} for name in ("e1", "e2")]
    some, none = talk(posting(good[0], {**ROW, **wrong}, good[1]), posting({**ROW, **wrong}))
    assert (some.status_code, some.json()["accepted"]) == (202, 2)
    (error,) = some.json()["errors"]
    assert (error["row"], error["field"], error["expected"]) == (1, field, expected)
    assert len(error["value"]) <= 200
    assert (none.status_code, none.json()["accepted"]) == (400, 0)
    assert [event["event_id"] for event in in_stream(client)] == ["e1", "e2"]


def test_bodies_that_are_no_events_are_refused(
    settings: Settings, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    one = msgspec.json.encode(ROW)
    batches = [b"[" + b",".join([one] * count) + b"]" for count in (500, 501)]
    nested = b"[" * 100_000
    no_events = [b"", b"[]", b"{", b"7", b'"a"', b"null", b"[[", nested, b"[" + nested, b"\xff", b'{"a":"\\ud800"}']
    bad_rows = [
        b"[1]",
        b'["a"]',
        b"[{}]",
        b'[{"item_id":"\xff"}]',
        b'[{"price":1e400,"item_id":"a","event":"view"}]',
    ]

    async def scenario() -> None:
        async with application(settings) as http:

            async def post(body: bytes) -> tuple[int, Any]:
                response = await http.post("/v1/events", content=body, headers={"content-type": "application/json"})
                return response.status_code, response.json()

            assert (await post(one))[0] == 202
            assert (await post(batches[0]))[1]["accepted"] == 500
            for body in [*no_events, batches[1]]:
                status, answer = await post(body)
                assert (status, answer["field"]) == (400, "body"), body[:20]
                assert answer["expected"] == "an event as a JSON object, or an array of 1 to 500 of them"
            for body in bad_rows:
                status, answer = await post(body)
                assert (status, [error["row"] for error in answer["errors"]]) == (400, [0]), body
            assert [(await post(body))[1]["errors"][0]["field"] for body in bad_rows] == [
                *("body", "body", "item_id", "body", "price")
            ]
            status, answer = await post(one[:-1] + b" " * 2_000_000 + b"}")
            assert (status, answer["error"]) == (413, "Request Entity Too Large")

    asyncio.run(scenario())
    assert len(in_stream(client)) == 501


def test_times_are_utc(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    now = datetime.now(UTC)
    given_times = [
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00.123456Z",
        "2026-03-01T12:00:00+05:30",
        (now + timedelta(minutes=4)).isoformat(),
        (now + timedelta(minutes=6)).isoformat(),
        None,
    ]
    (response,) = talk(posting(*({**ROW, "timestamp": when} for when in given_times)))
    assert [error["row"] for error in response.json()["errors"]] == [4]
    *past, ahead, own = [datetime.fromisoformat(event["timestamp"]) for event in in_stream(client)]
    day = datetime(2026, 3, 1, tzinfo=UTC)
    assert past == [
        day + timedelta(hours=12),
        day + timedelta(hours=12, microseconds=123_456),
        day + timedelta(hours=6, minutes=30),
    ]
    for counts_now in (ahead, own):
        assert timedelta(seconds=-1) < counts_now - now < timedelta(seconds=PATIENCE_SECONDS)


def test_the_same_event_again_changes_nothing(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    event = {**ROW, "event_id": "e1", "timestamp": "2026-03-01T12:00:00Z"}
    responses = talk(posting(event, event), posting(event), posting({**event, "event_id": "e2"}))
    counts = [(response.json()["accepted"], response.json()["duplicates"]) for response in responses]
    assert counts == [(2, 1), (1, 1), (1, 0)]
    assert session(client) == ["e1 a1 view", "e2 a1 view"]


def test_an_id_of_another_event_of_the_user_is_an_error(
    talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    event = {**ROW, "event_id": "e1"}
    bought = {**event, "event": "purchase"}
    responses = talk(posting(event, bought, ROW), posting(bought), posting({**bought, "user_id": "8"}))
    assert [(response.status_code, response.json()["accepted"]) for response in responses] == [
        (202, 2),
        (400, 0),
        (202, 1),
    ]
    rows = [[(error["row"], error["field"], error["value"]) for error in r.json()["errors"]] for r in responses]
    assert rows == [[(1, "event_id", "e1")], [(0, "event_id", "e1")], []]
    kept = [(stored["user_id"], stored["event"]) for stored in in_stream(client)]
    assert kept == [("7", "view"), ("7", "view"), ("8", "purchase")]


def test_redis_forgets_the_ids_of_a_user_who_has_many(
    talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    rows = [{**ROW, "event_id": f"e{number}"} for number in range(1_001)]
    responses = talk(posting(*rows[:500]), posting(*rows[500:1_000]), posting(rows[1_000]), posting(rows[0]))
    assert [response.json()["duplicates"] for response in responses] == [0, 0, 0, 0]
    assert client.hlen(KEYS.event_ids("7")) == 2
    left: Any = client.pttl(KEYS.event_ids("7"))
    assert 0 < timedelta(days=2) / timedelta(milliseconds=1) - left < PATIENCE_SECONDS * 1e3


def test_ids_are_made_as_an_ingest_makes_them(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    rows: list[dict[str, Any]] = [
        {**ROW, "timestamp": "2026-03-01T12:00:00Z"},
        {**ROW, "timestamp": "2026-03-01T12:00:00.000001Z", "price": 2.5, "quantity": 3, "value": -1},
        {**ROW, "timestamp": "2026-03-01T12:00:00+01:00", "session_id": "s1", "ip": "::1", "user_agent": "ü"},
    ]
    talk(posting({**rows[0], "user_id": ""}, *rows))
    schema = pl.Schema(Events)
    texts = {name: pl.String() if name == "timestamp" else dtype for name, dtype in schema.items()}
    table = Table("online", "events", columns={name: name for name in schema}, time_zone="UTC")
    ingested = map_rows(pl.DataFrame(rows, schema=texts), table, Sources())
    assert [event["event_id"] for event in in_stream(client)] == ingested["event_id"].to_list()
    assert ingested["event_id"].n_unique() == 3


def test_a_session_is_capped_and_ends(
    settings: Settings, talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    capped = replace(settings.serving, session_events=3, session_days=2.0)
    rows = [
        {**ROW, "item_id": f"a{minute}", "event_id": f"e{minute}", "timestamp": f"2026-03-01T12:{minute:02}:00Z"}
        for minute in (3, 1, 5, 2, 4)
    ]
    talk(posting(*rows[:3]), posting(*rows[3:]), serving=capped)
    assert session(client) == ["e3 a3 view", "e4 a4 view", "e5 a5 view"]
    left: Any = client.pttl(KEYS.session("7"))
    assert 0 < timedelta(days=2) / timedelta(milliseconds=1) - left < PATIENCE_SECONDS * 1e3


def test_an_event_that_comes_late_is_not_the_latest(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    *_, user = talk(posting(ROW), posting({**ROW, "item_id": "a2", "timestamp": hour_ago}), "/v1/users/7")
    assert [act["item_id"] for act in user.json()["session"]] == ["a1", "a2"]


def test_impressions_are_in_no_session(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    (response,) = talk(posting({**ROW, "event": "impression"}, {**ROW, "event": "refund", "event_id": "e1"}))
    assert response.json()["accepted"] == 2
    assert session(client) == ["e1 a1 refund"]


@pytest.mark.parametrize("key", [None, "0123456789abcdef0123456789abcdef"], ids=["named", "pseudonyms"])
def test_a_guest_keeps_a_session_until_log_in(
    talk: Talk, publish_shop: Publish, client: redis.Redis, key: str | None
) -> None:
    publish_shop()
    as_guest = {"session_id": "s1", "event": "view", "item_id": "a1", "ip": "::1"}
    of_guest = "/v1/recommendations?session_id=s1&n=20"
    *_, seen, again, _, joined, gone = talk(
        posting({**as_guest, "event_id": "e1"}),
        posting({**as_guest, "event_id": "e2", "item_id": "a2"}),
        of_guest,
        of_guest,
        posting({**ROW, "user_id": "8", "event_id": "e3", "item_id": "a3", "session_id": "s1"}),
        "/v1/users/8",
        of_guest,
        pseudonym_key=key,
    )
    assert {"an1", "aw1"} <= set(ids(seen))
    assert ids(again) == ids(seen)
    assert {act["item_id"] for act in joined.json()["session"]} == {"a1", "a2", "a3"}
    assert "an1" not in ids(gone)
    users = {event["user_id"] for event in in_stream(client)}
    assert (users == {"guest:s1", "8"}) is (key is None)
    entries: Any = client.xrange(KEYS.events)
    (identity,) = [msgspec.json.decode(fields[b"identity"]) for _, fields in entries if b"identity" in fields]
    assert {identity["guest_id"], identity["user_id"]} == users
    assert ("::1" in {event.get("ip") for event in in_stream(client)}) is (key is None)


def test_no_event_of_a_guest_is_lost_at_log_in(
    settings: Settings, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    views = [
        {"session_id": "s1", "event": "view", "item_id": "a1", "event_id": f"v{number}"} for number in range(40)
    ]
    login = {**ROW, "user_id": "8", "event_id": "login", "session_id": "s1"}
    late = {**views[0], "event_id": "late"}

    async def scenario() -> None:
        async with application(settings) as http:
            await asyncio.gather(*(http.post("/v1/events", json=row) for row in [*views[:20], login, *views[20:]]))
            await http.post("/v1/events", json=late)

    asyncio.run(scenario())
    assert {member.split(" ")[0] for member in session(client, "8")} == {
        "login",
        "late",
        *(row["event_id"] for row in views),
    }
    assert session(client, "guest:s1") == []


def test_an_event_is_accepted_only_when_it_is_in_the_stream(
    settings: Settings, publish_shop: Publish, server_directory: Path, client: redis.Redis
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with application(settings) as http:
            assert (await http.post("/v1/events", json={**ROW, "event_id": "e1"})).status_code == 202
            await asyncio.to_thread(stop_server, server_directory)
            refused = await http.post("/v1/events", json={**ROW, "event_id": "e2"})
            assert (refused.status_code, refused.json()["error"]) == (503, "Redis does not answer")
            assert int(refused.headers["retry-after"]) > 0
            await asyncio.to_thread(start_server, server_directory)

            async def taken() -> bool:
                return (await http.post("/v1/events", json={**ROW, "event_id": "e2"})).status_code == 202

            await until(taken)

    asyncio.run(scenario())
    assert [event["event_id"] for event in in_stream(client)] == ["e1", "e2"]


def test_accepted_data_is_archived_in_the_lake_once(
    settings: Settings, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    publish_shop()
    shown = replace(settings, serving=replace(settings.serving, impressions=True))
    rows = [{**ROW, "event_id": f"e{number}", "price": 1.5} for number in range(5)]

    async def scenario() -> list[dict[str, Any]]:
        async with application(shown) as http:
            assert (await http.post("/v1/events", json=[*rows, rows[0]])).json()["accepted"] == 6
            changes = {"available": False, "price": 2.0, "category": ["A", "B"], "brand": "X", "title": "Tea"}
            await http.put("/v1/items/a9", json=changes)
            await http.put("/v1/items/a9", json={"price": 3.0})
            # What was shown last is written before the server ends.
            return [(await http.get(f"/v1/recommendations/7?n=3&offset={offset}")).json() for offset in (0, 3)]

    answers = asyncio.run(scenario())
    lake = Lake(tmp_path / "lake")
    latest = datetime.now(UTC) + timedelta(days=1)
    archived = archive(lake, Sources(), client, KEYS, latest)
    assert replace(archived, seconds=0.0) == ArchiveResult(
        events=5, duplicates=1, impressions=6, items=1, entries=10
    )
    again = archive(lake, Sources(), client, KEYS, latest)
    assert again.entries == 0

    events = lake.events().sort("event_id").collect()
    assert events["event_id"].to_list() == [row["event_id"] for row in rows]
    assert set(events["price"]) == {1.5}
    impressions = lake.impressions().sort("rank").collect()
    expected = [
        (answer["request_id"], "7", item["item_id"], item["rank"], item["source"], VERSION, "home")
        for answer in answers
        for item in answer["items"]
    ]
    columns = ("request_id", "user_id", "item_id", "rank", "source", "version", "context")
    assert impressions.select(columns).rows() == expected
    facts = lake.items().select("item_id", "available", "price", "category", "brand", "title").collect()
    assert facts.rows() == [("a9", False, 3.0, ["A", "B"], "X", "Tea")]
