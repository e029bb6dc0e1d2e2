import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsys.errors import StoreError
from recsys.store import embedded
from recsys.store.embedded import ServerAddress, server_status, start_server, stop_server

START = "import sys; from pathlib import Path; from recsys.store.embedded import *; start_server(Path(sys.argv[1]))"


def _connected(address: ServerAddress) -> closing[redis.Redis]:
    once = Retry(NoBackoff(), 0)
    return closing(redis.Redis(host=address.host, port=address.port, decode_responses=True, retry=once))


def _set(address: ServerAddress, value: str) -> None:
    with _connected(address) as client:
        client.set("key", value)


def _get(address: ServerAddress) -> object:
    with _connected(address) as client:
        return client.get("key")


def _process_id(directory: Path) -> int:
    status = server_status(directory)
    assert status is not None
    return status.process_id


def _kill(directory: Path) -> None:
    os.kill(_process_id(directory), signal.SIGKILL)


def _start_in_process(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", START, str(directory)])


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A program that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_data_and_port_survive_stop_and_start(server_directory: Path) -> None:
    address = start_server(server_directory)
    _set(address, "before")
    assert stop_server(server_directory)
    assert server_status(server_directory) is None
    with pytest.raises(redis.ConnectionError):
        _get(address)
    assert start_server(server_directory) == address
    assert _get(address) == "before"


def test_data_survives_sigkill_with_a_truncated_tail(server_directory: Path) -> None:
    address = start_server(server_directory)
    _set(address, "acknowledged")
    _kill(server_directory)
    (log,) = (server_directory / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$9\r\nha")
    assert start_server(server_directory) == address
    assert _get(address) == "acknowledged"


def test_start_attaches_to_the_server_that_runs(server_directory: Path) -> None:
    address = start_server(server_directory)
    first = _process_id(server_directory)
    assert start_server(server_directory) == address
    assert _process_id(server_directory) == first


def test_the_server_outlives_the_command_that_started_it(server_directory: Path) -> None:
    assert _start_in_process(server_directory).wait() == 0
    running = _process_id(server_directory)
    assert os.getpgid(running) != os.getpgid(0)
    start_server(server_directory)
    assert _process_id(server_directory) == running


def test_commands_that_start_at_once_end_with_one_server(server_directory: Path) -> None:
    commands = [_start_in_process(server_directory) for _ in range(3)]
    assert [command.wait() for command in commands] == [0, 0, 0]
    assert (server_directory / "valkey.log").read_text().count("Ready to accept connections") == 1


def test_start_waits_until_the_data_is_loaded(server_directory: Path) -> None:
    with _connected(start_server(server_directory)) as client:
        client.eval("for i = 1, 300000 do redis.call('SET', 'k' .. i, i) end", 0)
    _kill(server_directory)
    with _connected(start_server(server_directory)) as client:
        assert client.get("k300000") == "300000"


def test_it_listens_on_loopback_and_its_files_are_the_users_own(
    new_directory: Callable[[str], Path],
) -> None:
    directory = new_directory("valkey")
    (directory / "port").rename(directory.parent / "port")
    directory.rmdir()
    address = start_server(directory)
    assert address.host == "127.0.0.1"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with _connected(address) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("protected-mode") == {"protected-mode": "yes"}


def test_directories_with_spaces_and_long_names(new_directory: Callable[[str], Path]) -> None:
    directory = new_directory('my shop\'s "dätä"/' + "/".join(["d" * 100] * 4))
    address = start_server(directory)
    _set(address, "here")
    assert start_server(directory) == address
    assert stop_server(directory)
    start_server(directory)
    assert _get(address) == "here"


def test_a_relative_directory_is_the_same_directory(
    server_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(server_directory.parent)
    address = start_server(Path("valkey"))
    assert start_server(server_directory) == address


def test_the_first_start_takes_the_next_free_port(
    server_directory: Path, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(stranger.getsockname()[1])
    (server_directory / "port").unlink()
    monkeypatch.setattr(embedded, "PORTS", range(taken, taken + 20))
    address = start_server(server_directory)
    assert taken < address.port < taken + 20
    assert (server_directory / "port").read_text() == f"{address.port}\n"
    assert _process_id(server_directory) == int((server_directory / "valkey.pid").read_text())


def test_a_port_lost_between_choice_and_start_is_chosen_anew(
    server_directory: Path, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(stranger.getsockname()[1])
    (server_directory / "port").unlink()
    monkeypatch.setattr(embedded, "PORTS", range(taken, taken + 20))
    real = embedded.is_port_free
    monkeypatch.setattr(embedded, "ANSWER_SECONDS", 0.2)
    answers = iter([True])
    monkeypatch.setattr(embedded, "is_port_free", lambda port: next(answers, None) or real(port))
    assert start_server(server_directory).port > taken


def test_no_free_port_is_an_error(
    server_directory: Path, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = int(stranger.getsockname()[1])
    (server_directory / "port").unlink()
    monkeypatch.setattr(embedded, "PORTS", range(taken, taken + 1))
    with pytest.raises(StoreError, match=f"no port from {taken} to {taken} is free"):
        start_server(server_directory)


def test_a_silent_stranger_on_the_port_is_not_taken_for_ours(
    server_directory: Path, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ANSWER_SECONDS", 0.2)
    port = stranger.getsockname()[1]
    (server_directory / "port").write_text(str(port))
    with pytest.raises(StoreError, match=f"port {port} is taken by another program"):
        start_server(server_directory)
    assert server_status(server_directory) is None


def test_a_valkey_of_another_directory_is_not_taken_for_ours(new_directory: Callable[[str], Path]) -> None:
    theirs, ours = new_directory("theirs"), new_directory("ours")
    address = start_server(theirs)
    _set(address, "theirs")
    (ours / "port").write_text(str(address.port))
    with pytest.raises(StoreError, match=f"port {address.port} is taken by another program"):
        start_server(ours)
    assert not stop_server(ours)
    assert _get(address) == "theirs"


def test_the_answer_of_another_directory_counts_for_nothing_while_ours_runs(
    new_directory: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = new_directory("theirs"), new_directory("ours")
    address = start_server(theirs)
    start_server(ours)
    monkeypatch.setattr(embedded, "START_STOP_SECONDS", 0.5)
    own_port = (ours / "port").read_text()
    (ours / "port").write_text(str(address.port))
    try:
        for command in (start_server, stop_server, server_status):
            with pytest.raises(StoreError, match="does not answer"):
                command(ours)
    finally:
        (ours / "port").write_text(own_port)
    assert _process_id(theirs) != _process_id(ours)


def test_a_server_that_hangs_is_neither_doubled_nor_killed(
    server_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(embedded, "START_STOP_SECONDS", 0.5)
    start_server(server_directory)
    process_id = _process_id(server_directory)
    os.kill(process_id, signal.SIGSTOP)
    try:
        for command in (start_server, stop_server, server_status):
            with pytest.raises(StoreError, match="does not answer"):
                command(server_directory)
    finally:
        os.kill(process_id, signal.SIGCONT)
    assert _process_id(server_directory) == process_id


def test_a_start_that_fails_shows_the_end_of_the_log(server_directory: Path) -> None:
    start_server(server_directory)
    stop_server(server_directory)
    (manifest,) = (server_directory / "appendonlydir").glob("*.manifest")
    manifest.write_text("this is no manifest\n")
    with pytest.raises(StoreError) as error:
        start_server(server_directory)
    message = str(error.value)
    assert message.startswith(f"{server_directory}: Valkey ended while it started: ")
    assert "manifest" in message.partition("started: ")[2]
    assert "\n" not in message


def test_stale_files_mean_nothing(server_directory: Path) -> None:
    (server_directory / "valkey.pid").write_text(str(os.getpid()))
    (server_directory / "server.lock").touch()
    assert server_status(server_directory) is None
    assert not stop_server(server_directory)
    start_server(server_directory)
    assert _process_id(server_directory) == int((server_directory / "valkey.pid").read_text())


def test_stop_and_status_where_nothing_is(tmp_path: Path) -> None:
    assert not stop_server(tmp_path / "nothing")
    assert server_status(tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()


def test_status_of_a_running_server(server_directory: Path) -> None:
    address = start_server(server_directory)
    status = server_status(server_directory)
    assert status is not None
    assert status.address == address
    assert not status.loading
    assert status.memory_bytes > 100_000


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "redis"])
def test_a_port_file_without_a_port_is_an_error(server_directory: Path, port: str) -> None:
    (server_directory / "port").write_text(port)
    with pytest.raises(StoreError, match=f"{port!r} is not a port"):
        start_server(server_directory)
    (server_directory / "port").unlink()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used for Valkey: Not a directory"):
        start_server(tmp_path / "file" / "valkey")
