"""The asyncio client of a process that answers many requests at once.

It keeps one connection to the server, to the primary that Sentinels name, or to each primary of a Cluster.
"""

# redis-py's helpers have loose types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import redis
import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot

from recsys.errors import StoreError
from recsys.settings.online import Redis
from recsys.store.address import Endpoint, RedisAddress
from recsys.store.client.connection import (
    CONNECT_SECONDS,
    PipelinedConnection,
    RedisUnavailableError,
    Reply,
    Resolve,
)
from recsys.store.encoding import decode_text
from recsys.store.keys import CLUSTER_SLOTS
from recsys.store.resp import Command, encode_commands

REDIRECTIONS: Final = ("MOVED", "ASK", "TRYAGAIN")
MAX_REDIRECTIONS: Final = 3
"""How often a command follows a slot to another node of a Cluster."""
SENTINEL_SECONDS: Final = 0.3
"""Timeout of one Sentinel, after which the next is queried: all must fit into `CONNECT_SECONDS`."""
WAIT_SHARE: Final = 0.5
"""Share of the timeout for which a server waits for its replicas."""
TOPOLOGY_SECONDS: Final = 1.0
"""Minimum time between two look-ups of the nodes of a Cluster."""

log = structlog.get_logger()


class RedisClient:
    """The connections to all servers that hold keys; every command goes to the server of its key."""

    def __init__(self, settings: Redis, timeout: float) -> None:
        """Parse the settings; `timeout`, in seconds, bounds every command.

        Raises `StoreError` as `RedisAddress.from_settings` does.
        """
        self._timeout = timeout
        self._wait_replicas = settings.wait_replicas
        self._address = RedisAddress.from_settings(settings)
        self._by_node: dict[tuple[str, int], PipelinedConnection] = {}
        self._closing: list[asyncio.Task[None]] = []
        self._primary: PipelinedConnection | None = None
        self._slots: list[PipelinedConnection] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = 0.0
        self._is_outage_logged = False

    async def open(self) -> None:
        """Start to connect, without waiting for it; for a Cluster, first look up its nodes, if any answers."""
        if self.is_cluster:
            with suppress(StoreError):
                await self._load_topology()
        else:
            self._primary = PipelinedConnection(self._resolve_primary, self._timeout)

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        connections = [*self._by_node.values(), *([self._primary] if self._primary else [])]
        refreshing = [self._refreshing] if self._refreshing is not None else []
        await asyncio.gather(
            *(connection.close() for connection in connections), *self._closing, *refreshing, return_exceptions=True
        )

    @property
    def is_cluster(self) -> bool:
        """Return whether all keys of one command must share a slot."""
        return self._address.mode == "cluster"

    @property
    def available(self) -> bool:
        """Return whether every server is believed to answer."""
        if self._primary is not None:
            return self._primary.available
        return bool(self._slots) and all(connection.available for connection in self._by_node.values())

    @property
    def connections(self) -> Sequence[PipelinedConnection]:
        """Return the open connections, one to each primary."""
        return [self._primary] if self._primary is not None else list(self._by_node.values())

    async def wait_until_available(self, seconds: float) -> bool:
        """Wait until every server answers, at most this long; return whether they do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.available:
                    await asyncio.sleep(0.01)
        return self.available

    def connection_for(self, key: str) -> PipelinedConnection:
        """Return the connection to the server of a key; raises `RedisUnavailableError` if none is known."""
        if self._primary is not None:
            return self._primary
        if not self._slots:
            self.refresh_topology()
            raise RedisUnavailableError("Redis Cluster: no node answers")
        connection = self._slots[key_slot(key.encode())]
        if not connection.available:
            self.refresh_topology()  # another node may have taken its place
        return connection

    def refresh_topology(self) -> None:
        """Look up the nodes of a Cluster in the background, as they may have changed."""
        if self.is_cluster and self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_topology())

    def execute(self, key: str, *commands: Command) -> Awaitable[list[Reply]]:
        """Return the replies to commands about keys that share the slot of `key`, wherever it has moved.

        Raises `RedisUnavailableError`, and `StoreError` with the first error reply if a command is refused.
        """
        return self._send(self.connection_for(key), commands)

    async def execute_each(self, commands: Sequence[tuple[str, Command]]) -> list[Reply]:
        """Return the reply to each command; each is about keys that share the slot of the key beside it.

        Commands to the same node are sent together. Raises as `execute` does.
        """
        if self._primary is not None and commands:
            return await self._send(self._primary, [command for _, command in commands])
        indices: dict[PipelinedConnection, list[int]] = {}
        for index, (key, _) in enumerate(commands):
            indices.setdefault(self.connection_for(key), []).append(index)
        sent = [
            self._send(connection, [commands[index][1] for index in shared])
            for connection, shared in indices.items()
        ]
        received = [await sent[0]] if len(sent) == 1 else await asyncio.gather(*sent)
        replies: list[Reply] = [None] * len(commands)
        for shared, node_replies in zip(indices.values(), received, strict=True):
            for index, reply in zip(shared, node_replies, strict=True):
                replies[index] = reply
        return replies

    async def wait_for_replicas(self, *keys: str) -> None:
        """Wait until `redis.wait_replicas` replicas have what this client has written about the keys.

        Raises `RedisUnavailableError` if they do not in time: a failover may then lose it.
        """
        if not self._wait_replicas:
            return
        command = encode_commands(("WAIT", self._wait_replicas, int(self._timeout * WAIT_SHARE * 1e3)))
        connections = dict.fromkeys(map(self.connection_for, keys))
        for (count,) in await asyncio.gather(*(connection.send(command, 1) for connection in connections)):
            if isinstance(count, Exception):
                raise StoreError(f"Redis: {count}")
            if count < self._wait_replicas:
                raise RedisUnavailableError(f"Redis: {count} replicas have it, expected {self._wait_replicas}")

    async def _send(self, connection: PipelinedConnection, commands: Sequence[Command]) -> list[Reply]:
        """Return the replies of a node, or of the nodes that it redirects to."""
        replies = await connection.send(encode_commands(*commands), len(commands))
        for _ in range(MAX_REDIRECTIONS):
            refused = [index for index, reply in enumerate(replies) if isinstance(reply, Exception)]
            if not refused:
                return replies
            errors = [str(replies[index]) for index in refused]
            final = next((error for error in errors if error.split(" ")[0] not in REDIRECTIONS), None)
            if final is not None:
                raise StoreError(f"Redis: {final}")
            remaining = [commands[index] for index in refused]
            connection, redirected = await self._send_redirected(connection, errors[0], remaining)
            for index, reply in zip(refused, redirected, strict=True):
                replies[index] = reply
        raise RedisUnavailableError("Redis Cluster: keys keep moving")

    async def _send_redirected(
        self, connection: PipelinedConnection, error: str, commands: Sequence[Command]
    ) -> tuple[PipelinedConnection, list[Reply]]:
        """Return the connection to the node that an error reply names, and its replies."""
        kind, *target = error.split(" ")
        if kind == "TRYAGAIN":
            raise RedisUnavailableError("Redis Cluster: keys are being moved")
        connection = await self._connect_to_target(connection, target[0], target[1])
        if kind == "MOVED":
            self._slots[int(target[0])] = connection
            self.refresh_topology()
            return connection, await connection.send(encode_commands(*commands), len(commands))
        # A node that a slot is being moved to answers only after ASKING.
        encoded = encode_commands(*(part for command in commands for part in (("ASKING",), command)))
        return connection, (await connection.send(encoded, 2 * len(commands)))[1::2]

    async def _connect_to_target(
        self, connection: PipelinedConnection, slot: str, node: str
    ) -> PipelinedConnection:
        """Return the connection to the node that a redirection names, and wait for it if it is new."""
        host, _, port = node.rpartition(":")
        if not (self._slots and slot.isdecimal() and port.isdecimal()):
            raise RedisUnavailableError("Redis Cluster: no node answers")
        # An empty host is that of the node that redirects.
        redirecting = next((name for (name, _), each in self._by_node.items() if each is connection), "")
        target = self._connection_to_node((host or redirecting, int(port)))
        if not target.available:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await target.ready.wait()
        return target

    async def _resolve_primary(self) -> Endpoint:
        """Return where the server is, or the primary that the Sentinels name now."""
        endpoint = self._address.endpoints[0]
        if self._address.sentinel is None:
            return endpoint
        options = self._query_options(SENTINEL_SECONDS)
        hosts = [(each.host, each.port) for each in self._address.endpoints]
        sentinels = Sentinel(hosts, sentinel_kwargs=options | {"username": None, "password": None})
        if endpoint.password is not None:
            # Sentinels may need the password too, and one without a password refuses it: ask with it, then without.
            sentinels.sentinels[:0] = Sentinel(hosts, sentinel_kwargs=options).sentinels
        try:
            primary: Any = await sentinels.discover_master(self._address.sentinel)
        except redis.RedisError:
            # The text of the error has all connection options, the password too.
            raise StoreError(f"no Sentinel knows a primary {self._address.sentinel}") from None
        finally:
            await asyncio.gather(*(each.aclose() for each in sentinels.sentinels))
        host, port = primary
        return replace(endpoint, host=decode_text(host), port=int(port))

    def _query_options(self, seconds: float) -> dict[str, Any]:
        """Return the options of redis-py for the few queries that are sent through it."""
        return self._address.login_options(seconds) | {"retry": Retry(NoBackoff(), 0)}

    async def _refresh_topology(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            await asyncio.sleep(max(0.0, self._refreshed_at + TOPOLOGY_SECONDS - clock()))
            with suppress(StoreError):
                await self._load_topology()
        finally:
            self._refreshed_at = clock()
            self._refreshing = None

    async def _load_topology(self) -> None:
        """Ask any node which node holds which slots, and keep one connection to each primary."""
        login = self._address.endpoints[0]
        nodes = sorted(self._by_node, key=lambda node: not self._by_node[node].available)
        endpoints = [replace(login, host=host, port=port) for host, port in nodes]
        for endpoint in [*endpoints, *self._address.endpoints]:
            client = AsyncRedis(host=endpoint.host, port=endpoint.port, **self._query_options(CONNECT_SECONDS))
            try:
                reply: Any = await client.execute_command("CLUSTER SLOTS")
            except redis.RedisError as error:
                if not self._is_outage_logged:
                    log.warning("a Cluster node did not return its slots", node=str(endpoint), reason=str(error))
                continue
            finally:
                await client.aclose()
            self._is_outage_logged = False
            self._adopt_slots(reply, endpoint.host)
            return
        self._is_outage_logged = True
        raise RedisUnavailableError("Redis Cluster: no node answers")

    def _adopt_slots(self, ranges: Any, queried_host: str) -> None:
        """Take over the reply to CLUSTER SLOTS; an empty host in it is that of the queried node."""
        slots: dict[int, PipelinedConnection] = {}
        for first, last, (host, port, *_), *_ in ranges:
            connection = self._connection_to_node((decode_text(host or b"") or queried_host, int(port)))
            slots |= dict.fromkeys(range(first, last + 1), connection)
        if len(slots) < CLUSTER_SLOTS:
            return  # the Cluster is being created or taken apart
        self._slots = [slots[slot] for slot in range(CLUSTER_SLOTS)]
        used = set(self._slots)
        for node in [node for node, connection in self._by_node.items() if connection not in used]:
            self._closing.append(asyncio.get_running_loop().create_task(self._by_node.pop(node).close()))

    def _connection_to_node(self, node: tuple[str, int]) -> PipelinedConnection:
        """Return the connection to a node, host and port; open it if there is none."""
        if node not in self._by_node:
            endpoint = replace(self._address.endpoints[0], host=node[0], port=node[1])
            self._by_node[node] = PipelinedConnection(_resolve_to(endpoint), self._timeout)
        return self._by_node[node]


def _resolve_to(endpoint: Endpoint) -> Resolve:
    async def resolve() -> Endpoint:
        return endpoint

    return resolve
