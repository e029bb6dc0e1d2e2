"""The connections of a process that answers many requests at once: to one server, to whichever Sentinels call the
primary, or to every primary of a Cluster.
"""

# redis-py's helpers have loose types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import ssl
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
import structlog
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot

from recsys.errors import StoreError
from recsys.settings.online import Redis
from recsys.store.client.connection import (
    CONNECT_SECONDS,
    Command,
    Endpoint,
    PipelinedConnection,
    RedisUnavailableError,
    Reply,
    Resolve,
    encode_commands,
)
from recsys.store.encoding import decode_text

SCHEMES: Final = ("redis", "rediss", "unix")
DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26_379
SLOTS: Final = 1 << 14
REDIRECTIONS: Final = ("MOVED", "ASK", "TRYAGAIN")
MOVES: Final = 3
"""How often a command follows a slot to another node of a Cluster."""
SENTINEL_SECONDS: Final = 0.3
"""So long is one Sentinel waited for before the next is asked: all have to fit into `CONNECT_SECONDS`."""
TOPOLOGY_SECONDS: Final = 1.0
"""The nodes of a Cluster are asked for at most so often."""

log = structlog.get_logger()


@dataclass(frozen=True)
class RedisAddress:
    """What `redis.url` says: one place, or those of several Sentinels or nodes."""

    places: tuple[Endpoint, ...]

    @classmethod
    def from_settings(cls, settings: Redis) -> "RedisAddress":
        """Read the settings; raises `StoreError`, which shows nothing secret, when they name no place."""
        if settings.url is None:
            raise StoreError("redis.url: is not set: `recsys serve` tells its workers where the embedded server is")
        try:
            return cls(tuple(_places(settings, settings.url)))
        except (ValueError, OSError):
            raise StoreError(
                "redis.url = (not shown): is no redis://, rediss:// or unix:// address, or a certificate is missing"
            ) from None


def _places(settings: Redis, url: str) -> list[Endpoint]:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    login = Endpoint(
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=_tls(settings) if parts.scheme == "rediss" else None,
    )
    if parts.scheme == "unix":
        return [replace(login, path=unquote(parts.path))]
    database = int(parts.path.strip("/") or 0)
    default_port = DEFAULT_PORT if settings.sentinel is None else SENTINEL_PORT
    found: list[Endpoint] = []
    for host in hosts.split(","):
        place = urlsplit(f"//{host}")
        found.append(
            replace(login, host=place.hostname or "localhost", port=place.port or default_port, database=database)
        )
    return found


def _tls(settings: Redis) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if settings.tls_ca is None else str(settings.tls_ca))
    if settings.tls_certificate is not None:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


