"""`recsys serve` as a user starts it, for tests that need real processes."""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.commands import RECSYS

START_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """A running `recsys serve`."""

    process: subprocess.Popen[str]
    http: httpx.Client
    log: Path
    directory: Path

    def user(self, user_id: str, n: int = 20) -> httpx.Response:
        """Recommendations for a user."""
        return self.http.get(f"/v1/recommendations/{user_id}", params={"n": n})

    def items(self, user_id: str, n: int = 20) -> list[str]:
        """The ids recommended to a user."""
        response = self.user(user_id, n)
        assert response.status_code == 200, response.text
        return [item["item_id"] for item in response.json()["items"]]

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return worker_ids(self.process.pid)

    def kill_workers(self, count: int | None = None) -> None:
        """SIGKILL so many workers, or every one; the server starts others."""
        for worker in self.workers()[:count]:
            os.kill(worker, signal.SIGKILL)


def worker_ids(server_id: int) -> list[int]:
    """Return the process ids of a server's workers; its other child is the resource tracker of Python."""
    children = Path(f"/proc/{server_id}/task/{server_id}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def serving(
    work: Path,
    settings: str,
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    certificate: Path | None = None,
) -> Generator[Served]:
    """`recsys serve` in the directory `work/cwd`, with the text of a settings file, JSON logs and a free port.

    `settings` may name sections; `directory` is `work/var` and the port is given. Requests use HTTPS where there
    is a `certificate`, the only one trusted. The server is stopped at the end.
    """
    port = free_port()
    cwd = work / "cwd"
    cwd.mkdir(parents=True, exist_ok=True)
    file = work / "shop.toml"
    file.write_text(f'directory = "{work / "var"}"\nlog_format = "json"\n{settings}\n')
    log = work / "serve.log"
    with (
        log.open("a") as output,
        subprocess.Popen(
            [RECSYS, "--config", str(file), "serve", "--port", str(port), *arguments],
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=output,
            text=True,
        ) as process,
        httpx.Client(
            base_url=f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}",
            verify=False if certificate is None else ssl.create_default_context(cafile=certificate),
            timeout=10,
        ) as http,
    ):
        try:
            _wait_for(http, process, log)
            yield Served(process, http, log, work / "var")
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(http: httpx.Client, process: subprocess.Popen[str], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        assert process.poll() is None, f"the server has ended: {log.read_text()}"
        try:
            if http.get("/live").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"no answer within {START_SECONDS} s: {log.read_text()}")
