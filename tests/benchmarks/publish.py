"""Publishing a million users' lists, beside redis-py pipelines; `python -m tests.benchmarks.publish` runs it alone.

Each publish runs in a process of its own, so that its memory is its own, against one server without an append-only
file. Reading the lists from Parquet and joining their ids is part of both.
"""

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet
import redis
from pyarrow.parquet import ParquetFile

from recsys.store.client.connect import used_memory
from recsys.store.embedded import start_server, stop_server
from recsys.store.encoding import encode_lists
from recsys.store.keys import Keys
from recsys.store.publish.list_files import BLOCK_LISTS, ITEMS, POPULAR_FILE, SIMILAR_ITEMS_FILE, USER_ITEMS_FILE
from recsys.store.publish.memory import MemoryForecast
from recsys.store.publish.publish import publish as publish_lists
from recsys.store.publish.removal import remove_version
from recsys.store.publish.versions import roll_back
from recsys.store.read import user_items

KEYS = Keys("recsys")
FIRST, SECOND = (f"201712{day}T000000Z" for day in (30, 31))
USERS, LENGTH, ITEM_COUNT = 1_000_000, 100, 50_000
PIPELINE = 1_000
READS = 20_000
FIRST_ID = 1_000_000

# What is asked; a figure on the wrong side is marked.
MIN_SPEEDUP, MAX_PEAK_MB, MAX_READ_MS, MAX_ROLLBACK_MS, MAX_ERROR = 5.0, 1_200.0, 1.0, 1_000.0, 0.05


def publish(work: Path, users: int = USERS) -> Iterator[tuple[str, Any]]:
    """Seconds and memory of a publish by this package and by pipelines, reads, rollback, forecast and removal."""
    port = start_server(work / "valkey").port
    try:
        with redis.Redis(port=port) as client:
            client.config_set("appendonly", "no")
            for name, value, limit, reached in _figures(client, port, work, users):
                shown = f"{value:,.3f}" if reached else f"**missed: {value:,.3f}**"
                print(f"| {name} | {limit} | {shown} |", flush=True)
                yield name, value
    finally:
        stop_server(work / "valkey")


