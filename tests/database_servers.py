"""Real database servers for one test session, on loopback and on free ports."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import pytest

PASSWORD = "s3:c/r@t"  # has every character that must be quoted in a URI
QUOTED_PASSWORD = "s3%3Ac%2Fr%40t"
WAIT_SECONDS = 60


@dataclass(frozen=True)
class DatabaseServer:
    """A running server: the URI of a database `shop`, and how to run SQL in it."""

    uri: str
    port: int
    run: Callable[[str], None]


@contextmanager
def postgresql_server() -> Generator[DatabaseServer]:
    """Run PostgreSQL; skip the test if it is not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    binaries = programs[-1].parent
    with _user_directory("postgres") as (directory, identity):
        (directory / "password").write_text(PASSWORD)
        _change_owner(directory, identity)
        data = directory / "data"
        initdb_options = ["-D", data, "-U", "shop", "-A", "password", f"--pwfile={directory / 'password'}", "-N"]
        subprocess.run([binaries / "initdb", *initdb_options], check=True, capture_output=True, cwd="/", **identity)
        port = _free_port()
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
        options = [option for setting in settings for option in ("-c", setting)]
        command = [binaries / "postgres", "-D", data, "-p", str(port), *options]
        uri = f"postgresql://shop:{QUOTED_PASSWORD}@127.0.0.1:{port}"

        def run(sql: str, database: str = "shop") -> None:
            with (
                adbc_driver_postgresql.dbapi.connect(f"{uri}/{database}", autocommit=True) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(sql)

        with _running(command, signal.SIGINT, identity, directory, lambda: run("SELECT 1", "postgres")):
            run("CREATE DATABASE shop", "postgres")
            yield DatabaseServer(f"{uri}/shop", port, run)


@contextmanager
def mariadb_server() -> Generator[DatabaseServer]:
    """Run MariaDB; skip the test if it is not installed."""
    server = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    install, client = shutil.which("mariadb-install-db"), shutil.which("mariadb")
    if server is None or install is None or client is None:
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    with _user_directory("mysql") as (directory, identity):
        data, port, local = directory / "data", _free_port(), directory / "socket"
        # A MariaDB that starts removes the temporary tables of others in the same directory.
        identity["env"] = {**os.environ, "TMPDIR": str(directory)}
        subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
            check=True,
            capture_output=True,
            cwd="/",
            **identity,
        )
        command = [
            *(server, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"),
            *(f"--socket={local}", f"--pid-file={directory / 'pid'}", "--innodb-flush-log-at-trx-commit=0"),
        ]

        def run(sql: str, database: str = "shop") -> None:
            arguments = [client, "--no-defaults", "-S", str(local), "-u", "root", database]
            subprocess.run(arguments, input=sql, text=True, check=True, capture_output=True)

        with _running(command, signal.SIGTERM, identity, directory, lambda: run("SELECT 1", "mysql")):
            run("CREATE DATABASE shop", "mysql")
            for host in ("127.0.0.1", "localhost"):
                run(f"CREATE USER shop@'{host}' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON shop.* TO shop@'{host}'")
            yield DatabaseServer(f"mysql://shop:{QUOTED_PASSWORD}@127.0.0.1:{port}/shop", port, run)


@contextmanager
def _user_directory(user: str) -> Generator[tuple[Path, dict[str, Any]]]:
    """Yield a directory of an unprivileged user, and the `Popen` arguments to run as that user.

    Database servers refuse to run as root.
    """
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            pytest.skip(f"there is no user {user} to run the server as")
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    directory = Path(tempfile.mkdtemp(prefix=f"recsys-{user}-"))
    try:
        _change_owner(directory, identity)
        yield directory, identity
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _change_owner(directory: Path, identity: dict[str, Any]) -> None:
    for path in (directory, *directory.rglob("*")) if identity else ():
        os.chown(path, identity["user"], identity["group"])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def _running(
    command: list[Any], stop: signal.Signals, identity: dict[str, Any], directory: Path, ping: Callable[[], None]
) -> Generator[None]:
    """Run a server: yield when it answers, and stop it."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **identity)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not _answers(ping):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {(directory / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(stop)
        process.wait(WAIT_SECONDS)


def _answers(ping: Callable[[], None]) -> bool:
    try:
        ping()
    except (subprocess.CalledProcessError, adbc_driver_postgresql.dbapi.Error):
        return False
    return True
