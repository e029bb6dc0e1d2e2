"""A shopper of the demo, live: the list over HTTP, a purchase, and the list that it changes."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from jobs.cli.serve import server_environment
from jobs.lookup import Lookup
from recsys.errors import ServingError
from recsys.settings import Settings

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05

Answer = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LiveList:
    """A shopper's list before and after a purchase: items as a person sees them, with the reason for each."""

    user_id: str
    before: Answer
    bought: str
    after: Answer


def try_live(settings: Settings, lookup: Lookup, user_id: str, n: int) -> LiveList:
    """Ask the server for the first `n` items of a shopper, buy the first that others buy something with, ask again.

    The server is started for this and ended. Raises `ServingError` when it does not start.
    """
    with _served(settings) as address:
        before = _recommendations(address, user_id, n)
        bought = next((item for item in before if lookup.goes_with(item["item_id"])), before[0])["item_id"]
        event = {"user_id": user_id, "item_id": bought, "event": "purchase"}
        _asked(Request(f"{address}/v1/events", json.dumps(event).encode(), {"content-type": "application/json"}))
        after = _recommendations(address, user_id, n)
    (shown,) = lookup.show([bought])
    return LiveList(user_id, _shown(lookup, before), shown.title or bought, _shown(lookup, after))


def _recommendations(address: str, user_id: str, n: int) -> list[dict[str, Any]]:
    return _asked(Request(f"{address}/v1/recommendations/{quote(user_id, safe='')}?n={n}&context=cart"))["items"]


def _shown(lookup: Lookup, items: list[dict[str, Any]]) -> Answer:
    known = lookup.show([item["item_id"] for item in items])
    return tuple(
        (f"{each.title or ''} ({each.item_id})", item["reason"]) for each, item in zip(known, items, strict=True)
    )


def _asked(request: Request) -> dict[str, Any]:
    with urlopen(request, timeout=ANSWER_SECONDS) as answer:
        return json.loads(answer.read())


@contextmanager
def _served(settings: Settings) -> Generator[str]:
    """The address of a server of the demo's lists, on a free port; nothing that it shows is kept."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    serving = replace(settings.serving, host=HOST, port=port, workers=1)
    environment = os.environ | server_environment(replace(settings, serving=serving))
    environment |= {"RECSYS_REPEAT": settings.repeat, "RECSYS_SERVING_IMPRESSIONS": "false"}
    command = [sys.executable, "-P", "-m", "serving"]
    log = settings.directory / "serve.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            _wait(f"http://{HOST}:{port}", process, log)
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            urlopen(f"{address}/ready", timeout=ANSWER_SECONDS).close()
            return
        except URLError:
            time.sleep(POLL_SECONDS)
    raise ServingError(f"the server does not answer; see {log}")
