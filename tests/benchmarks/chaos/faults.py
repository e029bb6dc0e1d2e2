"""The processes of a shop, and faults of them: some are killed, some paused, some find the disk full."""

import asyncio
import os
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from recsys.store.embedded import server_status, start_server
from tests.serving.processes import worker_ids

HOST: Final = "127.0.0.1"
RECOVERY_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = (0.3, 1.5)
FULL_DISK_BYTES: Final = 600
"""The maximum size of a file for a command that finds the disk full: every Parquet file is longer."""
RECSYS: Final = (sys.executable, "-m", "jobs.cli.app")
FAKETIME: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""The library by which the clock of a process jumps, from the Debian package faketime; None without it."""
JUMP_SECONDS: Final = (-200.0, 200.0)
"""Jumps of the server's clock: an event with a time of its own may be 5 minutes ahead."""
PUBLISHER: Final = (sys.executable, "-m", "tests.benchmarks.chaos.publisher")


@dataclass
class Shop:
    """The processes of a shop under `directory`; those that end are started again, as a service manager does."""

    directory: Path
    port: int
    workers: int
    redis_port: int = 0
    server: subprocess.Popen[bytes] | None = None
    publisher: subprocess.Popen[bytes] | None = None
    archive: subprocess.Popen[bytes] | None = None
    mistakes: list[str] = field(default_factory=list[str])
    """What a command did that it should not."""

    @property
    def clock(self) -> Path:
        """File with the seconds that the server's clock is ahead."""
        return self.directory / "clock"

    @property
    def valkey(self) -> Path:
        """Directory of the server of Redis."""
        return self.directory / "var" / "valkey"

    def set_clock(self, seconds: float) -> None:
        """Let the server's clock be ahead, or behind."""
        written = self.clock.with_suffix(".new")
        written.write_text(f"{seconds:+.3f}s\n")
        written.rename(self.clock)

    def recsys(self, *arguments: str, max_bytes: int | None = None) -> subprocess.Popen[bytes]:
        """Start a command; with `max_bytes`, no file that it writes may be longer."""
        command = [*RECSYS, "--config", str(self.directory / "shop.toml"), *arguments]
        limit = None if max_bytes is None else partial(_limit_files, max_bytes)
        # Python does not notice that a compiled module was cut off.
        environment = os.environ | ({} if limit is None else {"PYTHONDONTWRITEBYTECODE": "1"})
        if arguments == ("serve",) and FAKETIME is not None:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        with (self.directory / f"{arguments[0]}.log").open("ab") as log:
            error = log if limit is None else subprocess.PIPE
            return subprocess.Popen(command, stdout=log, stderr=error, env=environment, preexec_fn=limit)

    def is_port_open(self) -> bool:
        """Return whether anyone listens at the server's port."""
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    async def start_redis(self) -> None:
        """Start Redis unless it runs, and wait for it."""
        self.redis_port = (await asyncio.to_thread(start_server, self.valkey)).port

    async def keep_serving(self) -> None:
        """Start the server whenever it has ended."""
        while True:
            if self.server is None or self.server.poll() is not None:
                self.server = self.recsys("serve")
            await asyncio.sleep(0.1)

    async def keep_publishing(self) -> None:
        """Start the publisher whenever it has ended."""
        while True:
            if self.publisher is None or self.publisher.poll() is not None:
                arguments = [str(self.redis_port), str(self.directory / "lists")]
                with (self.directory / "publisher.log").open("ab") as log:
                    self.publisher = subprocess.Popen([*PUBLISHER, *arguments], stdout=log, stderr=log)
            await asyncio.sleep(0.5)

    async def keep_archiving(self) -> None:
        """Archive again and again."""
        while True:
            self.archive = self.recsys("archive")
            await ended(self.archive)
            await asyncio.sleep(0.5)

    def kill_all(self) -> None:
        """End every process of the shop."""
        workers = [] if self.server is None or self.server.poll() is not None else worker_ids(self.server.pid)
        for process in (self.server, self.publisher, self.archive):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        for worker in workers:
            _send(worker, signal.SIGKILL)


