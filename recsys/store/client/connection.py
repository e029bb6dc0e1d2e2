"""One connection to a Redis server for a process that answers many requests at once.

What is asked during one turn of the event loop is sent together, and replies are handed out in order: a request
costs a few microseconds instead of a round trip of its own. Nobody waits longer than a timeout, and nobody waits
while the server is known not to answer: a probe in the background finds out when it does again.
"""

# hiredis' reader and packer have loose types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import hiredis
import structlog

from recsys.errors import StoreError

Reply = Any
Command = tuple[str | bytes | int | float, ...] | bytes
"""Its parts, or all of it packed already."""

FAILURES_TO_OPEN: Final = 5
"""Timeouts or refusals in a row after which nothing is asked until a probe has been answered."""
PROBE_SECONDS: Final = 0.1
LONGEST_PROBE_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 0.001
CONNECT_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 1.0
"""A connection on which a reply is due for longer is given up: it may be half open."""
UNABLE: Final = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF")
"""First words of refusals that are about the server, not about the command."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Endpoint:
    """Where a server is, and how to be let in."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a UNIX socket, in place of host and port."""
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def shown(self) -> str:
        """For messages: without what is secret."""
        return self.path or f"{self.host}:{self.port}"


Resolve = Callable[[], Awaitable[Endpoint]]


_pack = cast(Callable[[tuple[str | bytes | int | float, ...]], bytes], hiredis.pack_command)


def encode_commands(*commands: Command) -> bytes:
    """Commands as the bytes of Redis' protocol."""
    return b"".join([command if isinstance(command, bytes) else _pack(command) for command in commands])


class RedisUnavailableError(StoreError):
    """Redis did not answer in time, or is known not to answer."""


@dataclass(slots=True)
class _Sent:
    """Commands sent together for one caller, and those of their replies that have come."""

    future: asyncio.Future[list[Reply]] | None
    count: int
    due: float
    replies: list[Reply]


