"""Users who ask to be erased, or for no personal lists."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
import redis

from jobs.ingest.stream import archive
from jobs.lake.erasure_requests import read_requests
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import opted_out_users
from recsys.settings import Settings, Sources
from recsys.store.keys import IDENTITY_FIELD, Keys
from recsys.store.opt_outs import put_opt_out, withhold_lists
from recsys.store.user_keys import tell_servers
from serving.engine import erased_users
from tests.commands import run_recsys
from tests.event_stream import append, archive_stream
from tests.serving.conftest import VERSION, Publish, Shop, Talk, application, ids
from tests.serving.proxy import Proxy
from tests.waiting import until

KEYS = Keys("recsys")
USER = "/v1/recommendations/7?n=5"
CONSENT = "/v1/consent/7"
BOUGHT = {"user_id": "7", "event": "purchase", "item_id": "a4", "event_id": "e1", "session_id": "s1"}
KNOWN = Shop(users=("7", "8"), history={"7": ["ap1"]}, disliked={"7": ["ap2"]}, profiles={"7": '{"events":3}'})


def test_an_erased_user_is_gone_from_redis_and_queued_for_the_lake(
    talk: Talk, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    publish_shop(KNOWN)
    append(client, IDENTITY_FIELD, {"guest_id": "guest:s1", "user_id": "7", "timestamp": "2026-01-01T00:00:00Z"})
    client.set(KEYS.alias("guest:s1"), "7")
    client.sadd(KEYS.unflaggable, "7", "8")
    other = {**BOUGHT, "user_id": "8", "session_id": "s2", "timestamp": "2017-12-01T00:00:00Z"}
    *_, erased, after = talk(("POST", "/v1/events", [BOUGHT, other]), USER, ("DELETE", "/v1/users/7", None), USER)

    assert erased.status_code == 202
    assert {item["source"] for item in after.json()["items"]} == {"popular"}
    assert not [key for key in client.scan_iter() if b"{7}" in key or b"guest:s1" in key]
    assert client.smembers(KEYS.unflaggable) == {b"8"}
    assert client.exists(KEYS.session("8"), KEYS.user_items(VERSION, "8")) == 2
    lake = Lake(tmp_path / "lake")
    archived = archive_stream(lake, client)
    assert (archived.erasures, archived.events) == (1, 1)
    (request,) = read_requests(lake.directory)
    assert (request.users, request.id) == (("7",), erased.json()["request_id"])


def test_an_event_from_before_the_erasure_is_refused_and_one_after_it_is_of_a_new_person(
    talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop(KNOWN)
    early = {**BOUGHT, "timestamp": "2026-01-01T00:00:00Z"}
    *_, refused, taken = talk(
        ("DELETE", "/v1/users/7", None),
        ("POST", "/v1/events", early),
        lambda: time.sleep(0.01),
        ("POST", "/v1/events", {**BOUGHT, "event_id": "e2"}),
    )
    assert (refused.status_code, refused.json()["accepted"], refused.json()["refused"]) == (202, 0, 1)
    assert (taken.json()["accepted"], "refused" in taken.json()) == (1, False)
    assert client.zcard(KEYS.session("7")) == 1


def test_events_of_a_user_who_was_erased_forever_are_refused(
    talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop(KNOWN)
    tell_servers(client, KEYS, ["7"], is_forever=True)
    tell_servers(client, KEYS, ["7", "8"])
    others = {**BOUGHT, "user_id": "8"}
    _, answer = talk("/live", lambda: time.sleep(0.2), ("POST", "/v1/events", [BOUGHT, others]))
    assert (answer.json()["accepted"], answer.json()["refused"]) == (1, 1)
    assert not client.exists(KEYS.session("7"))


def erase_lists(client: redis.Redis) -> None:
    tell_servers(client, KEYS, ["7"])  # the lists stay in Redis


def opt_out(client: redis.Redis) -> None:
    put_opt_out(client, KEYS, "7", datetime.now(UTC))


@pytest.mark.usefixtures("short_periods")
@pytest.mark.parametrize("change", [erase_lists, opt_out])
def test_no_answer_comes_from_memory_after_another_process_noted_an_erasure_or_an_opt_out(
    proxied_settings: Settings,
    proxy: Proxy,
    publish_shop: Publish,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[redis.Redis], None],
) -> None:
    monkeypatch.setattr(erased_users, "READ_SECONDS", 0.02)
    publish_shop(KNOWN)

    async def talk_around_a_change() -> None:
        async with application(proxied_settings) as http:
            await until(lambda: knows(http, "7"))
            await until(lambda: knows(http, "8"))
            change(client)
            await asyncio.sleep(0.5)  # no request comes
            proxy.stop()
            assert await knows(http, "8")
            assert not await knows(http, "7")

    asyncio.run(talk_around_a_change())


def test_a_user_who_opts_out_gets_popular_lists_and_leaves_no_events(
    talk: Talk, publish_shop: Publish, client: redis.Redis, settings: Settings, tmp_path: Path
) -> None:
    publish_shop(KNOWN)
    refuse, give = (("PUT", CONSENT, {"personal_lists": wanted}) for wanted in (False, True))
    serving = {"serving": settings.serving}
    held = set[bytes]()
    before, _, refused, after, event, still, _, again, taken = talk(
        *(USER, ("POST", "/v1/events", BOUGHT), refuse, USER, ("POST", "/v1/events", [BOUGHT])),
        lambda: held.update(client.scan_iter()),
        *(("GET", CONSENT, None), give, USER, ("POST", "/v1/events", {**BOUGHT, "event_id": "e2"})),
        **serving,
    )
    assert before.json()["items"][0]["source"] == "personal"
    assert {item["source"] for item in again.json()["items"]} == {"popular"}  # until the next night
    assert taken.json()["accepted"] == 1
    assert refused.json() == {**still.json(), "request_id": refused.json()["request_id"]}
    assert (still.json()["personal_lists"], still.json()["since"] is None) == (False, False)
    assert {item["source"] for item in after.json()["items"]} == {"popular"}
    assert ids(after)[0] == "ap1"  # bought before: not even that is used
    assert (event.status_code, event.json()["accepted"], event.json()["refused"]) == (202, 0, 1)
    kept = (KEYS.event_ids("7"), KEYS.opt_out("7"))
    assert {key for key in held if b"{7}" in key} == {key.encode() for key in kept}
    lake = Lake(tmp_path / "lake")
    archive_stream(lake, client)
    assert opted_out_users(lake.directory) is None


def test_guests_who_are_a_user_who_opts_out_leave_no_events_either(
    talk: Talk, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    """Whether they log in before or after the user opts out, or in the same request."""
    publish_shop(KNOWN)
    early, late, known = (
        {"session_id": session, "event": "view", "item_id": "a4"} for session in ("s1", "s2", "s3")
    )

    def post(*events: dict[str, str]) -> tuple[str, str, list[dict[str, str]]]:
        return "POST", "/v1/events", list(events)

    *_, one, two, three, others = talk(
        *(post(early, {**early, "user_id": "7"}), post(late), ("PUT", CONSENT, {"personal_lists": False})),
        *(post(early), post({**late, "user_id": "7"}, late), post(late)),
        post(known, {**known, "user_id": "8"}, known),
    )
    counts = [(each.json()["accepted"], each.json()["refused"]) for each in (one, two, three)]
    assert counts == [(0, 1), (0, 2), (0, 1)]
    assert others.json()["accepted"] == 3
    sessions = {key for key in client.scan_iter() if b":session:" in key}
    assert sessions == {KEYS.session("8").encode()}
    lake = Lake(tmp_path / "lake")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert archive(lake, Sources(), client, KEYS, tomorrow).events == 5
    joined = lake.joining_guests(tomorrow)
    assert set(joined.events().collect()["user_id"]) == {"8"}


@pytest.mark.parametrize("is_last_refusal", [True, False])
def test_the_last_word_on_consent_counts_whether_by_http_or_by_a_command(
    talk: Talk, publish_shop: Publish, client: redis.Redis, settings: Settings, is_last_refusal: bool
) -> None:
    publish_shop(KNOWN)
    talk(*(("PUT", CONSENT, {"personal_lists": wanted}) for wanted in (not is_last_refusal, is_last_refusal)))
    command, url = "refuse" if is_last_refusal else "give", str(settings.redis.url)
    done = run_recsys(settings.directory, settings.directory, "consent", command, "7", RECSYS_REDIS_URL=url)
    assert done.returncode == 0, done.stderr
    (answer,) = talk(("GET", CONSENT, None))
    assert answer.json()["personal_lists"] is not is_last_refusal
    lake = Lake(settings.directory / "lake")
    archive_stream(lake, client)
    assert (opted_out_users(lake.directory) is None) is not is_last_refusal


@pytest.mark.parametrize("user", ["%2F", "%2F%2F", "%2Fa%2F"])
def test_a_user_whose_id_has_slashes_is_erased(talk: Talk, publish_shop: Publish, user: str) -> None:
    publish_shop(KNOWN)
    erased, consent = talk(("DELETE", f"/v1/users/{user}", None), ("GET", f"/v1/consent/{user}", None))
    assert [answer.json()["user_id"] for answer in (erased, consent)] == [unquote(user)] * 2


def test_an_opt_out_reaches_the_lake_which_takes_no_more_events(client: redis.Redis, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    stamp = "2017-12-01T00:00:00Z"
    append(client, "event", {**BOUGHT, "timestamp": stamp}, {**BOUGHT, "user_id": "8", "timestamp": stamp})
    assert archive_stream(lake, client).events == 2
    append(client, "opt_out", json.dumps({"user_id": "7", "timestamp": stamp, "is_opted_out": True}).encode())
    append(client, "event", {**BOUGHT, "event_id": "e9", "timestamp": stamp})
    archived = archive_stream(lake, client)
    assert (archived.events, archived.opted_out) == (0, 1)
    assert lake.events().collect()["user_id"].to_list() == ["8"]


def test_a_version_that_is_being_loaded_is_left_to_its_publisher(
    talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    """What it has loaded is counted; a list that is missing would keep the version from going live."""
    publish_shop(KNOWN)
    loading = "20180102T000000Z"
    for user in ("7", "8"):
        client.set(KEYS.user_items(loading, user), "a4")
    client.hset(KEYS.versions, loading, "loading 4711")
    talk(("DELETE", "/v1/users/7", None), ("PUT", "/v1/consent/8", {"personal_lists": False}))
    assert client.exists(KEYS.user_items(loading, "7"), KEYS.user_items(loading, "8")) == 2
    assert not client.exists(KEYS.user_items(VERSION, "7"), KEYS.user_items(VERSION, "8"))
    assert withhold_lists(client, KEYS, {}, ()) == {"7", "8"}
    client.hset(KEYS.versions, loading, "1767225600000000")
    withhold_lists(client, KEYS, {}, ())
    assert not client.exists(KEYS.user_items(loading, "7"), KEYS.user_items(loading, "8"))


async def knows(http: httpx.AsyncClient, user: str) -> bool:
    response = await http.get(f"/v1/recommendations/{user}?n=5")
    return response.is_success and response.json()["items"][0]["source"] == "personal"