def _figures(client: redis.Redis, port: int, work: Path, users: int) -> Iterator[tuple[str, float, str, bool]]:
    print(f"\n| publish {users:,} users × {LENGTH} items | target | measured |\n| --- | --- | --- |")
    small, large = _write_lists(work / "small", users // 10), _write_lists(work / "large", users)
    for title, lists in (("a tenth of the users", small), ("all users", large)):
        error = _forecast_error(client, lists)
        yield (
            f"forecast of memory against used_memory, {title}",
            error,
            f"≤ ±{MAX_ERROR}",
            abs(error) <= MAX_ERROR,
        )
        _empty(client)
    theirs = _in_process("pipelines", port, large, FIRST)["seconds"]
    yield "redis-py pipelines of 1,000, s", theirs, "", True
    _empty(client)
    ours = _in_process("publish", port, large, FIRST)
    yield "publish, s", ours["seconds"], "", True
    speedup = theirs / ours["seconds"]
    yield "times as fast", speedup, f"≥ {MIN_SPEEDUP}", speedup >= MIN_SPEEDUP
    yield "publisher's peak MB", ours["peak_mb"], f"≤ {MAX_PEAK_MB}", ours["peak_mb"] <= MAX_PEAK_MB
    second = _in_process("publish", port, large, SECOND)["seconds"]
    yield "publish beside a live version, s", second, "", True
    milliseconds = _read_milliseconds(client, users, lambda: False)
    yield "read a list, p50 ms", milliseconds[0], f"≤ {MAX_READ_MS}", milliseconds[0] <= MAX_READ_MS
    yield "read a list, p99 ms", milliseconds[1], "", True
    rollback = _rollback_milliseconds(client, port, users)
    yield (
        "rollback with readers, slowest of 10, ms",
        rollback,
        f"≤ {MAX_ROLLBACK_MS}",
        rollback <= MAX_ROLLBACK_MS,
    )
    roll_back(client, KEYS, FIRST)
    started = time.perf_counter()
    with _process("remove", port, large, SECOND) as process:
        during = _read_milliseconds(client, users, lambda: process.poll() is None)
    yield "remove a version, s", time.perf_counter() - started, "", True
    yield "read a list meanwhile, p50 ms", during[0], "", True
    yield "read a list meanwhile, p99 ms", during[1], "", True


def _write_lists(directory: Path, users: int) -> Path:
    """Random lists with ids of seven characters, in the files that a run writes."""
    directory.mkdir()
    generator = np.random.default_rng(users)
    ids = pl.Series([str(FIRST_ID + item) for item in range(ITEM_COUNT)])
    schema = pl.DataFrame(schema={"user_id": pl.String, ITEMS: pl.List(pl.String)}).to_arrow().schema
    rows = 4 * BLOCK_LISTS
    with pyarrow.parquet.ParquetWriter(directory / USER_ITEMS_FILE, schema, compression="zstd") as writer:
        for start in range(0, users, rows):
            size = min(rows, users - start)
            items = ids[generator.integers(0, ITEM_COUNT, size * LENGTH)].reshape((size, LENGTH)).arr.to_list()
            owners = [str(FIRST_ID + user) for user in range(start, start + size)]
            writer.write_table(pl.DataFrame({"user_id": owners, ITEMS: items}).to_arrow().cast(schema))
    for file, owner in ((SIMILAR_ITEMS_FILE, "item_id"), (POPULAR_FILE, "name")):
        pl.DataFrame({owner: ["popular"], ITEMS: [["1000001", "1000002"]]}).write_parquet(directory / file)
    return directory


def _empty(client: redis.Redis) -> None:
    client.execute_command("FLUSHALL", "SYNC")


def _forecast_error(client: redis.Redis, lists: Path) -> float:
    _empty(client)
    forecast = MemoryForecast.from_files(client, KEYS, FIRST, lists)
    foretold = forecast.bytes(forecast.longest)
    before = used_memory(client)
    publish_lists(client, KEYS, FIRST, lists, 2)
    return foretold / (used_memory(client) - before) - 1


def _by_pipelines(client: redis.Redis, lists: Path) -> None:
    with ParquetFile(lists / USER_ITEMS_FILE) as file:
        for batch in file.iter_batches(PIPELINE, columns=["user_id", ITEMS]):
            frame = pl.DataFrame(batch)
            pipeline = client.pipeline(transaction=False)
            for user, value in zip(frame["user_id"], encode_lists(frame[ITEMS]), strict=True):
                pipeline.set(KEYS.user_items(FIRST, user), value)
            assert all(pipeline.execute())


def _read_milliseconds(client: redis.Redis, users: int, going_on: Callable[[], bool]) -> tuple[float, float]:
    """p50 and p99 of looking a random user's list up, pointer and list, at least `READS` times."""
    generator = np.random.default_rng(0)
    seconds: list[float] = []
    while len(seconds) < READS or going_on():
        for user in generator.integers(0, users, 1_000):
            started = time.perf_counter()
            result = user_items(client, KEYS, str(FIRST_ID + user), LENGTH)
            seconds.append(time.perf_counter() - started)
            assert result.source == "personal"
    return float(np.quantile(seconds, 0.5) * 1000), float(np.quantile(seconds, 0.99) * 1000)


def _rollback_milliseconds(client: redis.Redis, port: int, users: int) -> float:
    """The slowest of ten with three readers, none of whom misses a list."""
    done = threading.Event()
    missed: list[str] = []

    def read(seed: int) -> None:
        generator = np.random.default_rng(seed)
        with redis.Redis(port=port) as reader:
            while not done.is_set():
                result = user_items(reader, KEYS, str(FIRST_ID + generator.integers(users)), LENGTH)
                if result.source != "personal":
                    missed.append(result.version)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    seconds = [roll_back(client, KEYS).seconds for _ in range(10)]
    done.set()
    for reader in readers:
        reader.join()
    assert not missed
    return max(seconds) * 1000


@contextmanager
def _process(what: str, port: int, lists: Path, version: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.benchmarks.publish", what, str(port), str(lists), version]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
    assert process.returncode == 0, f"{what} failed"


def _in_process(what: str, port: int, lists: Path, version: str) -> dict[str, float]:
    with _process(what, port, lists, version) as process:
        assert process.stdout is not None
        output = process.stdout.read()
    return json.loads(output)


def _work(what: str, port: int, lists: Path, version: str) -> None:
    """One contestant's part, in a process of its own."""
    client = redis.Redis(port=port)
    started = time.perf_counter()
    if what == "pipelines":
        _by_pipelines(client, lists)
    elif what == "publish":
        publish_lists(client, KEYS, version, lists, 2)
    else:
        remove_version(client, KEYS, version)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_mb": peak}))


if __name__ == "__main__":
    if len(sys.argv) == 5:
        _work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
            for _ in publish(Path(scratch), int(sys.argv[1]) if len(sys.argv) == 2 else USERS):
                pass
