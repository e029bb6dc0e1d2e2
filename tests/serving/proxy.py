"""A TCP proxy between a program and a server, with faults to switch on."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from typing import Any

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, and what is under way is dropped


class Proxy:
    """Passes on what comes to `port`; its methods may be called from any thread."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._latency_seconds = 0.0
        self._silent = False
        self._bytes_until_cut: int | None = None
        self.port = 0
        """Where it listens."""

    def start(self) -> None:
        """Listen, at the same port every time."""
        if not self._thread.is_alive():
            self._thread.start()
        self._run(self._listen)

    def stop(self) -> None:
        """Refuse connections, and reset those that there are: the server is away."""
        self._run(self._refuse)

    def close(self) -> None:
        """End all of it."""
        self._run(self._refuse)
        self._run(self._finish)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def slow_down(self, seconds: float) -> None:
        """Hold every reply back for so long."""
        self._latency_seconds = seconds

    def swallow(self) -> None:
        """Accept connections and all that is sent, and answer nothing: half open."""
        self._silent = True

    def reset(self) -> None:
        """Reset the connections that there are; new ones are accepted."""
        self._run(self._reset)

    def cut(self, after_bytes: int) -> None:
        """Close the connection that has the next reply after so many bytes of it, and every one that follows."""
        self._bytes_until_cut = after_bytes

    def heal(self) -> None:
        """All is well again; connections on which a reply was swallowed are reset."""
        silent, self._silent = self._silent, False
        self._latency_seconds, self._bytes_until_cut = 0.0, None
        if silent:
            self.reset()
        self.start()

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, HOST, self.port)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _reset(self) -> None:
        for writer in self._writers:
            connection: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        self._writers.clear()

    async def _finish(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream = await asyncio.open_connection(HOST, self._upstream_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, upstream}
        for work in (self._pass_on(reader, upstream), self._answer(upstream_reader, writer)):
            task = self._loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if not self._silent:
                    upstream.write(data)
        upstream.transport.abort()

    async def _answer(self, upstream_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await upstream_reader.read(CHUNK_BYTES):
                if self._silent:
                    continue
                if self._bytes_until_cut is not None:
                    writer.write(data[: self._bytes_until_cut])
                    await writer.drain()
                    break
                await asyncio.sleep(self._latency_seconds)
                writer.write(data)
        writer.close()


@contextmanager
def proxied(upstream_port: int) -> Generator[Proxy]:
    """A proxy before the server at a port."""
    proxy = Proxy(upstream_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
