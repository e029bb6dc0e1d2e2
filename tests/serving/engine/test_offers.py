"""Validity and stock of items over HTTP: to the second, through changes, the snapshot and a restart."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import redis

from jobs.lake.lake import Lake
from recsys.availability import is_valid
from recsys.settings import Settings
from tests.event_stream import LATEST, archive_stream
from tests.serving.conftest import VERSION, Publish, Shop, application, ids
from tests.serving.outages import is_fresh
from tests.serving.proxy import Proxy
from tests.waiting import until, until_async

NOON = datetime(2018, 1, 1, 12, tzinfo=UTC)
LISTS = (
    "/v1/recommendations/7?n=100",
    "/v1/recommendations/nobody?n=100",
    "/v1/recommendations?session_id=s1&n=100",
    "/v1/similar/a1?n=100",
    "/v1/trending?n=100",
    "/v1/popular?n=100",
    "/v1/popular?price_max=9&n=100",
)
EVERYWHERE = ("a2", "an1", "aw1", "at1", "ap1")
"""One item of each list: the user's own, similar, bought with, trending, popular."""


class Clock:
    """Stands still at a time of the first day of 2018 until it is set."""

    def __init__(self) -> None:
        self.set("11:00:00")

    def set(self, time: str) -> None:
        """Set the time of the day."""
        self.seconds = datetime.fromisoformat(f"2018-01-01T{time}+00:00").timestamp()

    def __call__(self) -> float:
        return self.seconds


def shop(**facts: Any) -> Shop:
    """Return a shop that knows a price and the facts of one item of each list."""
    return Shop(
        facts=tuple({"item_id": item_id, "price": 1.0, "available": None, **facts} for item_id in EVERYWHERE)
    )


async def shown(http: httpx.AsyncClient) -> set[str]:
    """Return the items of `EVERYWHERE` that some answer holds."""
    answers = [await http.get(path) for path in LISTS]
    ranked = await http.post("/v1/rank", json={"user_id": "7", "item_ids": EVERYWHERE})
    return {item_id for answer in (*answers, ranked) for item_id in ids(answer)} & set(EVERYWHERE)


@pytest.mark.parametrize("given_by", ["catalogue", "HTTP"])
def test_an_item_appears_and_disappears_at_its_second(
    settings: Settings, publish_shop: Publish, given_by: str
) -> None:
    begins, ends = NOON, NOON.replace(minute=30)
    publish_shop(shop(valid_from=begins, valid_until=ends) if given_by == "catalogue" else shop())
    clock = Clock()

    async def scenario() -> None:
        async with application(settings, clock) as http:
            view = {"session_id": "s1", "event": "view", "item_id": "a1", "timestamp": "2018-01-01T11:00:00Z"}
            assert (await http.post("/v1/events", json=view)).status_code == 202
            if given_by == "HTTP":
                facts = {"valid_from": begins.isoformat(), "valid_until": "2018-01-01T13:30:00+01:00"}
                for item_id in EVERYWHERE:
                    assert (await http.put(f"/v1/items/{item_id}", json=facts)).status_code == 200
            for time, is_shown in (
                ("11:59:59.999", False),
                ("12:00:00", True),
                ("12:29:59.999", True),
                ("12:30:00", False),
            ):
                clock.set(time)
                assert await shown(http) == (set(EVERYWHERE) if is_shown else set())

            debug = (await http.get("/v1/recommendations/7?n=100&debug=1")).json()
            removed = [entry for stage in debug["stages"] for entry in stage.get("removed", ())]
            assert "not valid now" in {entry["reason"] for entry in removed}

    asyncio.run(scenario())


def test_validity_and_stock_set_online_survive_a_restart(
    proxied_settings: Settings, publish_shop: Publish, proxy: Proxy
) -> None:
    publish_shop(shop())
    kept = proxied_settings.directory / "serving" / f"offers-{VERSION}.parquet"
    clock = Clock()
    ends = {"valid_until": "2018-01-01T12:00:00Z"}

    async def check(http: httpx.AsyncClient) -> None:
        clock.set("11:59:59")
        assert await shown(http) == set(EVERYWHERE) - {"ap1"}
        clock.set("12:00:00")
        assert await shown(http) == set(EVERYWHERE) - {"ap1", "a2"}

    async def scenario() -> None:
        async with application(proxied_settings, clock) as http:
            await until(lambda: is_fresh(http))
            assert (await http.put("/v1/items/a2", json=ends)).status_code == 200
            assert (await http.put("/v1/items/ap1", json={"stock": 0})).status_code == 200
            await until_async(lambda: kept.exists() and set(pl.read_parquet(kept)["item_id"]) == {"a2", "ap1"})
            clock.set("11:59:59")
            assert "ap1" not in await shown(http)

        async with application(proxied_settings, clock) as http:  # from Redis
            await until(lambda: is_fresh(http))
            await check(http)
        proxy.stop()
        clock.set("11:00:00")
        async with application(proxied_settings, clock) as http:  # from the files
            answer = ids(await http.get("/v1/popular?n=100"))
            assert ("a2" in answer, "ap1" in answer) == (True, False)
            clock.set("12:00:00")
            assert "a2" not in ids(await http.get("/v1/popular?n=100"))
            proxy.heal()
            await until(lambda: is_fresh(http))
            assert (await http.put("/v1/items/ap1", json={"stock": 3})).status_code == 200
            assert await shown(http) == set(EVERYWHERE) - {"a2"}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"valid_from": "2018-01-01T12:00:00Z", "valid_until": "2018-01-01T13:00:00+01:00"}, "valid_until"),
        ({"valid_until": "2018-01-01T12:00:00"}, "valid_until"),
        ({"valid_from": "tomorrow"}, "valid_from"),
        ({"stock": -1}, "stock"),
    ],
    ids=["an end that is not later", "no zone", "no time", "a negative stock"],
)
def test_facts_that_break_a_rule_are_refused(
    settings: Settings, publish_shop: Publish, facts: dict[str, Any], field: str
) -> None:
    publish_shop(shop())

    async def scenario() -> None:
        async with application(settings) as http:
            answer = await http.put("/v1/items/a2", json=facts)
            assert (answer.status_code, answer.json()["field"]) == (400, field)

    asyncio.run(scenario())


def test_an_end_of_validity_is_removed_by_null(
    settings: Settings, publish_shop: Publish, valkey: redis.Redis, tmp_path: Path
) -> None:
    publish_shop(shop(valid_until=NOON))
    clock = Clock()
    lake = Lake(tmp_path / "lake")

    async def scenario() -> None:
        async with application(settings, clock) as http:
            clock.set("12:00:00")
            assert await shown(http) == set()
            for end in ("2018-01-01T10:00:00Z", None):
                assert (await http.put("/v1/items/a2", json={"valid_until": end})).status_code == 200
            assert await shown(http) == {"a2"}

    asyncio.run(scenario())
    archive_stream(lake, valkey)
    assert lake.items().filter(is_valid(LATEST)).collect()["item_id"].to_list() == ["a2"]
