"""`recsys serve`: this process becomes the HTTP server, a program of its own that is started by name."""

import os
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from recsys.errors import ServingError
from recsys.settings import ENVIRONMENT_PREFIX, FILE_VARIABLE, Serving, Settings
from recsys.store.connection_async import connect_async
from recsys.store.server import start_server

PROGRAM: Final = "serving"
REDIS_URL_VARIABLE: Final = f"{ENVIRONMENT_PREFIX}REDIS_URL"


def become_server(settings: Settings, settings_file: Path | None) -> NoReturn:
    """Replace this process by the server; its workers read the settings themselves, from the same file.

    The embedded Valkey is started here, where no `redis.url` is set, and its address handed on. Raises
    `ServingError` when the address cannot be listened on, `StoreError` when `redis.url` is none.
    """
    serving, environment = settings.serving, dict(os.environ)
    _check_address(serving)
    if settings.redis.url is None:
        server = start_server(settings.directory / "valkey")
        environment[REDIS_URL_VARIABLE] = f"redis://{server.host}:{server.port}/0"
    else:
        connect_async(settings.redis, 1)  # it connects later; a wrong address is told now
    if settings_file is not None:
        environment[FILE_VARIABLE] = str(settings_file)
    # -P: a directory of the shop's named `serving` must not be taken for the program.
    command = [sys.executable, "-P", "-m", PROGRAM, serving.host, str(serving.port), str(serving.workers)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)


def _check_address(serving: Serving) -> None:
    """Workers share the port by SO_REUSEPORT, so that none of them would notice another server there."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    try:
        socket.create_server((serving.host, serving.port), family=family).close()
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ServingError(f"cannot listen on {serving.host}, port {serving.port}: {reason}") from None
