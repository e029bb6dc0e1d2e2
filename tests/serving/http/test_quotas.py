"""Quotas of API keys, over workers and hosts, and while Redis is away."""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis

from recsys.api_key_file import API_KEYS_FILE
from recsys.api_keys import ApiKey, create_key
from recsys.settings import Redis, Settings
from recsys.store.client.client import RedisClient
from recsys.store.keys import Keys
from serving.http import quotas as quotas_module
from serving.http.auth import AccessError
from serving.http.quotas import Quotas
from tests.serving.conftest import Publish, Shop, application
from tests.serving.keys import EVENT, NOW, USER, ask, keep

KEYS = Keys("recsys")


def key_of(per_minute: int) -> ApiKey:
    """A key with a quota."""
    return create_key("shop", ["recommend"], per_minute, NOW)[0]


async def taken(quotas: Quotas, key: ApiKey, times: int, cost: int = 1) -> int:
    """How many of so many requests are answered; the others are refused for a while."""
    refusals: list[AccessError] = []
    for _ in range(times):
        try:
            await quotas.take(key, cost)
        except AccessError as error:
            refusals.append(error)
    assert all(error.status == 429 and 1 <= int(error.headers["Retry-After"]) <= 60 for error in refusals)
    return times - len(refusals)


@asynccontextmanager
async def workers(
    url: str, count: int, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[list[Quotas]]:
    """The quotas of so many workers of one host."""
    async with AsyncExitStack() as stack:
        opened: list[Quotas] = []
        for _ in range(count):
            client = RedisClient(Redis(url=url), 1.0)
            await client.open()
            stack.push_async_callback(client.close)
            assert url.endswith(":1") or await client.wait_until_available(5)
            quotas = Quotas(client, KEYS, count, clock)
            stack.push_async_callback(quotas.close)
            opened.append(quotas)
        yield opened


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine."""
    asyncio.run(test())


@pytest.mark.parametrize("shares", [(1,), (1, 1, 1, 1), (20, 1, 1, 1)])
def test_a_quota_holds_over_workers_within_five_percent(
    url: str, client: redis.Redis, shares: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever share of the requests each worker gets; never more than the quota."""
    monkeypatch.setattr(quotas_module, "LEASE_SECONDS", 0.2)
    client.config_resetstat()
    limit, source = 1_000, random.Random(1)

    async def test() -> None:
        async with workers(url, len(shares)) as opened:
            key = key_of(limit)
            chosen = source.choices(opened, shares, k=2 * limit)
            answered = sum([await taken(quotas, key, 1) for quotas in chosen])
            assert 0.95 * limit <= answered <= limit
            await asyncio.sleep(0.4)  # what is left of leases has gone back
            answered += sum([await taken(quotas, key, limit) for quotas in opened])
            assert answered == limit

    run(test)
    commands = client.info("commandstats")["cmdstat_eval"]["calls"]  # pyright: ignore
    assert 0 < client.ttl(KEYS.quota("shop")) <= 60  # pyright: ignore
    assert commands < limit + 200 * len(shares)


def test_most_requests_are_answered_without_asking_redis(url: str, client: redis.Redis) -> None:
    client.config_resetstat()

    async def test() -> None:
        async with workers(url, 1) as (quotas,):
            assert await taken(quotas, key_of(10_000), 5_000) == 5_000

    run(test)
    stats: Any = client.info("commandstats")
    assert stats["cmdstat_eval"]["calls"] == 50


def test_requests_at_once_take_one_lease(url: str, client: redis.Redis) -> None:
    client.config_resetstat()

    async def test() -> None:
        async with workers(url, 1) as (quotas,):
            key = key_of(6_000)
            await asyncio.gather(*(quotas.take(key) for _ in range(60)))

    run(test)
    stats: Any = client.info("commandstats")
    assert stats["cmdstat_eval"]["calls"] == 1


@pytest.mark.parametrize("ends", ["by itself", "with the worker"])
def test_what_is_left_of_a_lease_goes_back(
    url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    if ends == "by itself":
        monkeypatch.setattr(quotas_module, "LEASE_SECONDS", 0.1)

    def used() -> int:
        counts: Any = client.hvals(KEYS.quota("shop"))
        return sum(map(int, counts))

    async def test() -> None:
        async with workers(url, 1) as (quotas,):
            await quotas.take(key_of(10_000))
            assert used() == 100
            if ends == "by itself":
                await asyncio.sleep(0.3)
                assert used() == 1
        assert used() == 1

    run(test)


def test_what_was_used_a_minute_ago_is_free_again(url: str, client: redis.Redis) -> None:
    """Neither more nor less: a minute begins with every request."""

    async def test() -> None:
        async with workers(url, 1) as (quotas,):
            second = int(client.time()[0])  # pyright: ignore
            client.hset(
                KEYS.quota("shop"), mapping={str(second - 70): 60, str(second - 50): 40, str(second - 1): 10}
            )
            assert await taken(quotas, key_of(100), 100) == 50
            with pytest.raises(AccessError) as refused:
                await quotas.take(key_of(100))
            assert 8 <= int(refused.value.headers["Retry-After"]) <= 10
            fields: Any = client.hkeys(KEYS.quota("shop"))
            assert str(second - 70).encode() not in fields

    run(test)


def test_a_batch_costs_its_size(url: str, client: redis.Redis) -> None:
    del client

    async def test() -> None:
        async with workers(url, 1) as (quotas,):
            key = key_of(1_200)
            assert await taken(quotas, key, 3, cost=500) == 2
            assert await taken(quotas, key, 300) == 200
            assert await taken(quotas, key, 1) == 0

    run(test)


def test_a_batch_that_is_refused_takes_nothing_from_the_others(url: str, client: redis.Redis) -> None:
    """Nor does it give back, as seconds pass, requests that are counted in an earlier one."""

    async def test() -> None:
        async with workers(url, 1) as (quotas,):
            key, second = key_of(600), int(client.time()[0])  # pyright: ignore
            client.hset(KEYS.quota("shop"), mapping={str(second - 20): 400})
            assert await taken(quotas, key, 3, cost=500) == 0
            assert client.hlen(KEYS.quota("shop")) == 1
            assert await taken(quotas, key, 300) == 200

    run(test)


def test_servers_of_two_hosts_share_a_quota_within_five_percent(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    limit, path, batch = 400, f"/v1/recommendations/{USER}", "/v1/recommendations/batch"
    first = settings.directory / API_KEYS_FILE
    headers = {"X-API-Key": keep(first, ("shop", ["recommend"], limit))["shop"]}
    second = replace(settings, directory=settings.directory.with_name("other"))
    second.directory.mkdir(parents=True)
    shutil.copy(first, second.directory)

    async def ask_all(http: httpx.AsyncClient) -> int:
        """Ask one by one, and for batches of five, far more often than the key may; return how many lists came."""
        lists = 0
        for number in range(limit):
            body = {"user_ids": [USER] * 5, "n": 1}
            is_batch = number % 5 == 0
            answer = await (
                http.post(batch, json=body, headers=headers) if is_batch else http.get(path, headers=headers)
            )
            lists += (5 if is_batch else 1) * (answer.status_code == 200)
        return lists

    async def test() -> None:
        async with application(settings) as one, application(second) as other:
            lists = await asyncio.gather(ask_all(one), ask_all(other))
            assert 0.95 * limit <= sum(lists) <= 1.05 * limit
            assert min(lists) > 0.2 * limit

    run(test)


@pytest.mark.parametrize("count", [1, 2])
def test_without_redis_a_worker_allows_its_share(count: int) -> None:
    seconds = 1_000.0

    async def test() -> None:
        nonlocal seconds
        async with workers("redis://127.0.0.1:1", count, lambda: seconds) as opened:
            key = key_of(60)
            for quotas in opened:
                assert await taken(quotas, key, 100) == 60 // count
            seconds += 30
            assert await taken(opened[0], key, 100) == 30 // count

    run(test)


def test_a_quota_goes_on_when_redis_is_back(url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    del client
    monkeypatch.setattr(quotas_module, "AWAY_SECONDS", 0.0)

    async def test() -> None:
        async with workers("redis://127.0.0.1:1", 1) as (away,), workers(url, 1) as (back,):
            key = key_of(60)
            assert await taken(away, key, 100) == 60
            away._redis = back._redis  # pyright: ignore[reportPrivateUsage]
            assert await taken(away, key, 100) == 60

    run(test)


def test_requests_batches_and_events_count_and_are_refused(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    names: tuple[Any, ...] = ("recommend", "events")
    tokens = keep(
        settings.directory / API_KEYS_FILE,
        ("lists", names, 3),
        ("batches", names, 3),
        ("tracking", names, 3),
        ("free", names, 0),
    )
    path, batch = f"/v1/recommendations/{USER}", "/v1/recommendations/batch"
    lists, batches, tracking, free = ({"X-API-Key": tokens[name]} for name in tokens)
    answers = ask(
        settings,
        *[("GET", path, None, lists)] * 4,
        ("POST", batch, {"user_ids": ["7"] * 4}, batches),
        ("POST", batch, {"user_ids": ["7"] * 2}, batches),
        ("POST", batch, {"user_ids": ["7"] * 1}, batches),
        ("POST", "/v1/events", [EVENT] * 4, tracking),
        ("POST", "/v1/events", [EVENT] * 2, tracking),
        ("POST", "/v1/events", EVENT, tracking),
        *[("GET", path, None, free)] * 4,
    )
    assert [answer.status_code for answer in answers] == [
        200,
        200,
        200,
        429,
        *[400, 200, 429],
        *[400, 202, 429],
        *[200] * 4,
    ]
    assert answers[3].json()["error"] == "too many requests with this API key"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert answers[4].json()["expected"] == "at most 3, the requests a minute of the API key"
