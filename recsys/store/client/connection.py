"""One asyncio connection to a Redis server, for a process that answers many requests at once.

Commands of one turn of the event loop are sent together, and replies are handed out in order: a request costs a few
microseconds instead of a round trip of its own. No command waits longer than a timeout, and none waits while the
server is known to be unavailable: a probe in the background finds out when it answers again (a circuit breaker).

Time in which this process did not run, or did other work, is not time that the server took: a reply may lie in the
socket. Timeouts are measured by a clock of ticks that each count for two ticks at most.
"""

# hiredis' reader has loose types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final, cast

import hiredis
import structlog

from recsys.errors import StoreError
from recsys.store.address import Endpoint
from recsys.store.resp import Argument, Command, encode_commands

Reply = Any
Resolve = Callable[[], Awaitable[Endpoint]]
"""Returns the server to connect to, each time a connection is opened."""

SILENT_TIMEOUTS: Final = 2
"""Timeouts without any reply after which no command is sent until a probe has been answered."""
PROBE_SECONDS: Final = 0.1
TICKS_PER_TIMEOUT: Final = 4
MAX_TICKS: Final = 2
"""Ticks that the time between two ticks counts for at most."""
GRACE_SECONDS: Final = 0.001
CONNECT_SECONDS: Final = 2.0
MAX_SILENCE_SECONDS: Final = 1.0
"""A connection on which a reply is overdue for longer is closed: it may be half open."""
SERVER_ERRORS: Final = (
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "READONLY",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "MISCONF",
)
"""First words of error replies that are about the server, not about the command."""

log = structlog.get_logger()


class RedisUnavailableError(StoreError):
    """Redis did not answer in time, or is known to be unavailable."""


@dataclass(slots=True)
class _Batch:
    """Commands sent together for one caller, and the replies received so far."""

    future: asyncio.Future[list[Reply]] | None
    count: int
    deadline: float
    """By the connection's own clock; infinite before the commands are sent."""
    replies: list[Reply]


