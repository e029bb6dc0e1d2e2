"""The connection to Redis: a server, Cluster or Sentinels of the user's own, or the embedded server."""

# redis-py leaves **kwargs, and what an address is parsed to, without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.cluster import RedisCluster
from redis.connection import parse_url
from redis.exceptions import MovedError, RedisClusterException
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.embedded import start_server

Client = redis.Redis | RedisCluster
# What redis-py raises; not everything that goes wrong with a Cluster is one of its errors of Redis.
ERRORS = (redis.RedisError, RedisClusterException)
SENTINEL_PORT: Final = 26_379
TLS: Final = {"tls_ca": "ssl_ca_certs", "tls_certificate": "ssl_certfile", "tls_key": "ssl_keyfile"}
"""Field of the settings -> what redis-py calls it."""


def connect(settings: Redis, directory: Path) -> Client:
    """A client that has had its answer: of the server or Cluster at `settings.url`, or of the primary that the
    Sentinels there name, else of the embedded server, which is started under `directory` unless it runs. Replies
    are bytes.

    Raises `StoreError` naming the host and port, never the password.
    """
    _check(settings)
    if settings.url is None:
        client = _embedded(settings, directory)
    elif settings.cluster:
        return _cluster(settings, settings.url)
    elif settings.sentinel is not None:
        client = _primary(settings, settings.url, settings.sentinel)
    else:
        client = _external(settings, settings.url)
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
            raise StoreError(
                f"Redis at {describe_server(client)}: keys have moved to another node: try again"
            ) from None
        raise StoreError(
            f"Redis at {describe_server(client)}: is a node of a Cluster: set redis.cluster = true"
        ) from None
    except MasterNotFoundError:
        # The text of the error has all that the Sentinels are asked with, the password too.
        raise StoreError(
            f"Redis at {describe_server(client)}: no Sentinel answers that this primary is there"
        ) from None
    except ERRORS as error:
        raise StoreError(f"Redis at {describe_server(client)}: {' '.join(str(error).split())}") from None


def primaries(client: Client) -> list[redis.Redis]:
    """The servers that hold the keys: each primary of a Cluster, or the one server."""
    if isinstance(client, redis.Redis):
        return [client]
    nodes: list[Any] = client.get_primaries()
    return [client.get_redis_connection(node) for node in nodes]


def node_for_key(client: Client, key: str) -> redis.Redis:
    """The server that holds a key."""
    if isinstance(client, redis.Redis):
        return client
    node: Any = client.get_node_from_key(key)
    return client.get_redis_connection(node)


def _check(settings: Redis) -> None:
    """Raise `StoreError` for settings that do not go together, and for a file that is not there."""
    if settings.sentinel is not None and settings.cluster:
        raise StoreError("redis.sentinel: expected none with redis.cluster = true: a Cluster has no Sentinels")
    if settings.sentinel is not None and settings.url is None:
        raise StoreError("redis.sentinel: expected redis.url to name the Sentinels")
    if settings.tls_key is not None and settings.tls_certificate is None:
        raise StoreError("redis.tls_key: expected redis.tls_certificate with it")
    for name in TLS:
        file: Path | None = getattr(settings, name)
        if file is not None and not (settings.url or "").startswith("rediss://"):
            raise StoreError(f"redis.{name}: expected redis.url to be a rediss:// address")
        if file is not None and not file.is_file():
            raise StoreError(f"redis.{name} = {file}: there is no such file")


def _options(settings: Redis) -> dict[str, Any]:
    """What every connection is made with."""
    files = {option: getattr(settings, name) for name, option in TLS.items()}
    return {
        "socket_timeout": settings.timeout_seconds,
        "socket_connect_timeout": settings.timeout_seconds,
        "decode_responses": False,
        **{option: str(file) for option, file in files.items() if file is not None},
    }


def _external(settings: Redis, url: str) -> redis.Redis:
    with _address_errors():
        return redis.Redis.from_url(url, **_options(settings))


def _cluster(settings: Redis, url: str) -> RedisCluster:
    """A Cluster's client, which has asked the node at `url` for the others."""
    with _address_errors():
        asked = urlsplit(url)
        where = f"{asked.hostname}:{asked.port or 6379}"
        try:
            return RedisCluster.from_url(url, **_options(settings))
        except ERRORS as error:
            raise StoreError(f"Redis Cluster at {where}: {' '.join(str(error).split())}") from None


def _primary(settings: Redis, url: str, name: str) -> redis.Redis:
    """A client of the primary that the Sentinels at `url` call `name`, whichever server that is at the time."""
    with _address_errors():
        addresses, asked = _sentinels(url)
    options: dict[str, Any] = _options(settings) | asked
    anonymous = {option: value for option, value in options.items() if option not in ("db", "username", "password")}
    sentinels: Any = Sentinel(addresses, sentinel_kwargs=anonymous, **options)
    if "password" in options:
        # Sentinels may ask for the password too, and one that asks for none refuses it: each is tried with it, then
        # without.
        known: Any = Sentinel(addresses, sentinel_kwargs=options | {"db": 0})
        sentinels.sentinels[:0] = known.sentinels
    return sentinels.master_for(name)


def _sentinels(url: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Host and port of each Sentinel, and how to connect. Raises `ValueError` when `url` does not say so."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    if scheme not in ("redis", "rediss"):
        raise ValueError
    parsed: list[Any] = [parse_url(f"{scheme}://{credentials}{at}{host}{slash}{path}") for host in hosts.split(",")]
    addresses = [(each.pop("host", "localhost"), each.pop("port", SENTINEL_PORT)) for each in parsed]
    options = parsed[0]
    return addresses, options | {"ssl": options.pop("connection_class", None) is not None}


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


def describe_server(client: Client) -> str:
    """Host and port of the server, or the path of its socket; of a Cluster, of one of its nodes; of a primary
    behind Sentinels, where these have not named it yet, its name and theirs.
    """
    if isinstance(client, RedisCluster):
        node: Any = client.get_default_node()
        return f"{node.host}:{node.port}"
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return _describe_primary(pool)
    where = pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host')}:{where.get('port')}"


def _describe_primary(pool: Any) -> str:
    if pool.master_address is not None:
        host, port = pool.master_address
        return f"{host}:{port}"
    kwargs = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    asked = dict.fromkeys(f"{where['host']}:{where['port']}" for where in kwargs)
    return f"{pool.service_name} of the Sentinels at {', '.join(asked)}"
