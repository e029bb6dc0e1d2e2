"""Bytes in bulk to and from Redis: connections on which sending never waits for replies to be read."""

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
# Notices of a server's maintenance come between replies, in RESP3 only; these connections ask for RESP2.
MAINTENANCE: Final = ("maint_", "orig_", "oss_")


class Channel:
    """One server's connection for bytes in bulk, made and authenticated as those of its client are."""

    def __init__(self, client: redis.Redis) -> None:
        pool: Any = client.connection_pool
        options: dict[str, Any] = {
            name: value for name, value in pool.connection_kwargs.items() if not name.startswith(MAINTENANCE)
        }
        self._connection = pool.connection_class(**(options | {"protocol": 2}))
        self._connection.connect()
        self._socket: socket.socket = self._connection._sock
        self.patience: float | None = self._socket.gettimeout()
        self._socket.setblocking(False)
        self.outgoing: deque[memoryview] = deque()
        self.incoming = bytearray()

    def close(self) -> None:
        """End the connection, whatever is still on its way."""
        self._connection.disconnect()

    def fileno(self) -> int:
        """The socket's number, for selectors."""
        return self._socket.fileno()

    def send(self, data: Any) -> None:
        """Queue bytes; `transfer` moves them."""
        self.outgoing.append(memoryview(data).cast("B"))

    def write(self) -> None:
        """Send what the socket takes now."""
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
        """Take what has come; whether anything has."""
        found = False
        while True:
            try:
                data = self._socket.recv(READ_BYTES)
            except WAITING:
                return found
            if not data:
                raise redis.ConnectionError("the server has closed the connection")
            self.incoming += data
            found = True


def transfer(channels: Iterable[Channel], done: Callable[[Channel], bool]) -> None:
    """Send and read on all channels at once until each is done; `done` looks at what came and takes it away.

    Raises redis-py's `TimeoutError` when nothing moves for as long as one command may take, and
    `ConnectionError` when a server is gone.
    """
    waiting = {channel for channel in channels if not done(channel)}
    with selectors.DefaultSelector() as selector:
        for channel in waiting:
            selector.register(channel, _interest(channel))
        while waiting:
            patience = next(iter(waiting)).patience
            ready = selector.select(patience)
            if not ready:
                raise redis.TimeoutError(f"no answer in {patience:g} seconds")
            for key, events in ready:
                channel: Any = key.fileobj
                with _socket_errors():
                    if events & selectors.EVENT_WRITE:
                        channel.write()
                    # Also where nothing was announced: TLS may have read ahead.
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
    """A 64-bit hash of every key of one server that matches, some keys perhaps twice, a SCAN at a time."""
    channel = Channel(client)
    try:
        cursor = b"0"
        while True:
            channel.send(encode_commands(("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_KEYS)))
            transfer([channel], lambda channel: _scanned(channel.incoming) is not None)
            scanned = _scanned(channel.incoming)
            assert scanned is not None
            cursor, hashes = scanned
            channel.incoming.clear()
            yield hashes
            if cursor == b"0":
                return
    finally:
        channel.close()


def _scanned(reply: bytearray) -> tuple[bytes, NDArray[np.uint64]] | None:
    """Cursor and key hashes of a SCAN's reply; None while it is not all there."""
    if reply.startswith(b"-") and reply.endswith(b"\r\n"):
        raise redis.ResponseError(reply[1:-2].decode(errors="replace"))
    lines = reply.split(b"\r\n", 4)
    if len(lines) < 5:
        return None
    hashes = np.empty(int(lines[3][1:]), np.uint64)
    start = sum(len(line) + 2 for line in lines[:4])
    end = hash_keys(np.frombuffer(bytes(reply), np.uint8), start, len(hashes), hashes)
    return None if end < 0 else (bytes(lines[2]), hashes)
