"""The embedded Valkey under watch: killed, stopped, and one that does not start."""

import os
import signal
import socket
from pathlib import Path

from recsys.store.embedded import has_ended, server_status, start_server, stop_server
from recsys.store.embedded_watch import keep_running
from tests.waiting import wait_until


def kill(directory: Path) -> None:
    status = server_status(directory)
    assert status is not None
    os.kill(status.process_id, signal.SIGKILL)
    wait_until(lambda: has_ended(directory))


def watch(directory: Path, waits: int) -> list[float]:
    """Watch a server for a number of waits, none of which takes any time; return their seconds."""
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == waits

    keep_running(directory, wait)
    return waited


def test_a_server_that_is_killed_is_started_again_and_one_that_is_stopped_is_not(server_directory: Path) -> None:
    watch(server_directory, 2)
    assert server_status(server_directory) is None  # it was never started
    address = start_server(server_directory)
    kill(server_directory)
    watch(server_directory, 4)
    status = server_status(server_directory)
    assert status is not None
    assert status.address == address
    kill(server_directory)
    assert not stop_server(server_directory)  # not to be started again
    watch(server_directory, 4)
    assert server_status(server_directory) is None
    start_server(server_directory)
    stop_server(server_directory)
    watch(server_directory, 4)
    assert server_status(server_directory) is None


def test_pauses_grow_while_it_does_not_start(server_directory: Path) -> None:
    address = start_server(server_directory)
    kill(server_directory)
    with socket.create_server((address.host, address.port)):
        waited = watch(server_directory, 6)
    assert waited == [1, 1, 1, 2, 1, 4]
    assert server_status(server_directory) is None
