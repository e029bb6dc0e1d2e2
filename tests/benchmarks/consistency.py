"""Whether answers are of one version while versions come and go: `python -m tests.benchmarks.consistency`."""

import asyncio
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import redis

from recsys.store.embedded import start_server, stop_server
from tests.serving.processes import Served, serving
from tests.serving.version_watch import ObservedAnswers, Publisher, letter_of, watch

REQUESTS: Final = 100_000
VERSIONS: Final = 100
SETTINGS: Final = "[serving]\nworkers = 2\nimpressions = false\n"


def consistency(work: Path) -> Iterator[tuple[str, Any]]:
    """Ask two workers 100,000 times while versions are published and rolled back without a pause."""
    directory = work / "consistency"
    valkey = directory / "var" / "valkey"
    valkey.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        (valkey / "port").write_text(str(free.getsockname()[1]))
    server = start_server(valkey)
    try:
        with redis.Redis(host=server.host, port=server.port) as client:
            publisher = Publisher(client, directory / "lists")
            publisher.publish()
            with serving(directory, SETTINGS) as served, publisher.working():
                started = time.perf_counter()
                observed = asyncio.run(_watched(served))
                seconds = time.perf_counter() - started
    finally:
        stop_server(valkey)
    results = dict(_measured(observed, seconds))
    print("\n| answers while versions come and go | measured |\n| --- | --- |")
    for name, value in results.items():
        print(f"| {name} | {value:,} |")
    assert not observed.mixed, observed.mixed[0]
    yield from results.items()


async def _watched(served: Served) -> ObservedAnswers:
    async with httpx.AsyncClient(base_url=served.http.base_url, timeout=20) as http:
        return await watch(http, REQUESTS, VERSIONS)


def _measured(observed: ObservedAnswers, seconds: float) -> Iterator[tuple[str, int]]:
    yield "answers", observed.answers
    yield "of the first shop's versions", sum(letter_of(version) == "a" for version in observed.versions.elements())
    yield "versions seen", len(observed.versions)
    yield "mixed answers", len(observed.mixed)
    yield "answers without Redis", observed.degraded
    yield "seconds", round(seconds)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        for _ in consistency(Path(scratch)):
            pass
