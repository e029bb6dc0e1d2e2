"""Bulk transfer to and from Redis, on connections where sending does not wait for replies."""

# redis-py leaves **kwargs without a type and keeps a connection's socket to itself.
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import redis
from numpy.typing import NDArray

from recsys.store.publish.list_commands import hash_keys
from recsys.store.resp import encode_commands

READ_BYTES: Final = 1 << 18
SCAN_KEYS: Final = 1_000
WAITING: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Maintenance notifications are sent between replies, in RESP3 only; these connections use RESP2.
MAINTENANCE: Final = ("maint_", "orig_", "oss_")


class Channel:
    """A non-blocking connection to one server, opened and authenticated like those of its client."""

    def __init__(self, client: redis.Redis) -> None:
        """Connect to the server of a client."""
        pool: Any = client.connection_pool
        options: dict[str, Any] = {
            name: value for name, value in pool.connection_kwargs.items() if not name.startswith(MAINTENANCE)
        }
        self._connection = pool.connection_class(**(options | {"protocol": 2}))
        self._connection.connect()
        self._socket: socket.socket = self._connection._sock
        self.timeout: float | None = self._socket.gettimeout()
        self._socket.setblocking(False)
        self.outgoing: deque[memoryview] = deque()
        self.incoming = bytearray()

    def close(self) -> None:
        """Close the connection, even if a transfer is not finished."""
        self._connection.disconnect()

    def fileno(self) -> int:
        """Return the file descriptor of the socket, for selectors."""
        return self._socket.fileno()

    def send(self, data: Any) -> None:
        """Queue bytes, which `transfer` sends."""
        self.outgoing.append(memoryview(data).cast("B"))

    def write(self) -> None:
        """Send as much as the socket accepts now."""
        while self.outgoing:
            try:
                sent = self._socket.send(self.outgoing[0][:READ_BYTES])
            except WAITING:
                return
            rest = self.outgoing[0][sent:]
            if rest:
                self.outgoing[0] = rest
            else:
                self.outgoing.popleft()

    def read(self) -> bool:
        """Read everything that has been received; return whether anything has."""
        received = False
        while True:
            try:
                data = self._socket.recv(READ_BYTES)
            except WAITING:
                return received
            if not data:
                raise redis.ConnectionError("the server has closed the connection")
            self.incoming += data
            received = True


def transfer(channels: Iterable[Channel], done: Callable[[Channel], bool]) -> None:
    """Send and read on all channels at once until each is done; `done` consumes what a channel has received.

    Raises redis-py's `TimeoutError` if nothing is sent or received for the timeout of one command, and
    `ConnectionError` if a connection is lost.
    """
    waiting = {channel for channel in channels if not done(channel)}
    with selectors.DefaultSelector() as selector:
        for channel in waiting:
            selector.register(channel, _interest(channel))
        while waiting:
            timeout = next(iter(waiting)).timeout
            ready = selector.select(timeout)
            if not ready:
                raise redis.TimeoutError(f"no answer in {timeout:g} seconds")
            for key, events in ready:
                channel: Any = key.fileobj
                with _socket_errors():
                    if events & selectors.EVENT_WRITE:
                        channel.write()
                    # Even if the socket is not readable: TLS may have read ahead.
                    channel.read()
                if done(channel):
                    selector.unregister(channel)
                    waiting.remove(channel)
                else:
                    selector.modify(channel, _interest(channel))


def _interest(channel: Channel) -> int:
    return selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.outgoing else 0)


@contextmanager
def _socket_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise redis.ConnectionError(error.strerror or str(error)) from None


def key_hashes(client: redis.Redis, pattern: str) -> Iterator[NDArray[np.uint64]]:
    """Yield 64-bit hashes of the keys of one server that match, one array per SCAN, some keys perhaps twice."""
    channel = Channel(client)
    try:
        cursor = b"0"
        while True:
            channel.send(encode_commands(("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_KEYS)))
            transfer([channel], lambda channel: _parse_scan(channel.incoming) is not None)
            parsed = _parse_scan(channel.incoming)
            assert parsed is not None
            cursor, hashes = parsed
            channel.incoming.clear()
            yield hashes
            if cursor == b"0":
                return
    finally:
        channel.close()


def _parse_scan(reply: bytearray) -> tuple[bytes, NDArray[np.uint64]] | None:
    """Return cursor and key hashes of a SCAN reply; None while it is incomplete."""
    if reply.startswith(b"-") and reply.endswith(b"\r\n"):
        raise redis.ResponseError(reply[1:-2].decode(errors="replace"))
    lines = reply.split(b"\r\n", 4)
    if len(lines) < 5:
        return None
    hashes = np.empty(int(lines[3][1:]), np.uint64)
    start = sum(len(line) + 2 for line in lines[:4])
    end = hash_keys(np.frombuffer(bytes(reply), np.uint8), start, len(hashes), hashes)
    return None if end < 0 else (bytes(lines[2]), hashes)
