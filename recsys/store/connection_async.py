"""The connection to Redis of a process that answers many requests at once."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException

from recsys.errors import StoreError
from recsys.settings import Redis

AsyncClient = AsyncRedis | RedisCluster


def connect_async(settings: Redis, connections: int) -> AsyncClient:
    """A client of at most so many connections, each made when it is first needed; the caller asks no more at once.

    Replies are bytes. What is asked of it is bounded in time by `answered_in_time`. Raises `StoreError` when
    `settings.url` is no address, without showing it.
    """
    if settings.url is None:
        raise StoreError("redis.url: is not set: `recsys serve` tells its workers where the embedded server is")
    # Once more, for a connection that has died since it was last used.
    retry = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    try:
        if settings.cluster:
            return RedisCluster.from_url(
                settings.url,
                max_connections=connections,
                socket_timeout=None,
                socket_connect_timeout=settings.timeout_seconds,
                cluster_error_retry_attempts=1,
                retry=retry,
            )
        return AsyncRedis.from_url(
            settings.url,
            max_connections=connections,
            socket_timeout=None,
            socket_connect_timeout=settings.timeout_seconds,
            retry=retry,
        )
    except ValueError:
        # The text of the error may hold a part of the password.
        raise StoreError("redis.url = (not shown): is not a redis://, rediss:// or unix:// address") from None


@asynccontextmanager
async def answered_in_time(seconds: float) -> AsyncGenerator[None]:
    """Turn redis-py's errors into a `StoreError`, and more than so many seconds for all that is awaited here."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StoreError(f"Redis: no answer within {seconds:g} s") from None
    except (redis.RedisError, RedisClusterException) as error:
        raise StoreError(f"Redis: {' '.join(str(error).split())}") from None
