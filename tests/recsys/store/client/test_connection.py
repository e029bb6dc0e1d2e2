"""Timeouts of the asyncio client: what is the server's fault, and what is not."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import redis

from recsys.settings import Redis
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import RedisUnavailableError
from recsys.store.keys import Keys


@asynccontextmanager
async def connected(client: redis.Redis, timeout: float) -> AsyncGenerator[RedisClient]:
    """A client with a timeout in seconds, of the server of another."""
    port = client.connection_pool.connection_kwargs["port"]
    asynchronous = RedisClient(Redis(url=f"redis://127.0.0.1:{port}"), timeout)
    await asynchronous.open()
    assert await asynchronous.wait_until_available(20)
    try:
        yield asynchronous
    finally:
        await asynchronous.close()


def pause(client: redis.Redis, seconds: float) -> None:
    """Make the server hold all commands back for a while."""
    client.execute_command("CLIENT", "PAUSE", int(seconds * 1e3), "ALL")


def test_time_in_which_this_process_does_not_run_is_not_waited(client: redis.Redis, keys: Keys) -> None:
    async def scenario() -> None:
        async with connected(client, 0.4) as asynchronous:
            pause(client, 0.7)
            reply = asyncio.ensure_future(asynchronous.execute(keys.live, ("GET", keys.live)))
            await asyncio.sleep(0.02)  # the command is sent
            time.sleep(0.6)  # noqa: ASYNC251: as a collection of garbage does
            assert await reply == [None]

    asyncio.run(scenario())


def test_one_late_reply_is_no_outage_however_many_wait_for_it(client: redis.Redis, keys: Keys) -> None:
    async def scenario() -> None:
        async with connected(client, 0.5) as asynchronous:
            pause(client, 0.7)
            replies = [asyncio.ensure_future(asynchronous.execute(keys.live, ("PING",))) for _ in range(20)]
            assert len(await asyncio.gather(*replies, return_exceptions=True)) == 20
            assert all(isinstance(reply.exception(), RedisUnavailableError) for reply in replies)
            assert asynchronous.available
            await asyncio.sleep(0.3)
            assert await asynchronous.execute(keys.live, ("PING",)) == [b"PONG"]

    asyncio.run(scenario())


def test_a_server_that_stays_silent_is_not_waited_for(client: redis.Redis, keys: Keys) -> None:
    timeout = 0.1

    async def scenario() -> None:
        async with connected(client, timeout) as asynchronous:
            pause(client, 2.0)
            for _ in range(5):
                with pytest.raises(RedisUnavailableError):
                    await asynchronous.execute(keys.live, ("PING",))
            assert not asynchronous.available
            started = time.monotonic()
            with pytest.raises(RedisUnavailableError):
                await asynchronous.execute(keys.live, ("PING",))
            assert time.monotonic() - started < timeout / 2
            assert await asynchronous.wait_until_available(20)

    asyncio.run(scenario())
