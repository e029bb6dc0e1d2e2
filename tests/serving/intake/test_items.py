"""Changes of items: what a change writes is written as a whole, though the answer comes too late."""

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import redis

from recsys.settings import Settings
from recsys.store.embedded import server_status
from recsys.store.keys import ITEM_FIELD, Keys
from tests.serving.conftest import Publish, application, ids
from tests.serving.outages import is_fresh, takes_events
from tests.serving.proxy import Proxy
from tests.waiting import until, until_async

KEYS = Keys("recsys")
USER = "/v1/recommendations/7?n=60"


def find_off(client: redis.Redis) -> list[list[str]]:
    """Return which items are off by each key that a change writes: hash, set, and the two streams."""
    values: Any = client.hgetall(KEYS.items)
    members: Any = client.smembers(KEYS.unavailable)
    changes: Any = client.xrange(KEYS.item_changes)
    events: Any = client.xrange(KEYS.events)
    written = [json.loads(fields[ITEM_FIELD.encode()]) for _, fields in events if ITEM_FIELD.encode() in fields]
    states = [
        {item.decode(): json.loads(value)["available"] for item, value in values.items()},
        {item.decode(): False for item in members},
        {item.decode(): json.loads(value)["available"] for _, fields in changes for item, value in fields.items()},
        {change["item_id"]: change["available"] for change in written},
    ]
    return [sorted(item for item, available in state.items() if not available) for state in states]


def test_a_change_that_got_503_is_written_as_a_whole(
    settings: Settings, publish_shop: Publish, server_directory: Path, client: redis.Redis
) -> None:
    publish_shop()
    hasty = replace(settings, serving=replace(settings.serving, write_timeout_ms=200))
    status = server_status(server_directory)
    assert status is not None

    async def put(http: httpx.AsyncClient, item_id: str, available: bool) -> int:
        return (await http.put(f"/v1/items/{item_id}", json={"available": available})).status_code

    async def put_while_paused(http: httpx.AsyncClient, item_id: str, available: bool) -> None:
        os.kill(status.process_id, signal.SIGSTOP)
        try:
            assert await put(http, item_id, available) == 503
        finally:
            os.kill(status.process_id, signal.SIGCONT)
        await until(lambda: is_fresh(http))
        await until(lambda: takes_events(http))

    async def scenario() -> None:
        async with application(hasty) as http:
            assert await put(http, "a1", False) == 200
            await put_while_paused(http, "a2", False)
            await until_async(lambda: find_off(client) == [["a1", "a2"]] * 4)
            assert ids(await http.get(USER))[0] == "a3"
            await put_while_paused(http, "a1", True)
            await until_async(lambda: find_off(client) == [["a2"]] * 4)
            assert ids(await http.get(USER))[:2] == ["a1", "a3"]

    asyncio.run(scenario())


def test_a_change_of_which_only_the_first_part_was_written_is_completed_after_the_outage(
    publish_shop: Publish, proxied_settings: Settings, proxy: Proxy, client: redis.Redis
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with application(proxied_settings) as http:
            await until(lambda: is_fresh(http))
            for item_id, available in (("a1", False), ("a2", True)):
                facts = {"available": available, "updated_at": "2026-01-01T00:00:00.000000+00:00"}
                client.hset(KEYS.items, item_id, json.dumps(facts))
            client.sadd(KEYS.unavailable, "a2", "a3")
            proxy.stop()
            proxy.heal()
            # What was never changed is in the set by somebody else's word, and stays.
            await until_async(lambda: client.smembers(KEYS.unavailable) == {b"a1", b"a3"})
            assert ids(await http.get(USER))[0] == "a2"

    asyncio.run(scenario())
