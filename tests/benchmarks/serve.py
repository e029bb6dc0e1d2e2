"""How fast lists are read, from Redis itself and over HTTP: `python -m tests.benchmarks.serve`."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import polars as pl
import redis

from recsys.store.keys import Keys
from recsys.store.publish import publish
from recsys.store.server import ServerAddress, start_server, stop_server

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
USERS: Final = 100_000
ITEMS: Final = 100
VERSION: Final = "20180101T000000Z"
READS: Final = 5_000
CONNECTIONS: Final = (1, 32)
SECONDS: Final = 6
START_SECONDS: Final = 60

# One request in eleven is for a user without a list. Microseconds.
SCRIPT: Final = f"""
math.randomseed(1)
request = function()
  return wrk.format("GET", "/v1/recommendations/u" .. math.random(0, {USERS * 11 // 10 - 1}))
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d}}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def serve(work: Path) -> Iterator[tuple[str, Any]]:
    """Publish lists for 100,000 users, read them directly, then through one worker, and print both."""
    directory = work / "serve"
    _write_lists(directory / "lists")
    server = start_server(directory / "valkey")
    try:
        with redis.Redis(host=server.host, port=server.port) as client:
            publish(client, Keys("recsys"), VERSION, directory / "lists", 2)
            found: dict[str, Any] = dict(_direct(client))
        found |= _over_http(directory, server)
    finally:
        stop_server(directory / "valkey")
    print(f"\n| lists of {USERS:,} users, {ITEMS} items each | measured |\n| --- | --- |")
    for name, value in found.items():
        print(f"| {name} | {value if isinstance(value, str) else f'{value:,.2f}'} |")
    yield from found.items()


def _write_lists(directory: Path) -> None:
    directory.mkdir(parents=True)
    rank = pl.int_ranges(0, ITEMS)
    user = pl.DataFrame({"row": range(USERS)}).with_columns(item=rank).explode("item")
    item = "i" + ((pl.col("row") * 7919 + pl.col("item") * 31) % 50_000).cast(pl.String).str.zfill(6)
    lists = user.select("row", items=item).group_by("row", maintain_order=True).agg("items")
    lists.select(user_id="u" + pl.col("row").cast(pl.String), items="items").write_parquet(
        directory / "user_items.parquet"
    )
    lists.head(1).select(item_id=pl.lit("i000000"), items="items").write_parquet(
        directory / "similar_items.parquet"
    )
    lists.head(1).select(name=pl.lit("popular"), items="items").write_parquet(directory / "popular.parquet")


def _direct(client: redis.Redis) -> Iterator[tuple[str, float]]:
    """One GET and one split, as a backend does while the pointer is cached."""
    keys = Keys("recsys")
    wanted = [keys.user_items(VERSION, f"u{(number * 7919) % USERS}") for number in range(READS)]
    times = [_timed(client, key) for key in wanted]
    yield "a list read from Redis, p50 ms", statistics.median(times)
    yield "a list read from Redis, p99 ms", statistics.quantiles(times, n=100)[98]


def _timed(client: redis.Redis, key: str) -> float:
    started = time.perf_counter()
    items: Any = client.get(key)
    assert len(items.split(b" ")) == ITEMS
    return (time.perf_counter() - started) * 1e3


def _over_http(directory: Path, server: ServerAddress) -> dict[str, Any]:
    if shutil.which("wrk") is None:
        return {"over HTTP": "left out: wrk is not on the PATH"}
    script = directory / "users.lua"
    script.write_text(SCRIPT)
    with _served(directory, server) as (port, resident_bytes):
        found: dict[str, Any] = {}
        for connections in CONNECTIONS:
            found |= _driven(f"http://127.0.0.1:{port}", connections, script)
        return found | {"memory of the worker, MB": resident_bytes() / 2**20}


def _driven(address: str, connections: int, script: Path) -> dict[str, float]:
    """What wrk measures while so many connections ask as fast as they are answered."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), address]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured = json.loads(told.splitlines()[-1])
    assert measured["failed"] == 0, told
    name = f"over HTTP, 1 worker, {connections} connection{'s' if connections > 1 else ''}"
    return {
        f"{name}: requests a second": measured["requests"] / measured["microseconds"] * 1e6,
        f"{name}: p50 ms": measured["p50"] / 1e3,
        f"{name}: p99 ms": measured["p99"] / 1e3,
    }


@contextmanager
def _served(directory: Path, server: ServerAddress) -> Generator[tuple[int, Callable[[], int]]]:
    """The port of a running `recsys serve`, and what tells the memory of its worker."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "RECSYS_DIRECTORY": str(directory),
        "RECSYS_REDIS_URL": f"redis://{server.host}:{server.port}/0",
    }
    command = [RECSYS, "serve", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def resident_bytes() -> int:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        resident_pages = Path(f"/proc/{children[0]}/statm").read_text().split()[1]
        return int(resident_pages) * os.sysconf("SC_PAGE_SIZE")

    try:
        _wait_for(f"http://127.0.0.1:{port}/ready", process)
        yield port, resident_bytes
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            urlopen(address).close()
            return
        except URLError:
            time.sleep(0.05)
    raise AssertionError("recsys serve does not answer")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        for _ in serve(Path(scratch)):
            pass
