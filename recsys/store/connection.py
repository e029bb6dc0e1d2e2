"""The connection to Redis: a server of the user's own, or the embedded one."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.server import start_server

Client = redis.Redis
AsyncClient = redis.asyncio.Redis

# The text of redis-py's error may hold a part of the password.
NO_ADDRESS: Final = "redis.url = (not shown): is not a redis://, rediss:// or unix:// address"


def connect(settings: Redis, directory: Path) -> redis.Redis:
    """A client that has had its answer: of the server at `settings.url`, else of the embedded one, which is
    started under `directory` unless it runs. Replies are bytes.

    Raises `StoreError` naming the host and port, never the password.
    """
    client = _embedded(settings, directory) if settings.url is None else _external(settings, settings.url)
    with store_errors(client):
        client.ping()
    return client


@contextmanager
def store_errors(client: Client | AsyncClient) -> Generator[None]:
    """Turn redis-py's errors into a `StoreError` that names the server."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreError(f"Redis at {address_of(client)}: {' '.join(str(error).split())}") from None


def _external(settings: Redis, url: str) -> redis.Redis:
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=settings.timeout_seconds,
            socket_connect_timeout=settings.timeout_seconds,
            decode_responses=False,
        )
    except ValueError:
        raise StoreError(NO_ADDRESS) from None


def _embedded(settings: Redis, directory: Path) -> redis.Redis:
    address = start_server(directory / "valkey")
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
    )


def address_of(client: Client | AsyncClient) -> str:
    """Host and port of the server, or the path of its socket."""
    where = client.connection_pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host')}:{where.get('port')}"


def connect_async(settings: Redis, connections: int) -> AsyncClient:
    """A client for an event loop, of at most so many connections, each made when it is first needed; a request
    beyond them waits. Replies are bytes. What is asked of it is bounded in time by `answered_in_time`.

    Raises `StoreError` when `settings.url` is no address, without showing it.
    """
    if settings.url is None:
        raise StoreError("redis.url: is not set: `recsys serve` tells its workers where the embedded server is")
    try:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            settings.url,
            max_connections=connections,
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=settings.timeout_seconds,
            # Once more, for a connection that has died in the pool.
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        )
    except ValueError:
        raise StoreError(NO_ADDRESS) from None
    return redis.asyncio.Redis.from_pool(pool)


@asynccontextmanager
async def answered_in_time(client: AsyncClient, seconds: float) -> AsyncGenerator[None]:
    """`store_errors` for an event loop, and one more when all that is awaited here takes longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            with store_errors(client):
                yield
    except TimeoutError:
        raise StoreError(f"Redis at {address_of(client)}: no answer within {seconds:g} s") from None
