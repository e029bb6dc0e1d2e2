"""Load shedding: as Redis fills up, the least informative events are refused first."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import redis

from recsys.schema import DEFAULT_WEIGHTS
from recsys.settings import Settings
from recsys.store.keys import Keys
from tests.serving.conftest import Publish, application
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("short_periods")

KEYS = Keys("recsys")
ROW = {"user_id": "7", "event": "view", "item_id": "a1"}


@asynccontextmanager
async def with_share(
    http: httpx.AsyncClient, least: float, most: float
) -> AsyncGenerator[Callable[[str], Awaitable[httpx.Response]]]:
    """Wait until the server has seen so great a share in use; what posts an event of a name."""

    async def seen() -> bool:
        text = (await http.get("/metrics")).text
        result = re.search(r"^recsys_redis_share (\S+)$", text, re.MULTILINE)
        return result is not None and least <= float(result[1]) < most

    async def post(name: str) -> httpx.Response:
        return await http.post("/v1/events", json=[{**ROW, "event": name}, {**ROW, "event": "purchase"}])

    await until(seen)
    yield post


TAKEN = [
    (0.0, 0.80, ("impression", "view", "click", "cart", "rating", "purchase", "refund")),
    (0.80, 0.85, ("view", "click", "cart", "rating", "purchase", "refund")),
    (0.85, 0.92, ("cart", "rating", "purchase", "refund")),
    (0.92, 0.98, ("purchase", "refund")),
    (0.98, 9.00, ()),
]
"""Share in use from, and up to -> what is taken."""


async def assert_taken(
    http: httpx.AsyncClient, post: Callable[[str], Awaitable[httpx.Response]], taken: tuple[str, ...]
) -> None:
    """These events are taken, and no others."""
    for name in DEFAULT_WEIGHTS:
        response = await post(name)
        shed = (name not in taken) + ("purchase" not in taken)
        assert (response.status_code, response.json()["shed"]) == (429 if shed else 202, shed), name
        assert response.json()["accepted"] == 2 - shed
        assert ("retry-after" in response.headers) is (shed > 0)
    assert (await http.get("/v1/recommendations/7")).status_code == 200


def test_as_the_stream_fills_what_matters_least_is_refused_first(
    settings: Settings, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    length = 5_000
    changed = replace(settings, serving=replace(settings.serving, stream_length=length, impressions=True))

    async def scenario() -> None:
        async with application(changed) as http:
            for least, most, taken in TAKEN:
                wanted, there = int(least * length) + 10, client.xlen(KEYS.events)
                with client.pipeline() as pipeline:
                    for _ in range(wanted - int(there)):  # type: ignore[arg-type]
                        pipeline.xadd(KEYS.events, {"other": ""})
                    pipeline.execute()
                async with with_share(http, least, most) as post:
                    await assert_taken(http, post, taken)
            entries: Any = client.xrange(KEYS.events)
            assert sum(b"impressions" in fields for _, fields in entries) == 1

    asyncio.run(scenario())


def test_as_memory_fills_what_matters_least_is_refused_first(
    settings: Settings, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    client.set("ballast", b"x" * 50_000_000)  # beside which what a request takes for a moment is little

    async def scenario() -> None:
        async with application(settings) as http:
            for least, most, taken in TAKEN[1:4]:
                facts: Any = client.info("memory")
                client.config_set("maxmemory", int(facts["used_memory"] / ((least + most) / 2)))
                async with with_share(http, least, most) as post:
                    await assert_taken(http, post, taken)

    try:
        asyncio.run(scenario())
    finally:
        client.config_set("maxmemory", 0)
