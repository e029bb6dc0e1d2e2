"""The redis-py client of batch jobs: a server, Cluster or Sentinels of the user's own, or the embedded server."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import MovedError, RedisClusterException
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.address import RedisAddress, check_redis_settings
from recsys.store.embedded import start_server

Client = redis.Redis | RedisCluster
# Errors of a Cluster are not all errors of Redis to redis-py.
ERRORS = (redis.RedisError, RedisClusterException)
SENTINEL_RETRIES: Final = 2


def connect(settings: Redis, directory: Path) -> Client:
    """Return a client of Redis that has answered a PING; replies are bytes.

    Connects to the server or Cluster at `settings.url`, or to the primary that the Sentinels there name; without a
    URL to the embedded server, which is started under `directory` unless it runs.

    Raises `StoreError` with host and port, never the password.
    """
    if settings.url is None:
        check_redis_settings(settings)
        client = _connect_to_embedded_server(settings, directory)
    else:
        address = RedisAddress.from_settings(settings)
        if address.mode == "cluster":
            return _connect_to_cluster(address, settings.timeout_seconds)
        if address.mode == "sentinel":
            client = _connect_to_primary(address, settings.timeout_seconds)
        else:
            client = redis.Redis.from_url(address.urls[0], **_connection_options(address, settings.timeout_seconds))
    with store_errors(client):
        client.ping()
    return client


@contextmanager
def store_errors(client: Client) -> Generator[None]:
    """Turn redis-py's errors into a `StoreError` that names the server."""
    try:
        yield
    except MovedError:
        problem = "is a node of a Cluster: set redis.cluster = true"
        if isinstance(client, RedisCluster):
            problem = "keys have moved to another node: try again"
        raise StoreError(f"Redis at {describe_server(client)}: {problem}") from None
    except MasterNotFoundError:
        # The text of the error has all connection options, the password too.
        raise StoreError(f"Redis at {describe_server(client)}: no Sentinel knows this primary") from None
    except ERRORS as error:
        raise StoreError(f"Redis at {describe_server(client)}: {' '.join(str(error).split())}") from None


def primaries(client: Client) -> list[redis.Redis]:
    """Return the servers that hold the keys: each primary of a Cluster, or the one server."""
    if isinstance(client, redis.Redis):
        return [client]
    nodes: list[Any] = client.get_primaries()
    return [client.get_redis_connection(node) for node in nodes]


def node_for_key(client: Client, key: str) -> redis.Redis:
    """Return the server that holds a key."""
    if isinstance(client, redis.Redis):
        return client
    node: Any = client.get_node_from_key(key)
    return client.get_redis_connection(node)


def used_memory(client: Client) -> int:
    """Return the memory in use by the server, or by all primaries of the Cluster."""
    infos: list[Any] = [node.info("memory") for node in primaries(client)]
    return sum(int(info["used_memory"]) for info in infos)


def describe_server(client: Client) -> str:
    """Return host and port of the server, or the path of its socket.

    Of a Cluster, it is one of the nodes; of a primary that its Sentinels have not named yet, its name and the
    Sentinels.
    """
    if isinstance(client, RedisCluster):
        node: Any = client.get_default_node()
        return f"{node.host}:{node.port}"
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return _describe_primary(pool)
    options = pool.connection_kwargs
    return str(options["path"]) if "path" in options else f"{options.get('host')}:{options.get('port')}"


def _describe_primary(pool: Any) -> str:
    if pool.master_address is not None:
        host, port = pool.master_address
        return f"{host}:{port}"
    options = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    hosts = dict.fromkeys(f"{each['host']}:{each['port']}" for each in options)
    return f"{pool.service_name} of the Sentinels at {', '.join(hosts)}"


def _connection_options(address: RedisAddress, timeout: float) -> dict[str, Any]:
    """Return the options of redis-py that are not in a URL."""
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "decode_responses": False,
        **dict(address.tls_options),
    }


def _connect_to_cluster(address: RedisAddress, timeout: float) -> RedisCluster:
    """Return a client of a Cluster, which has asked one of its nodes for the others."""
    nodes = [ClusterNode(endpoint.host, endpoint.port) for endpoint in address.endpoints[1:]]
    try:
        return RedisCluster(url=address.urls[0], startup_nodes=nodes, **_connection_options(address, timeout))
    except ERRORS as error:
        servers = ", ".join(map(str, address.endpoints))
        raise StoreError(f"Redis Cluster at {servers}: {' '.join(str(error).split())}") from None


def _connect_to_primary(address: RedisAddress, timeout: float) -> redis.Redis:
    """Return a client of the primary that the Sentinels name, whichever server that is at the time."""
    options = address.login_options(timeout) | {"decode_responses": False}
    hosts = [(endpoint.host, endpoint.port) for endpoint in address.endpoints]
    endpoint = address.endpoints[0]
    # One that is away is passed over soon: another knows the primary too.
    asking = options | {"retry": Retry(ExponentialBackoff(cap=0.2, base=0.05), SENTINEL_RETRIES)}
    anonymous = asking | {"username": None, "password": None}
    sentinels: Any = Sentinel(hosts, sentinel_kwargs=anonymous, **options, db=endpoint.database)
    if endpoint.password is not None:
        # Sentinels may need the password too, and one without a password refuses it: ask with it, then without.
        with_password: Any = Sentinel(hosts, sentinel_kwargs=asking)
        sentinels.sentinels[:0] = with_password.sentinels
    return sentinels.master_for(address.sentinel)


def _connect_to_embedded_server(settings: Redis, directory: Path) -> redis.Redis:
    address = start_server(directory / "valkey")
    return redis.Redis(
        host=address.host,
        port=address.port,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
    )
