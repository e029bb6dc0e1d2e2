"""Events that are sent again: with their ids, with their times, and as the user whom a guest has become."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.ingest.stream import archive
from jobs.lake.lake import Lake
from recsys.settings import Sources
from tests.serving.conftest import Publish, Talk
from tests.serving.intake.test_events import KEYS, ROW, in_stream, posting, session
from tests.waiting import PATIENCE_SECONDS


def test_the_same_event_again_changes_nothing(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    event = {**ROW, "event_id": "e1", "timestamp": "2026-03-01T12:00:00Z"}
    responses = talk(posting(event, event), posting(event), posting({**event, "event_id": "e2"}))
    counts = [(response.json()["accepted"], response.json()["duplicates"]) for response in responses]
    assert counts == [(2, 1), (1, 1), (1, 0)]
    assert session(client) == ["e1 a1 view", "e2 a1 view"]


def test_an_event_without_an_id_again_at_the_same_time_is_a_duplicate(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    event = {**ROW, "timestamp": "2026-03-01T12:00:00Z"}
    other = {**event, "event": "cart"}
    responses = talk(posting(event, event, event), posting(event, other), posting(ROW, ROW))
    assert [response.json()["duplicates"] for response in responses] == [2, 1, 0]


@pytest.mark.parametrize("key", [None, "0123456789abcdef0123456789abcdef"], ids=["named", "pseudonyms"])
def test_an_event_of_a_guest_again_as_the_user_is_one_event(
    talk: Talk, publish_shop: Publish, client: redis.Redis, tmp_path: Path, key: str | None
) -> None:
    publish_shop()
    first = {"session_id": "s1", "event": "purchase", "item_id": "a1", "event_id": "e1"}
    again = {**first, "user_id": "8"}
    other = {**again, "item_id": "a2"}
    answers = talk(
        posting(first), posting(again), posting(again, again), posting(other), "/v1/users/8", pseudonym_key=key
    )
    assert [answer.json().get("duplicates") for answer in answers[:4]] == [0, 1, 2, 0]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 400, 200]
    assert [act["item_id"] for act in answers[-1].json()["session"]] == ["a1"]
    lake, latest = Lake(tmp_path / "lake"), datetime.now(UTC) + timedelta(days=1)
    assert archive(lake, Sources(), client, KEYS, latest).identities == 1
    (guest_id,) = lake.events().collect()["user_id"]
    (user_id,) = lake.joining_guests(latest).events().collect()["user_id"]
    assert (guest_id, user_id) == ("guest:s1", "8") if key is None else guest_id != user_id


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
