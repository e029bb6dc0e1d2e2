"""The connection to Redis: a server or Cluster of the user's own, or the embedded server."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.cluster import RedisCluster
from redis.exceptions import MovedError, RedisClusterException

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.server import start_server

Client = redis.Redis | RedisCluster
# What redis-py raises; not everything that goes wrong with a Cluster is one of its errors of Redis.
ERRORS = (redis.RedisError, RedisClusterException)


def connect(settings: Redis, directory: Path) -> Client:
    """A client that has had its answer: of the server or Cluster at `settings.url`, else of the embedded server,
    which is started under `directory` unless it runs. Replies are bytes.

    Raises `StoreError` naming the host and port, never the password.
    """
    if settings.url is not None and settings.cluster:
        return _cluster(settings, settings.url)
    client = _embedded(settings, directory) if settings.url is None else _external(settings, settings.url)
    with store_errors(client):
        client.ping()
    return client


@contextmanager
def store_errors(client: Client) -> Generator[None]:
    """Turn redis-py's errors into a `StoreError` that names the server."""
    try:
        yield
    except MovedError:
        if isinstance(client, RedisCluster):
            raise StoreError(f"Redis at {address_of(client)}: keys have moved to another node: try again") from None
        raise StoreError(
            f"Redis at {address_of(client)}: is a node of a Cluster: set redis.cluster = true"
        ) from None
    except ERRORS as error:
        raise StoreError(f"Redis at {address_of(client)}: {' '.join(str(error).split())}") from None


def primaries(client: Client) -> list[redis.Redis]:
    """The servers that hold the keys: each primary of a Cluster, or the one server."""
    if isinstance(client, redis.Redis):
        return [client]
    nodes: list[Any] = client.get_primaries()
    return [client.get_redis_connection(node) for node in nodes]


def holder_of(client: Client, key: str) -> redis.Redis:
    """The server that holds a key."""
    if isinstance(client, redis.Redis):
        return client
    node: Any = client.get_node_from_key(key)
    return client.get_redis_connection(node)


def _external(settings: Redis, url: str) -> redis.Redis:
    with _address_errors():
        return redis.Redis.from_url(
            url,
            socket_timeout=settings.timeout_seconds,
            socket_connect_timeout=settings.timeout_seconds,
            decode_responses=False,
        )


def _cluster(settings: Redis, url: str) -> RedisCluster:
    """A Cluster's client, which has asked the node at `url` for the others."""
    with _address_errors():
        asked = urlsplit(url)
        where = f"{asked.hostname}:{asked.port or 6379}"
        try:
            return RedisCluster.from_url(
                url,
                socket_timeout=settings.timeout_seconds,
                socket_connect_timeout=settings.timeout_seconds,
                decode_responses=False,
            )
        except ERRORS as error:
            raise StoreError(f"Redis Cluster at {where}: {' '.join(str(error).split())}") from None


@contextmanager
def _address_errors() -> Generator[None]:
    try:
        yield
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


def address_of(client: Client) -> str:
    """Host and port of the server, or the path of its socket; of a Cluster, of one of its nodes."""
    if isinstance(client, RedisCluster):
        node: Any = client.get_default_node()
        return f"{node.host}:{node.port}"
    where = client.connection_pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host')}:{where.get('port')}"