Fault = Callable[[Shop, random.Random], Coroutine[Any, Any, None]]


async def kill_worker(shop: Shop, chance: random.Random) -> None:
    """Kill one of the workers."""
    _send(chance.choice(_workers(shop)), signal.SIGKILL)


async def pause_worker(shop: Shop, chance: random.Random) -> None:
    """Stop one of the workers for a while."""
    await _pause(chance.choice(_workers(shop)), chance)


async def kill_server(shop: Shop, chance: random.Random) -> None:
    """Kill the server's own process, whose workers then end."""
    del chance
    assert shop.server is not None
    shop.server.kill()
    await ended(shop.server)
    await until(lambda: is_ready(shop))


async def kill_redis(shop: Shop, chance: random.Random) -> None:
    """Kill Redis, and start it again."""
    del chance
    _send(_redis_id(shop), signal.SIGKILL)
    await asyncio.sleep(0.1)
    await shop.start_redis()


async def pause_redis(shop: Shop, chance: random.Random) -> None:
    """Stop Redis for a while."""
    await _pause(_redis_id(shop), chance)


async def kill_archive(shop: Shop, chance: random.Random) -> None:
    """Kill the archive at some moment of its work."""
    await asyncio.sleep(chance.uniform(0, 1))
    if shop.archive is not None and shop.archive.poll() is None:
        shop.archive.kill()


async def fill_disk(shop: Shop, chance: random.Random) -> None:
    """Archive while no file can be written: one line, status 2."""
    del chance
    process = shop.recsys("archive", max_bytes=FULL_DISK_BYTES)
    _, error = await asyncio.to_thread(process.communicate)
    lines = error.decode().splitlines()
    if (process.returncode, len(lines)) not in ((0, 0), (2, 1)):
        shop.mistakes.append(f"archive on a full disk: status {process.returncode}, {error.decode()[-500:]}")


async def kill_publisher(shop: Shop, chance: random.Random) -> None:
    """Kill the publisher at some moment of its work."""
    await asyncio.sleep(chance.uniform(0, 0.5))
    if shop.publisher is not None and shop.publisher.poll() is None:
        shop.publisher.kill()


async def pause_publisher(shop: Shop, chance: random.Random) -> None:
    """Stop the publisher for a while."""
    if shop.publisher is not None and shop.publisher.poll() is None:
        await _pause(shop.publisher.pid, chance)


async def jump_clock(shop: Shop, chance: random.Random) -> None:
    """Let the server's clock jump, and jump back."""
    shop.set_clock(chance.uniform(*JUMP_SECONDS))
    await asyncio.sleep(chance.uniform(2, 4))  # the clock's file is read once a second
    shop.set_clock(0)
    await asyncio.sleep(1)


FAULTS: Final[dict[str, Fault]] = {
    "a worker is killed": kill_worker,
    "a worker is paused": pause_worker,
    "the server is killed": kill_server,
    "Redis is killed": kill_redis,
    "Redis is paused": pause_redis,
    "an archive is killed": kill_archive,
    "an archive finds the disk full": fill_disk,
    "a publisher is killed": kill_publisher,
    "a publisher is paused": pause_publisher,
    **({} if FAKETIME is None else {"the server's clock jumps": jump_clock}),
}


def is_ready(shop: Shop) -> bool:
    """Return whether the server runs with all of its workers."""
    if shop.server is None or shop.server.poll() is not None or not shop.is_port_open():
        return False
    return len(worker_ids(shop.server.pid)) == shop.workers


def _workers(shop: Shop) -> list[int]:
    assert shop.server is not None
    return worker_ids(shop.server.pid)


def _redis_id(shop: Shop) -> int:
    status = server_status(shop.valkey)
    assert status is not None
    return status.process_id


async def _pause(process_id: int, chance: random.Random) -> None:
    _send(process_id, signal.SIGSTOP)
    try:
        await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
    finally:
        _send(process_id, signal.SIGCONT)


def _send(process_id: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, number)


async def ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended."""
    while process.poll() is None:
        await asyncio.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


def _limit_files(max_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
