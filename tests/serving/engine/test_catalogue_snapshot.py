"""The saved catalogue: a server that is started while Redis does not answer."""

import asyncio
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from recsys.settings import Settings
from tests.serving.conftest import VERSION, Publish, application, ids
from tests.serving.outages import NOBODY, SHOP, USER, assert_refused, is_fresh
from tests.serving.proxy import Proxy
from tests.waiting import until, until_async

pytestmark = pytest.mark.usefixtures("short_periods")


def test_a_start_without_redis_answers_from_what_was_kept(
    publish_shop: Publish, proxied_settings: Settings, settings: Settings, proxy: Proxy, tmp_path: Path
) -> None:
    publish_shop(SHOP)
    kept = proxied_settings.directory / "serving" / f"offers-{VERSION}.parquet"

    async def scenario() -> None:
        async with application(proxied_settings) as http:
            await until(lambda: is_fresh(http))
            assert (await http.put("/v1/items/ap2", json={"available": False})).status_code == 200
            await until_async(lambda: kept.exists() and pl.read_parquet(kept)["item_id"].to_list() == ["ap2"])

        proxy.stop()
        async with application(proxied_settings) as http:
            for path in (USER, NOBODY, "/v1/popular?n=5"):
                answer = await http.get(path)
                assert answer.json()["degraded"] is True
                assert ids(answer)[:2] == ["ap1", "ap3"]
            await assert_refused(http)

            elsewhere = replace(settings, directory=tmp_path / "elsewhere")
            async with application(elsewhere) as other:
                assert (await other.put("/v1/items/ap1", json={"available": False})).status_code == 200
                assert (await other.put("/v1/items/ap2", json={"available": True})).status_code == 200
            proxy.heal()
            await until(lambda: is_fresh(http))
            assert ids(await http.get(NOBODY))[:2] == ["ap2", "ap3"]

    asyncio.run(scenario())


def test_what_was_kept_and_cannot_be_read_is_left_out(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy
) -> None:
    publish_shop(SHOP)
    kept = proxied_settings.directory / "serving" / f"catalogue-{VERSION}.parquet"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half of a file")

    async def scenario() -> None:
        proxy.stop()
        async with application(proxied_settings) as http:
            assert (await http.get(NOBODY)).status_code == 503
            proxy.heal()

            async def answered() -> bool:
                return (await http.get(NOBODY)).status_code == 200

            await until(answered)

    asyncio.run(scenario())


@pytest.mark.parametrize("down", [True, False], ids=["without Redis", "with Redis"])
def test_where_nothing_was_published_there_is_the_static_list(
    proxied_settings: Settings, proxy: Proxy, tmp_path: Path, down: bool
) -> None:
    file = tmp_path / "favourites.txt"
    file.write_text("s1\ns2\ns3\n")
    static = replace(proxied_settings, serving=replace(proxied_settings.serving, static_list=file))

    async def scenario() -> None:
        if down:
            proxy.stop()
        async with application(static) as http:
            if not down:
                await until(lambda: is_fresh(http))
            answer = await http.get(f"{NOBODY}&exclude=s2")
            assert (answer.json()["degraded"], answer.json()["version"]) == (down, "static")
            assert [(item["item_id"], item["source"]) for item in answer.json()["items"]] == [
                ("s1", "static"),
                ("s3", "static"),
            ]

    asyncio.run(scenario())