class PipelinedConnection(asyncio.Protocol):
    """A connection that keeps itself open, and fails fast while it is not.

    `send` may be called at any time from the event loop; its future fails with `RedisUnavailableError` at the
    latest after `timeout` seconds. Replies are bytes, integers, lists, None, or an error for a refused command.
    """

    def __init__(self, resolve: Resolve, timeout: float) -> None:
        self._resolve = resolve
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._outgoing: list[bytes] = []
        self._sent: deque[_Sent] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False
        self._failures = 0
        self._available = False
        self._reason = "not connected yet"
        self._closed = False
        self._told = False
        self._lost = asyncio.Event()
        self.outages: int = 0
        """How often it has been found not to answer."""
        self._keeper = self._loop.create_task(self._keep())
        self.ready = asyncio.Event()

    @property
    def available(self) -> bool:
        """Whether the server is believed to answer."""
        return self._available

    @property
    def reason(self) -> str:
        """Why it does not."""
        return self._reason

    def send(self, packed: bytes, count: int) -> asyncio.Future[list[Reply]]:
        """Send `count` packed commands with whatever else this turn of the loop sends; their replies, in order."""
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if not self._available:
            future.set_exception(RedisUnavailableError(f"Redis: {self._reason}"))
            return future
        self._queue(packed, count, future)
        return future

    async def execute(self, *command: Any) -> Reply:
        """The reply to one command; raises `StoreError` where it is refused."""
        (reply,) = await self.send(encode_commands(command), 1)
        if isinstance(reply, Exception):
            raise StoreError(f"Redis: {reply}")
        return reply

    async def close(self) -> None:
        """End the connection; what waits for a reply fails."""
        self._closed = True
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        self._available, self._reason = False, "closed"
        if self._transport is not None:
            self._transport.abort()
        self._fail_all("closed")

    def drop(self, reason: str) -> None:
        """Ask nothing more on this connection: it leads to a server that is not the right one any longer."""
        self._disable(reason)
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, and nothing has been said on it."""
        self._transport = cast(asyncio.Transport, transport)
        self._reader = hiredis.Reader()

    def data_received(self, data: bytes) -> None:
        """Hand replies to those who wait, the first sent first."""
        reader, sent = self._reader, self._sent
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if not sent:
                    raise hiredis.ProtocolError("a reply to nothing")
                first = sent[0]
                first.replies.append(reply)
                if len(first.replies) == first.count:
                    sent.popleft()
                    self._answer(first)
        except hiredis.ProtocolError as error:
            log.error("what Redis sent is no reply", error=str(error))
            self.drop("what it sent is no reply")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended; what waits for a reply fails now."""
        self._transport = None
        self._disable("connection lost" if exc is None else f"connection lost: {exc}")
        self._fail_all(self._reason)
        self._lost.set()

    # Sending.

    def _queue(self, packed: bytes, count: int, future: asyncio.Future[list[Reply]]) -> None:
        self._outgoing.append(packed)
        self._sent.append(_Sent(future, count, self._loop.time() + self._timeout, []))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is None:
            # The connection was lost in this very turn: no reply must be taken for one to these.
            self._fail_all(self._reason)
            return
        outgoing = self._outgoing
        self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        outgoing.clear()
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check)

    def _answer(self, sent: _Sent) -> None:
        future = sent.future
        if future is None or future.done():
            return
        for reply in sent.replies:
            if isinstance(reply, Exception) and str(reply).startswith(UNABLE):
                self._refuse(str(reply))
                future.set_exception(RedisUnavailableError(f"Redis: {reply}"))
                return
        self._failures = 0
        if self._told and self._available:
            # Said of what was asked, not of a probe: a server may answer PING and nothing else.
            self._told = False
            log.info("Redis answers")
        future.set_result(sent.replies)

    def _check(self) -> None:
        """Something may be overdue: look once more when what has come meanwhile has been read, for this process may
        have been too busy to read it.
        """
        self._timer = self._loop.call_later(GRACE_SECONDS, self._expire)

    def _expire(self) -> None:
        """Fail what is overdue; look again when the next may be."""
        self._timer = None
        now = self._loop.time() - GRACE_SECONDS
        for sent in self._sent:
            if sent.due > now:
                self._timer = self._loop.call_at(sent.due, self._check)
                break
            if sent.future is not None:
                future, sent.future = sent.future, None
                if not future.done():
                    future.set_exception(
                        RedisUnavailableError(f"Redis: no answer within {self._timeout * 1e3:g} ms")
                    )
                    self._fail("no answer in time")
        if self._sent and now - self._sent[0].due > SILENCE_SECONDS:
            self.drop("no answer for long")
        elif self._sent and self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check)

    # What is believed of the server.

    def _refuse(self, reason: str) -> None:
        """The server says itself that it cannot; where another is the primary now, it has to be asked for anew."""
        if reason.startswith("READONLY"):
            self.drop(reason)
        else:
            self._disable(reason)

    def _fail(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._disable(reason)

    def _disable(self, reason: str) -> None:
        self._reason = reason
        if self._available:
            self._available = False
            self.ready.clear()
            self.outages += 1
        if not self._closed and not self._told:
            self._told = True
            log.warning("Redis does not answer", reason=reason)

    def _enable(self) -> None:
        self._failures = 0
        if not self._available:
            self._available = True
            self.ready.set()

    def _fail_all(self, reason: str) -> None:
        waiting, self._sent = self._sent, deque()
        self._outgoing.clear()
        for sent in waiting:
            if sent.future is not None and not sent.future.done():
                sent.future.set_exception(RedisUnavailableError(f"Redis: {reason}"))

    # Keeping it open.

    async def _keep(self) -> None:
        """Connect, and connect again; while the server does not answer in time, probe it."""
        pause = PROBE_SECONDS
        while not self._closed:
            if self._transport is None and not await self._connect():
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PROBE_SECONDS)
                continue
            if not self._available and await self._probe():
                self._enable()
            pause = PROBE_SECONDS if self._available else min(2 * pause, LONGEST_PROBE_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), PROBE_SECONDS if self._available else pause)

    async def _connect(self) -> bool:
        self._lost.clear()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                endpoint = await self._resolve()
                if endpoint.path:
                    await self._loop.create_unix_connection(lambda: self, endpoint.path)
                else:
                    await self._loop.create_connection(lambda: self, endpoint.host, endpoint.port, ssl=endpoint.tls)
                await self._greet(endpoint)
        except (TimeoutError, OSError, StoreError) as error:
            where = "it took too long" if isinstance(error, TimeoutError) else str(error)
            self._disable(f"cannot be connected to: {where}")
            if self._transport is not None:
                self._transport.abort()
                self._transport = None
            return False
        return True

    async def _greet(self, endpoint: Endpoint) -> None:
        """Say who asks, and which database is meant."""
        commands: list[Command] = []
        if endpoint.password is not None:
            user = () if endpoint.username is None else (endpoint.username,)
            commands.append(("AUTH", *user, endpoint.password))
        if endpoint.database:
            commands.append(("SELECT", endpoint.database))
        commands.append(("PING",))
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._queue(encode_commands(*commands), len(commands), future)
        replies = await future
        for reply in replies:
            if isinstance(reply, Exception):
                raise StoreError(str(reply))
        if replies[-1] not in (b"PONG", "PONG"):
            raise StoreError("what answers there is no Redis")

    async def _probe(self) -> bool:
        """Whether a PING is answered in time."""
        started = time.monotonic()
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._queue(encode_commands(("PING",)), 1, future)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                (reply,) = await future
        except (TimeoutError, StoreError):
            return False
        return reply == b"PONG" and time.monotonic() - started <= self._timeout
