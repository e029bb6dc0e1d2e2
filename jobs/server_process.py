"""Start the HTTP server: a separate program, `python -m serving`, which jobs start by name."""

import os
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from jobs.lake.pseudonym_key import check_store_if_running
from recsys.errors import ServingError
from recsys.pseudonyms import Pseudonyms
from recsys.server_checks import check_server
from recsys.settings import ENVIRONMENT_PREFIX, FILE_VARIABLE, Serving, Settings
from recsys.store.address import RedisAddress
from recsys.store.embedded import start_server
from recsys.store.embedded_watch import DIRECTORY_VARIABLE

PROGRAM: Final = "serving"


def exec_server(settings: Settings, settings_file: Path | None) -> NoReturn:
    """Replace this process with the server; its workers read the settings themselves, from the same file.

    If no `redis.url` is set, the embedded Valkey is started here and the server gets its address. Raises
    `ServingError` for an address that the server cannot or must not listen on, `StoreError` for an invalid
    `redis.url`, and `SettingsError` when Redis holds other pseudonyms than those of the settings.
    """
    check_server(settings)
    _check_address(settings.serving)
    environment = os.environ | server_environment(settings)
    check_store_if_running(settings, Pseudonyms.from_settings(settings))
    if settings_file is not None:
        environment[FILE_VARIABLE] = str(settings_file)
    # -P: a directory named `serving` in the working directory must not shadow the program.
    command = [sys.executable, "-P", "-m", PROGRAM]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)


def server_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that override the server's settings file: the options, and the address of Redis.

    Starts the embedded server if no `redis.url` is set, and names it for the HTTP server to watch. Raises
    `StoreError` for an invalid `redis.url`.
    """
    url, watched = settings.redis.url, ""
    if url is None:
        directory = settings.directory / "valkey"
        server, watched = start_server(directory), str(directory.resolve())
        url = f"redis://{server.host}:{server.port}/0"
    else:
        RedisAddress.from_settings(settings.redis)  # the workers connect later; an invalid address is reported now
    overrides = {
        "DIRECTORY": settings.directory,
        "REDIS_URL": url,
        "SERVING_HOST": settings.serving.host,
        "SERVING_PORT": settings.serving.port,
        "SERVING_WORKERS": settings.serving.workers,
    }
    variables = {f"{ENVIRONMENT_PREFIX}{name}": str(value) for name, value in overrides.items()}
    return variables | {DIRECTORY_VARIABLE: watched}


def _check_address(serving: Serving) -> None:
    """Raise `ServingError` for an address that is not free.

    The workers share the port by SO_REUSEPORT and would not notice another server on it.
    """
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        socket.create_server((serving.host, serving.port), family=family).close()
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ServingError(f"cannot listen on {serving.host}, port {serving.port}: {reason}") from None