class RedisClient:
    """Which connection a key is read and written through."""

    def __init__(self, settings: Redis, timeout: float) -> None:
        """`timeout` in seconds bounds every answer. Raises `StoreError` as `RedisAddress.from_settings` does."""
        self._settings = settings
        self._timeout = timeout
        self._address = RedisAddress.from_settings(settings)
        self._by_node: dict[tuple[str, int], PipelinedConnection] = {}
        self._leaving: list[asyncio.Task[None]] = []
        self._primary: PipelinedConnection | None = None
        self._slots: list[PipelinedConnection] = []
        self._learning: asyncio.Task[None] | None = None
        self._learned_at = 0.0
        self._told = False

    async def open(self) -> None:
        """Start to connect; returns at once, or, for a Cluster, when its nodes are known or do not answer."""
        if self._settings.cluster:
            with suppress(StoreError):
                await self._learn()
        else:
            self._primary = PipelinedConnection(self._where, self._timeout)

    async def close(self) -> None:
        """End all connections."""
        if self._learning is not None:
            self._learning.cancel()
        links = [*self._by_node.values(), *([self._primary] if self._primary else [])]
        learning = [self._learning] if self._learning is not None else []
        await asyncio.gather(*(link.close() for link in links), *self._leaving, *learning, return_exceptions=True)

    @property
    def is_cluster(self) -> bool:
        """Whether one command can only be about keys that share a slot."""
        return self._settings.cluster

    @property
    def available(self) -> bool:
        """Whether every server is believed to answer."""
        if self._primary is not None:
            return self._primary.available
        return bool(self._slots) and all(link.available for link in self._by_node.values())

    @property
    def connections(self) -> Sequence[PipelinedConnection]:
        """The connections there are, one to each primary."""
        return [self._primary] if self._primary is not None else list(self._by_node.values())

    async def wait_until_available(self, seconds: float) -> bool:
        """Wait until all answer, but no longer than so many seconds; whether they do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.available:
                    await asyncio.sleep(0.01)
        return self.available

    def connection_for(self, key: str) -> PipelinedConnection:
        """Return the connection to the node of a key; raises `RedisUnavailableError` when no node is known."""
        if self._primary is not None:
            return self._primary
        if not self._slots:
            self.refresh_topology()
            raise RedisUnavailableError("Redis Cluster: no node answers")
        link = self._slots[key_slot(key.encode())]
        if not link.available:
            self.refresh_topology()  # another node may have taken its place
        return link

    def refresh_topology(self) -> None:
        """The nodes of the Cluster may have changed: ask for them in the background."""
        if self._settings.cluster and self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(self._relearn())

    def execute(self, key: str, *commands: Command) -> Awaitable[list[Reply]]:
        """The replies to commands about keys that share the slot of `key`, which is followed where it has moved.

        Raises `RedisUnavailableError`, and `StoreError` where the first refused command is refused.
        """
        return self._send(self.connection_for(key), commands)

    async def execute_each(self, commands: Sequence[tuple[str, Command]]) -> list[Reply]:
        """The reply to each of some commands, each about keys that share the slot of the key it comes with.

        What goes to one node goes together. Raises as `execute` does.
        """
        if self._primary is not None and commands:
            return await self._send(self._primary, [command for _, command in commands])
        places: dict[PipelinedConnection, list[int]] = {}
        for place, (key, _) in enumerate(commands):
            places.setdefault(self.connection_for(key), []).append(place)
        asked = [self._send(link, [commands[place][1] for place in found]) for link, found in places.items()]
        answers = [await asked[0]] if len(asked) == 1 else await asyncio.gather(*asked)
        replies: list[Reply] = [None] * len(commands)
        for found, answered in zip(places.values(), answers, strict=True):
            for place, reply in zip(found, answered, strict=True):
                replies[place] = reply
        return replies

    async def _send(self, link: PipelinedConnection, commands: Sequence[Command]) -> list[Reply]:
        """The replies of a connection, or of those that it refers to."""
        replies = await link.send(encode_commands(*commands), len(commands))
        for _ in range(MOVES):
            refused = [number for number, reply in enumerate(replies) if isinstance(reply, Exception)]
            if not refused:
                return replies
            told = [str(replies[number]) for number in refused]
            wrong = next((refusal for refusal in told if refusal.split(" ")[0] not in REDIRECTIONS), None)
            if wrong is not None:
                raise StoreError(f"Redis: {wrong}")
            link, found = await self._send_redirected(link, told[0], [commands[number] for number in refused])
            for number, reply in zip(refused, found, strict=True):
                replies[number] = reply
        raise RedisUnavailableError("Redis Cluster: keys keep moving")

    async def _send_redirected(
        self, link: PipelinedConnection, refusal: str, commands: Sequence[Command]
    ) -> tuple[PipelinedConnection, list[Reply]]:
        """The replies of the node that a refusal names, and the connection to it."""
        kind, *where = refusal.split(" ")
        if kind == "TRYAGAIN":
            raise RedisUnavailableError("Redis Cluster: keys are being moved")
        link = await self._redirected(link, where[0], where[1])
        if kind == "MOVED":
            self._slots[int(where[0])] = link
            self.refresh_topology()
            return link, await link.send(encode_commands(*commands), len(commands))
        # A node that a slot is being moved to answers only who says that it knows.
        packed = encode_commands(*(each for command in commands for each in (("ASKING",), command)))
        return link, (await link.send(packed, 2 * len(commands)))[1::2]

    async def _redirected(self, link: PipelinedConnection, slot: str, node: str) -> PipelinedConnection:
        """The connection to the node that another says has a slot, now or soon; it may have to be made first."""
        host, _, port = node.rpartition(":")
        if not (self._slots and slot.isdecimal() and port.isdecimal()):
            raise RedisUnavailableError("Redis Cluster: no node answers")
        asked = next((name for (name, _), each in self._by_node.items() if each is link), "")
        found = self._node((host or asked, int(port)))
        if not found.available:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await found.ready.wait()
        return found

    async def _where(self) -> Endpoint:
        """Where the one server is, now."""
        place = self._address.places[0]
        if self._settings.sentinel is None:
            return place
        options = self._options(place, SENTINEL_SECONDS)
        addresses = [(each.host, each.port) for each in self._address.places]
        sentinels = Sentinel(addresses, sentinel_kwargs=options | {"username": None, "password": None})
        if place.password is not None:
            # Sentinels may ask for the password too, and one that asks for none refuses it: each is tried with it,
            # then without.
            sentinels.sentinels[:0] = Sentinel(addresses, sentinel_kwargs=options).sentinels
        try:
            found: Any = await sentinels.discover_master(self._settings.sentinel)
        except redis.RedisError:
            # The text of the error has all that the Sentinels are asked with, the password too.
            raise StoreError(f"no Sentinel answers that the primary {self._settings.sentinel} is there") from None
        finally:
            await asyncio.gather(*(each.aclose() for each in sentinels.sentinels))
        host, port = found
        return replace(place, host=decode_text(host), port=int(port))

    def _options(self, place: Endpoint, seconds: float) -> dict[str, Any]:
        """How redis-py is let in, for the few questions that are asked through it."""
        options: dict[str, Any] = {"username": place.username, "password": place.password}
        options |= {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
        if place.tls is not None:
            files = {
                "ssl_ca_certs": self._settings.tls_ca,
                "ssl_certfile": self._settings.tls_certificate,
                "ssl_keyfile": self._settings.tls_key,
            }
            options |= {"ssl": True} | {name: str(file) for name, file in files.items() if file is not None}
        return options

    async def _relearn(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            await asyncio.sleep(max(0.0, self._learned_at + TOPOLOGY_SECONDS - clock()))
            with suppress(StoreError):
                await self._learn()
        finally:
            self._learned_at = clock()
            self._learning = None

    async def _learn(self) -> None:
        """Ask any node which holds which slots, and keep one connection to each primary."""
        login = self._address.places[0]
        nodes = sorted(self._by_node, key=lambda node: not self._by_node[node].available)
        known = [replace(login, host=host, port=port) for host, port in nodes]
        for place in [*known, *self._address.places]:
            client = AsyncRedis(host=place.host, port=place.port, **self._options(place, CONNECT_SECONDS))
            try:
                reply: Any = await client.execute_command("CLUSTER SLOTS")
            except redis.RedisError as error:
                if not self._told:
                    log.warning(
                        "a node of the Cluster does not tell its slots", node=place.shown, reason=str(error)
                    )
                continue
            finally:
                await client.aclose()
            self._told = False
            self._adopt(reply, place)
            return
        self._told = True
        raise RedisUnavailableError("Redis Cluster: no node answers")

    def _adopt(self, ranges: Any, asked: Endpoint) -> None:
        slots: dict[int, PipelinedConnection] = {}
        for first, last, (host, port, *_), *_ in ranges:
            link = self._node((decode_text(host or b"") or asked.host, int(port)))
            slots |= dict.fromkeys(range(first, last + 1), link)
        if len(slots) < SLOTS:
            return  # it is being put together, or taken apart
        self._slots = [slots[slot] for slot in range(SLOTS)]
        held = set(self._slots)
        for node in [node for node, link in self._by_node.items() if link not in held]:
            self._leaving.append(asyncio.get_running_loop().create_task(self._by_node.pop(node).close()))

    def _node(self, node: tuple[str, int]) -> PipelinedConnection:
        """The connection to a node, host and port."""
        if node not in self._by_node:
            endpoint = replace(self._address.places[0], host=node[0], port=node[1])
            self._by_node[node] = PipelinedConnection(_always(endpoint), self._timeout)
        return self._by_node[node]


def _always(endpoint: Endpoint) -> Resolve:
    async def resolve() -> Endpoint:
        return endpoint

    return resolve
