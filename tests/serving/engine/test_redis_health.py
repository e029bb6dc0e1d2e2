"""Redis that answers but has lost data, evicts keys or is a replica: it is told, and what is off stays off."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
import redis

from recsys.settings import Settings
from recsys.store.keys import Keys
from tests.serving.conftest import VERSION, Publish, Shop, application, ids
from tests.serving.outages import is_fresh
from tests.serving.proxy import Proxy
from tests.waiting import until, until_async

KEYS = Keys("recsys")
USER = "/v1/recommendations/7?n=60"
LATER = "20180102T000000Z"
SHOP = Shop(letter="a")


async def switch(http: httpx.AsyncClient, item_id: str, available: bool) -> None:
    assert (await http.put(f"/v1/items/{item_id}", json={"available": available})).status_code == 200


async def find_problems(http: httpx.AsyncClient) -> str:
    """Return what `/ready` says is wrong; the status, the metrics and the answers say the same."""
    ready = (await http.get("/ready")).json()
    problems = " ".join(ready.get("problems", []))
    assert (ready["status"] == "degraded") is bool(problems)
    assert (await http.get(USER)).json()["degraded"] is bool(problems)
    assert f"recsys_redis_sound {0.0 if problems else 1.0}" in (await http.get("/metrics")).text
    return problems


async def until_told(http: httpx.AsyncClient, text: str) -> None:
    """Wait until `/ready` names a problem; with an empty text, until there is none."""

    async def is_told() -> bool:
        problems = " ".join((await http.get("/ready")).json().get("problems", []))
        return text in problems if text else not problems

    await until(is_told)


def test_an_emptied_redis_is_told_and_what_was_switched_off_stays_off(
    client: redis.Redis, publish_shop: Publish, settings: Settings
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with application(settings) as http:
            await switch(http, "a1", available=False)
            assert await find_problems(http) == ""
            client.flushall()
            await until_told(http, "lost its lists")
            assert "lost its lists" in await find_problems(http)
            assert "a1" not in ids(await http.get(USER))

            await asyncio.to_thread(publish_shop, SHOP, LATER)
            await until(lambda: has_version(http, LATER))
            assert "lost data" in await find_problems(http)
            assert "a1" not in ids(await http.get(USER))
            assert client.smembers(KEYS.unavailable) == {b"a1"}

            await asyncio.to_thread(publish_shop, SHOP, "20180103T000000Z")
            await until(lambda: has_version(http, "20180103T000000Z"))
            assert await find_problems(http) == ""
            assert "a1" not in ids(await http.get(USER))

    asyncio.run(scenario())


async def has_version(http: httpx.AsyncClient, version: str) -> bool:
    return (await http.get("/ready")).json()["version"] == version


def test_a_redis_restored_from_an_old_backup_is_told_and_nothing_comes_back(
    client: redis.Redis, publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with application(proxied_settings) as http:
            await until(lambda: is_fresh(http))
            await switch(http, "a1", available=False)
            await switch(http, "a2", available=False)
            backup = {key: client.dump(key) for key in (KEYS.items, KEYS.unavailable, KEYS.item_changes)}
            await switch(http, "a1", available=True)
            await switch(http, "a3", available=False)
            proxy.stop()
            for key, value in backup.items():
                client.restore(key, 0, value, replace=True)  # type: ignore[arg-type]
            proxy.heal()
            await until_told(http, "lost data")
            await until(lambda: has_no(http, "a3"))
            assert client.smismember(KEYS.unavailable, ["a2", "a3"]) == [1, 1]

    asyncio.run(scenario())


async def has_no(http: httpx.AsyncClient, item_id: str) -> bool:
    return item_id not in ids(await http.get(USER))


def limit_memory(client: redis.Redis) -> None:
    client.config_set("maxmemory", "500mb")
    client.config_set("maxmemory-policy", "allkeys-lru")


@pytest.mark.usefixtures("server_directory", "short_periods")
@pytest.mark.parametrize(
    ("spoil", "mend", "text"),
    [
        (limit_memory, lambda client: client.config_set("maxmemory-policy", "noeviction"), "allkeys-lru"),
        (lambda client: client.replicaof("127.0.0.1", 1), lambda client: client.replicaof("NO", "ONE"), "replica"),
    ],
    ids=["evicting", "replica"],
)
def test_a_redis_that_evicts_or_is_a_replica_is_told_while_it_does(
    client: redis.Redis,
    publish_shop: Publish,
    settings: Settings,
    spoil: Callable[[redis.Redis], object],
    mend: Callable[[redis.Redis], object],
    text: str,
) -> None:
    publish_shop()
    spoil(client)

    async def scenario() -> None:
        async with application(settings) as http:
            await until_told(http, text)
            assert text in await find_problems(http)
            mend(client)
            await until_told(http, "")

    asyncio.run(scenario())


def test_an_item_switched_lately_is_withheld_when_the_lease_is_over(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop()
    short = replace(proxied_settings, serving=replace(proxied_settings.serving, lease_seconds=0.5))

    async def scenario() -> None:
        async with application(short) as http:
            await until(lambda: is_fresh(http))
            await switch(http, "a1", available=False)
            await switch(http, "a1", available=True)
            assert ids(await http.get(USER))[0] == "a1"
            proxy.stop()
            await until(lambda: has_no(http, "a1"))
            answer = await http.get(USER)
            assert ids(answer)[0] == "a2"
            assert answer.json()["degraded"]
            await until_told(http, "no word")

    asyncio.run(scenario())

    async def start_without_redis() -> None:
        async with application(short) as http:
            assert ids(await http.get(USER.replace("7", "nobody"), params={"n": 5}))
            proxy.heal()
            await until(lambda: is_fresh(http))
            await until_told(http, "")
            assert (await http.get("/ready")).json() == {"status": "ready", "version": VERSION}
            assert ids(await http.get(USER))[0] == "a1"

    asyncio.run(start_without_redis())


@pytest.mark.usefixtures("short_periods")
def test_what_was_switched_off_stays_off_though_redis_is_emptied_and_the_same_version_published_again(
    client: redis.Redis, publish_shop: Publish, settings: Settings
) -> None:
    publish_shop()
    kept = settings.directory / "serving" / "switched_off.json"

    def is_written_again() -> bool:
        facts = json.loads(client.hget(KEYS.items, "a1") or "{}")
        return client.smembers(KEYS.unavailable) == {b"a1"} and facts.get("available") is False

    async def scenario() -> None:
        async with application(settings) as http:
            await switch(http, "a1", available=False)
            client.flushall()
            await until_told(http, "lost its lists")
            await asyncio.to_thread(publish_shop)
            await until_async(is_written_again)
            await until_async(kept.exists)
        client.flushall()
        # The night publishes before the server starts again: neither Redis nor the version knows of the change.
        await asyncio.to_thread(publish_shop, SHOP, LATER)
        async with application(settings) as http:
            await until(lambda: has_version(http, LATER))
            assert "a1" not in ids(await http.get(USER))
            assert is_written_again()
            assert "lost data" in await find_problems(http)

    asyncio.run(scenario())


@pytest.mark.usefixtures("short_periods")
def test_a_lost_set_or_hash_of_what_is_switched_off_is_written_again(
    client: redis.Redis, publish_shop: Publish, settings: Settings
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with application(settings) as http:
            await switch(http, "a1", available=False)
            await switch(http, "a2", available=False)
            client.delete(KEYS.unavailable)
            await switch(http, "a3", available=False)
            await until_async(lambda: client.smembers(KEYS.unavailable) == {b"a1", b"a2", b"a3"})
            assert await find_problems(http) == ""  # nothing is lost: the hash has it all
            client.delete(KEYS.items, KEYS.unavailable)
            assert (await http.put("/v1/items/a1", json={"price": 2})).status_code == 200
            await until_async(lambda: client.smembers(KEYS.unavailable) == {b"a1", b"a2", b"a3"})
            facts = json.loads(client.hget(KEYS.items, "a1") or b"")
            assert (facts["available"], facts["price"]) == (False, 2)
            await until_told(http, "lost data")

    asyncio.run(scenario())