class PipelinedConnection(asyncio.Protocol):
    """A connection that reopens itself, and fails fast while it is closed.

    `send` may be called at any time from the event loop; its future fails with `RedisUnavailableError` at the
    latest after `timeout` seconds. Replies are bytes, integers, lists, None, or an error for a refused command.
    """

    def __init__(self, resolve: Resolve, timeout: float) -> None:
        """Start to connect in the background to the server that `resolve` returns."""
        self._resolve = resolve
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._outgoing: list[bytes] = []
        self._batches: deque[_Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._tick_seconds = timeout / TICKS_PER_TIMEOUT
        self._ticked_at = 0.0
        self._waited = 0.0
        """Seconds spent waiting for replies, up to the last tick."""
        self._heard_at = 0.0
        """`_waited` at the last reply."""
        self._is_flush_scheduled = False
        self._available = False
        self._reason = "not connected yet"
        self._closed = False
        self._is_outage_logged = False
        self._lost = asyncio.Event()
        self.outages: int = 0
        """Number of times the server became unavailable."""
        self._keeper = self._loop.create_task(self._keep_open())
        self.ready = asyncio.Event()

    @property
    def available(self) -> bool:
        """Return whether the server is believed to answer."""
        return self._available

    @property
    def reason(self) -> str:
        """Return why the server is unavailable."""
        return self._reason

    def send(self, encoded: bytes, count: int) -> asyncio.Future[list[Reply]]:
        """Send `count` encoded commands with the others of this turn of the event loop; return their replies."""
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if not self._available:
            future.set_exception(RedisUnavailableError(f"Redis: {self._reason}"))
            return future
        self._queue(encoded, count, future)
        return future

    async def execute(self, *command: Argument) -> Reply:
        """Return the reply to one command; raises `StoreError` if it is refused."""
        (reply,) = await self.send(encode_commands(command), 1)
        if isinstance(reply, Exception):
            raise StoreError(f"Redis: {reply}")
        return reply

    async def close(self) -> None:
        """Close the connection; commands without a reply fail."""
        self._closed = True
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        self._available, self._reason = False, "closed"
        if self._transport is not None:
            self._transport.abort()
        self._fail_all("closed")

    def reset(self, reason: str) -> None:
        """Reconnect: the connection may lead to the wrong server, or its replies be out of step."""
        self._mark_unavailable(reason)
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with a new reader: nothing has been received on this connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._reader = hiredis.Reader()

    def data_received(self, data: bytes) -> None:
        """Hand replies to the callers, in the order in which their commands were sent."""
        reader, batches = self._reader, self._batches
        self._heard_at = self._waited
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if not batches:
                    raise hiredis.ProtocolError("a reply without a command")
                first = batches[0]
                first.replies.append(reply)
                if len(first.replies) == first.count:
                    batches.popleft()
                    self._complete(first)
        except hiredis.ProtocolError as error:
            log.error("invalid reply of Redis", error=str(error))
            self.reset("invalid reply")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every command without a reply."""
        self._transport = None
        self._mark_unavailable("connection lost" if exc is None else f"connection lost: {exc}")
        self._fail_all(self._reason)
        self._lost.set()

    # Sending.

    def _queue(self, encoded: bytes, count: int, future: asyncio.Future[list[Reply]]) -> None:
        self._outgoing.append(encoded)
        self._batches.append(_Batch(future, count, inf, []))
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_scheduled = False
        if self._transport is None:
            # The connection was lost in this very turn: no reply must be taken for one to these.
            self._fail_all(self._reason)
            return
        outgoing = self._outgoing
        self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        outgoing.clear()
        if self._timer is None:
            self._ticked_at = self._loop.time()
            self._timer = self._loop.call_later(self._tick_seconds, self._tick)
        deadline = self._waited + self._since_tick() + self._timeout
        for batch in reversed(self._batches):
            if batch.deadline < inf:
                break
            batch.deadline = deadline

    def _complete(self, batch: _Batch) -> None:
        future = batch.future
        if future is None or future.done():
            return
        for reply in batch.replies:
            if isinstance(reply, Exception) and str(reply).startswith(SERVER_ERRORS):
                self._handle_server_error(str(reply))
                future.set_exception(RedisUnavailableError(f"Redis: {reply}"))
                return
        if self._is_outage_logged and self._available:
            # Logged for a caller's commands, not for a probe: a server may answer PING and nothing else.
            self._is_outage_logged = False
            log.info("Redis is available again")
        future.set_result(batch.replies)

    def _since_tick(self) -> float:
        return min(self._loop.time() - self._ticked_at, MAX_TICKS * self._tick_seconds)

    def _tick(self) -> None:
        """Advance the clock; what is overdue fails after a grace period, in which arrived replies are read."""
        self._waited += self._since_tick()
        self._ticked_at = self._loop.time()
        if self._batches and self._batches[0].deadline <= self._waited:
            self._timer = self._loop.call_later(GRACE_SECONDS, self._expire)
        else:
            self._continue_ticking()

    def _continue_ticking(self) -> None:
        waits = bool(self._batches)
        self._timer = self._loop.call_later(self._tick_seconds, self._tick) if waits else None

    def _expire(self) -> None:
        """Fail what is overdue."""
        for batch in self._batches:
            if batch.deadline > self._waited:
                break
            if batch.future is not None:
                future, batch.future = batch.future, None
                if not future.done():
                    problem = f"Redis: no answer within {self._timeout * 1e3:g} ms"
                    future.set_exception(RedisUnavailableError(problem))
        if self._waited - self._heard_at > SILENT_TIMEOUTS * self._timeout:
            self._mark_unavailable("no answer in time")
        if self._batches and self._waited - self._batches[0].deadline > MAX_SILENCE_SECONDS:
            self.reset("no answer for long")
        self._continue_ticking()

    # The state of the server.

    def _handle_server_error(self, reason: str) -> None:
        """Mark the server unavailable; a read-only one has been demoted, so that the primary is looked up again."""
        if reason.startswith("READONLY"):
            self.reset(reason)
        else:
            self._mark_unavailable(reason)

    def _mark_unavailable(self, reason: str) -> None:
        self._reason = reason
        if self._available:
            self._available = False
            self.ready.clear()
            self.outages += 1
        if not self._closed and not self._is_outage_logged:
            self._is_outage_logged = True
            log.warning("Redis is unavailable", reason=reason)

    def _mark_available(self) -> None:
        if not self._available:
            self._available = True
            self.ready.set()

    def _fail_all(self, reason: str) -> None:
        pending, self._batches = self._batches, deque()
        self._outgoing.clear()
        for batch in pending:
            if batch.future is not None and not batch.future.done():
                batch.future.set_exception(RedisUnavailableError(f"Redis: {reason}"))

    # Keeping it open.

    async def _keep_open(self) -> None:
        """Connect again whenever the connection is lost, and probe the server while it is unavailable."""
        while not self._closed:
            if self._transport is None and not await self._connect():
                await asyncio.sleep(PROBE_SECONDS)
                continue
            if not self._available and await self._probe():
                self._mark_available()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), PROBE_SECONDS)

    async def _connect(self) -> bool:
        self._lost.clear()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                endpoint = await self._resolve()
                if endpoint.path:
                    await self._loop.create_unix_connection(lambda: self, endpoint.path)
                else:
                    await self._loop.create_connection(lambda: self, endpoint.host, endpoint.port, ssl=endpoint.tls)
                await self._log_in(endpoint)
        except (TimeoutError, OSError, StoreError) as error:
            problem = "it took too long" if isinstance(error, TimeoutError) else str(error)
            self._mark_unavailable(f"cannot be connected to: {problem}")
            if self._transport is not None:
                self._transport.abort()
                self._transport = None
            return False
        return True

    async def _log_in(self, endpoint: Endpoint) -> None:
        """Authenticate and select the database; raises `StoreError` if the server refuses."""
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
            raise StoreError("the server there is not Redis")

    async def _probe(self) -> bool:
        """Return whether a PING is answered in time."""
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._queue(encode_commands(("PING",)), 1, future)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                (reply,) = await future
        except (TimeoutError, StoreError):
            return False
        return reply == b"PONG"
