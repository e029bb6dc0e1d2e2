"""The server's own process, when it fails."""

import multiprocessing
import threading
import time

import pytest

from serving.http.server import serve_until_stopped


class _FailingServer:
    """A server that fails after it has started a worker, for which a thread waits as granian's do."""

    def __init__(self) -> None:
        self.worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
        self.watcher = threading.Thread(target=self.worker.join, daemon=True)

    def serve(self, *, target_loader: object) -> None:
        del target_loader
        self.worker.start()
        self.watcher.start()
        raise OSError("Invalid argument")


def test_workers_of_a_server_that_fails_end_with_it() -> None:
    server = _FailingServer()
    with pytest.raises(OSError, match="Invalid argument"):
        serve_until_stopped(server)
    server.watcher.join(10)
    assert not server.watcher.is_alive()
    assert not server.worker.is_alive()
