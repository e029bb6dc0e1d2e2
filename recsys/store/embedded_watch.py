"""Watch over the embedded Valkey: one that ends by itself, as on a full disk, is started again."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from recsys.errors import StoreError
from recsys.store.embedded import has_ended, start_server

DIRECTORY_VARIABLE: Final = "EMBEDDED_VALKEY_DIRECTORY"
"""Environment variable by which whoever starts a program tells it which server to watch."""
WATCH_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 60.0
"""A server that has run for so long is started again at once when it ends."""

log = structlog.get_logger()


def watch_in_background() -> None:
    """Watch the server that `DIRECTORY_VARIABLE` names, if it names one, in a thread."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory:
        wait = threading.Event().wait
        threading.Thread(target=keep_running, args=(Path(directory), wait), daemon=True).start()


def keep_running(directory: Path, wait: Callable[[float], bool]) -> None:
    """Start the server of `directory` again whenever it has ended without `stop_server`.

    After each try it pauses, twice as long as after the last one, up to `LONGEST_PAUSE_SECONDS`, until the server
    has run for `STEADY_SECONDS`. `wait` sleeps for a number of seconds and returns whether to end.
    """
    pause, tried_at = FIRST_PAUSE_SECONDS, time.monotonic()
    while not wait(WATCH_SECONDS):
        if not has_ended(directory):
            if time.monotonic() - tried_at > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            continue
        log.error("the embedded Valkey has ended, and is started again", directory=str(directory))
        try:
            start_server(directory)
        except StoreError as error:
            log.error("the embedded Valkey does not start", reason=str(error), next_try_seconds=pause)
        tried_at = time.monotonic()
        if wait(pause):
            return
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
