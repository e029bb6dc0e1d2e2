"""`recsys serve` as a user starts it: real processes, a real Valkey."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from recsys.store.server import server_status, start_server, stop_server
from tests.commands import RECSYS, run_recsys
from tests.serving.conftest import Publish

START_SECONDS = 60


@dataclass(frozen=True)
class Served:
    """A running `recsys serve`."""

    process: subprocess.Popen[str]
    http: httpx.Client
    log: Path

    def user(self, user_id: str, n: int = 20) -> httpx.Response:
        return self.http.get(f"/v1/recommendations/{user_id}", params={"n": n})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_for(http: httpx.Client, process: subprocess.Popen[str]) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        assert process.poll() is None, "the server has ended"
        try:
            if http.get("/live").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"no answer within {START_SECONDS} s")


@pytest.fixture
def served(tmp_path: Path, server_directory: Path) -> Iterator[Served]:
    """`recsys serve` on the embedded server, with settings from a file that is not where it is started.

    It is started in a directory with packages of its own, named as ours are.
    """
    port = free_port()
    settings = tmp_path / "shop.toml"
    settings.write_text(
        f'directory = "{server_directory.parent}"\nlog_format = "json"\n'
        f'[redis]\nnamespace = "shop"\ntimeout_seconds = 5\n[serving]\nport = {port}\n'
    )
    work = tmp_path / "work"
    for package in ("serving", "recsys", "granian"):
        (work / package).mkdir(parents=True)
        (work / package / "__init__.py").write_text("raise SystemExit('not this one')\n")
    log = tmp_path / "serve.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [RECSYS, "--config", str(settings), "serve"], cwd=work, stdout=output, stderr=output, text=True
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        try:
            wait_for(http, process)
            yield Served(process, http, log)
        finally:
            process.terminate()


def test_lists_are_served_while_redis_comes_and_goes_until_it_is_told_to_stop(
    served: Served, server_directory: Path, publish_lists: Publish
) -> None:
    assert served.user("7").status_code == 503
    assert "no version is live" in served.user("7").json()["error"]

    publish_lists("20180101T000000Z", "a", ("7", "a/b"), namespace="shop")
    assert served.user("7", 1).json()["items"] == [{"item_id": "a1", "rank": 1}]
    assert served.user("a%2Fb").json()["user_id"] == "a/b"
    assert served.user("nobody").json()["source"] == "popular"
    assert served.http.get("/v1/recommendations/").json()["field"] == "user_id"

    stop_server(server_directory)
    started = time.monotonic()
    missed = served.user("user-77")
    assert time.monotonic() - started < 5 + 1
    assert (missed.status_code, missed.json()["error"]) == (503, "Redis does not answer")
    assert served.http.get("/live").status_code == 200
    start_server(server_directory)
    assert served.user("7").status_code == 200

    in_use = run_recsys(
        server_directory, server_directory.parent, "serve", "--port", str(served.http.base_url.port)
    )
    assert (in_use.returncode, in_use.stdout) == (2, "")
    assert in_use.stderr.startswith("recsys: cannot listen on 127.0.0.1, port ")
    assert in_use.stderr.count("\n") == 1

    stop_while_a_request_is_under_way(served, server_directory)
    log = served.log.read_text()
    assert "Serving at http://127.0.0.1:" in log
    assert '"event": "requests without an answer"' in log
    assert "user-77" not in log
    assert "Traceback" not in log


def stop_while_a_request_is_under_way(served: Served, server_directory: Path) -> None:
    status = server_status(server_directory)
    assert status is not None
    with redis.Redis(port=status.address.port) as client, ThreadPoolExecutor(1) as pool:
        client.client_pause(3_000)
        under_way = pool.submit(served.user, "7")
        time.sleep(1)
        served.process.terminate()
        assert under_way.result().status_code == 200
    assert served.process.wait(20) == 0
    with pytest.raises(httpx.ConnectError):
        served.http.get("/live")


def test_no_answer_mixes_versions_while_lists_are_published(served: Served, publish_lists: Publish) -> None:
    publish_lists("20180101T000000Z", "a", namespace="shop")
    going = True

    def ask(user_id: str) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        with httpx.Client(base_url=served.http.base_url) as http:
            while going:
                response = http.get(f"/v1/recommendations/{user_id}")
                assert response.status_code == 200, response.text
                answers.append(response.json())
        return answers

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, user_id) for user_id in ("7", "nobody", "7", "nobody")]
        try:
            for day in range(2, 12):
                publish_lists(f"201801{day:02}T000000Z", chr(ord("a") + day - 1), namespace="shop")
                time.sleep(0.05)
        finally:
            going = False
        answers = [answer for each in asking for answer in each.result()]

    letters = {f"201801{day:02}T000000Z": chr(ord("a") + day - 1) for day in range(1, 12)}
    assert len({answer["version"] for answer in answers}) > 5
    for answer in answers:
        begins = letters[answer["version"]] + ("" if answer["user_id"] == "7" else "p")
        assert answer["source"] == ("personal" if answer["user_id"] == "7" else "popular")
        assert [item["item_id"] for item in answer["items"]] == [f"{begins}{rank}" for rank in range(1, 21)]


def test_a_worker_is_light(tmp_path: Path) -> None:
    """What answers requests loads nothing that trains."""
    heavy = ("torch", "implicit", "scipy", "numba", "pyarrow", "matplotlib", "recsys.models", "features", "jobs")
    code = f"import serving.app, sys; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run(
        [str(Path(RECSYS).with_name("python")), "-c", code],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == "[]\n"
