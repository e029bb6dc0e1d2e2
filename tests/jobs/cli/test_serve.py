import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.server_process import exec_server
from recsys.api_key_file import KeyFile
from recsys.api_keys import ApiKeys, create_key
from recsys.errors import RecsysError
from recsys.settings import Redis, Serving, Settings
from recsys.store.embedded import server_status, stop_server
from recsys.store.embedded_watch import DIRECTORY_VARIABLE

ANY = ("*",)


class BecomeError(Exception):
    """Stands for the program that would take this process' place: what it is and its environment."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with a free port; the process stays what it is."""

    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        assert program == command[0] == sys.executable
        raise BecomeError(command[1:], environment)

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setenv("RECSYS_REDIS_NAMESPACE", "shop")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield Settings(directory=tmp_path / "var", serving=Serving(port=port, workers=3))
    stop_server(tmp_path / "var" / "valkey")


def environment_of(settings: Settings, url: str, watched: str = "") -> dict[str, str]:
    """The environment of the program without a settings file; `watched` is the embedded server's directory."""
    return {
        **os.environ,
        "RECSYS_DIRECTORY": str(settings.directory),
        "RECSYS_REDIS_URL": url,
        "RECSYS_SERVING_HOST": "127.0.0.1",
        "RECSYS_SERVING_PORT": str(settings.serving.port),
        "RECSYS_SERVING_WORKERS": "3",
        DIRECTORY_VARIABLE: watched,
    }


def test_without_a_url_the_program_gets_the_address_of_the_embedded_server(settings: Settings) -> None:
    with pytest.raises(BecomeError) as became:
        exec_server(settings, Path("shop.toml"))
    command, environment = became.value.args
    assert command == ["-P", "-m", "serving"]
    directory = settings.directory / "valkey"
    status = server_status(directory)
    assert status is not None
    assert environment == {
        **environment_of(settings, f"redis://127.0.0.1:{status.address.port}/0", str(directory.resolve())),
        "RECSYS_SETTINGS_FILE": "shop.toml",
    }


def test_with_a_url_no_server_is_started_or_used(settings: Settings) -> None:
    """It may be down: requests say so until it is there."""
    with pytest.raises(BecomeError) as became:
        exec_server(replace(settings, redis=Redis(url="redis://127.0.0.1:1")), None)
    assert became.value.args[1] == environment_of(settings, "redis://127.0.0.1:1")
    assert not settings.directory.exists()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"redis": Redis(url="http://:secret@host")}, "redis.url = (not shown): expected a redis://"),
        ({"serving": Serving(host="192.0.2.1")}, "serving.host = '192.0.2.1': serving.hosts is missing: name "),
        ({"serving": Serving(host="192.0.2.1", hosts=ANY)}, "cannot listen on 192.0.2.1, port 8000: Cannot assign"),
        ({"serving": Serving(host="no.such.host.invalid", hosts=ANY)}, "cannot listen on no.such.host.invalid, "),
    ],
)
def test_what_it_cannot_start_with_is_one_line(settings: Settings, changed: dict[str, Serving], line: str) -> None:
    key, _ = create_key("shop", ["recommend"], 0, datetime(2026, 3, 1, tzinfo=UTC))
    KeyFile.of(settings.directory).save(ApiKeys().with_key(key))
    with pytest.raises(RecsysError) as error:
        exec_server(replace(settings, **changed), None)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_port_that_is_taken_is_reported(settings: Settings) -> None:
    serving = settings.serving
    with (
        socket.create_server((serving.host, serving.port), reuse_port=True),
        pytest.raises(
            RecsysError, match=f"^cannot listen on 127.0.0.1, port {serving.port}: Address already in use$"
        ),
    ):
        exec_server(settings, None)
