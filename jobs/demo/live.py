"""Compare a customer's list over HTTP before and after a purchase, for the demo."""

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

from jobs.lookup import ListLookup
from jobs.server_process import server_environment
from recsys.errors import ServingError
from recsys.settings import Settings

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05

ItemsWithReasons = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LiveComparison:
    """A customer's list before and after a purchase: titles and ids of items, each with its reason."""

    user_id: str
    before: ItemsWithReasons
    bought: str
    after: ItemsWithReasons


def compare_before_and_after_purchase(
    settings: Settings, lookup: ListLookup, user_id: str, n: int
) -> LiveComparison:
    """Request the first `n` items for a customer, buy one of them, and request them again.

    Buys the first item that has items bought together with it. The HTTP server is started for this and stopped
    afterwards; raises `ServingError` if it does not start.
    """
    with _run_server(settings) as address:
        before = _request_items(address, user_id, n)
        candidates = (item["item_id"] for item in before)
        bought = next((item for item in candidates if lookup.has_bought_together(item)), before[0]["item_id"])
        event = {"user_id": user_id, "item_id": bought, "event": "purchase"}
        _request(Request(f"{address}/v1/events", json.dumps(event).encode(), {"content-type": "application/json"}))
        after = _request_items(address, user_id, n)
    (item,) = lookup.describe_items([bought])
    return LiveComparison(user_id, _describe(lookup, before), item.title or bought, _describe(lookup, after))


def _request_items(address: str, user_id: str, n: int) -> list[dict[str, Any]]:
    path = f"/v1/recommendations/{quote(user_id, safe='')}?n={n}&context=cart"
    return _request(Request(f"{address}{path}"))["items"]


def _describe(lookup: ListLookup, items: list[dict[str, Any]]) -> ItemsWithReasons:
    described = lookup.describe_items([item["item_id"] for item in items])
    return tuple(
        (f"{row.title or ''} ({row.item_id})", item["reason"]) for row, item in zip(described, items, strict=True)
    )


def _request(request: Request) -> dict[str, Any]:
    with urlopen(request, timeout=ANSWER_SECONDS) as answer:
        return json.loads(answer.read())


@contextmanager
def _run_server(settings: Settings) -> Generator[str]:
    """Run a server of the demo's lists on a free port, and yield its address; it records no impressions."""
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
            _wait_until_ready(f"http://{HOST}:{port}", process, log)
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(f"{address}/ready", timeout=ANSWER_SECONDS).close()
            return
        except URLError:
            time.sleep(POLL_SECONDS)
    raise ServingError(f"the server does not answer; see {log}")
