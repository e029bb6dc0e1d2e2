"""The connection to Redis: a server of the user's own, or the embedded one."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import redis

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.server import start_server

Client = redis.Redis


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
def store_errors(client: redis.Redis) -> Generator[None]:
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
        # The text of the error may hold a part of the password.
        raise StoreError("redis.url = (not shown): is not a redis://, rediss:// or unix:// address") from None


def _embedded(settings: Redis, directory: Path) -> redis.Redis:
    address = start_server(directory / "valkey")
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
    )


def address_of(client: redis.Redis) -> str:
    """Host and port of the server, or the path of its socket."""
    where = client.connection_pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host')}:{where.get('port')}"
