"""How fast the server answers and takes events in, beside FastAPI: `python -m tests.benchmarks serve`."""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import polars as pl
import redis
import uvloop

from recsys.settings.online import Redis
from recsys.store.catalogue import CATALOGUE_FILE, CATALOGUE_SCHEMA
from recsys.store.client.client import RedisClient
from recsys.store.embedded import ServerAddress, start_server, stop_server
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.resp import encode_commands
from tests.benchmarks.peers.comparison import install
from tests.serving.processes import worker_ids

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
USERS: Final = 100_000
ITEMS: Final = 50_000
LIST_ITEMS: Final = 100
SIMILAR_ITEMS: Final = 50
IN_SESSION: Final = 10
"""One user in so many has a session of three views."""
UNAVAILABLE: Final = 100
VERSION: Final = "20180101T000000Z"
READS: Final = 5_000
SECONDS: Final = 4
ROUNDS: Final = 9
"""Of each, in turns: a ratio is the median of those of a turn, whatever else the machine does meanwhile."""
START_SECONDS: Final = 60
FASTAPI: Final = "FastAPI"
PIPELINE: Final = "list, session, flag, availability"
BARE: Final = "a bare read of the same keys by the same client"

# One request in eleven is for a user without a list. Microseconds.
LIST_REQUESTS: Final = f"""
math.randomseed(1)
request = function()
  return wrk.format("GET", "/v1/recommendations/u" .. math.random(0, {USERS * 11 // 10 - 1}))
end
"""
EVENT_REQUESTS: Final = f"""
math.randomseed(1)
local number = 0
local headers = {{ ["content-type"] = "application/json" }}
request = function()
  local events = {{}}
  for place = 1, 100 do
    number = number + 1
    events[place] = string.format(
      '{{"event_id":"e%d-%d","user_id":"u%d","item_id":"i%06d","event":"view"}}',
      math.random(1, 2147483647), number, math.random(0, {USERS - 1}), math.random(0, {ITEMS - 1}))
  end
  return wrk.format("POST", "/v1/events", headers, "[" .. table.concat(events, ",") .. "]")
end
"""
DONE: Final = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d}\\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def serve(work: Path) -> Iterator[tuple[str, Any]]:
    """Publish lists for 100,000 users, ask one worker, FastAPI and Redis itself in turns, and print all three."""
    directory = work / "serve"
    write_lists(directory / "lists")
    server = start_server(directory / "valkey")
    try:
        with redis.Redis(host=server.host, port=server.port) as client:
            publish(client, Keys("recsys"), VERSION, directory / "lists", 2)
            fill_online_data(client)
            results = _measure(directory, server)
    finally:
        stop_server(directory / "valkey")
    print(f"\n| lists of {USERS:,} users, {LIST_ITEMS} items each | measured |\n| --- | --- |")
    for name, value in results.items():
        print(f"| {name} | {value if isinstance(value, str) else f'{value:,.2f}'} |")
    yield from results.items()


def write_lists(directory: Path, users: int = USERS) -> None:
    """What a run publishes, for so many users."""
    directory.mkdir(parents=True)
    name = "i" + pl.int_range(ITEMS, eager=True).cast(pl.String).str.zfill(6).alias("item_id")
    _lists("user_id", "u", users, LIST_ITEMS).write_parquet(directory / "user_items.parquet")
    similar = _lists("item_id", "", ITEMS, SIMILAR_ITEMS).with_columns(item_id=name)
    similar.write_parquet(directory / "similar_items.parquet")
    similar.with_columns(pl.col("items").list.head(10)).write_parquet(directory / "bought_with.parquet")
    popular = {"name": ["popular"], "items": [name.head(200).to_list()]}
    pl.DataFrame(popular).write_parquet(directory / "popular.parquet")
    facts = pl.DataFrame({"item_id": name}).with_columns(
        title=pl.format("Item {}", "item_id"), category=pl.lit("A>B"), price=pl.lit(1.0), available=pl.lit(True)
    )
    missing = [
        pl.lit(None, dtype).alias(column)
        for column, dtype in CATALOGUE_SCHEMA.items()
        if column not in facts.columns
    ]
    facts.with_columns(missing).select(*CATALOGUE_SCHEMA).write_parquet(directory / CATALOGUE_FILE)


def _lists(owner: str, prefix: str, owners: int, length: int) -> pl.DataFrame:
    """Lists of items for so many owners, spread over the catalogue by two primes."""
    row = pl.DataFrame({"row": range(owners)}).with_columns(place=pl.int_ranges(0, length)).explode("place")
    item = "i" + ((pl.col("row") * 7919 + pl.col("place") * 31) % ITEMS).cast(pl.String).str.zfill(6)
    lists = row.select("row", items=item).group_by("row", maintain_order=True).agg("items")
    return lists.select((prefix + pl.col("row").cast(pl.String)).alias(owner), "items")


def fill_online_data(client: redis.Redis) -> None:
    """Sessions, and items that must not be shown."""
    keys, now = Keys("recsys"), int(time.time() * 1e3)
    pipeline = client.pipeline(transaction=False)
    for user in range(0, USERS, IN_SESSION):
        acts = {f"e{user}-{place} i{(user * 31 + place) % ITEMS:06d} view": now - place for place in range(3)}
        pipeline.zadd(keys.session(f"u{user}"), acts)
    pipeline.sadd(keys.unavailable, *(f"i{item:06d}" for item in range(0, ITEMS, ITEMS // UNAVAILABLE)))
    pipeline.execute()


def _measure(directory: Path, server: ServerAddress) -> dict[str, Any]:
    if shutil.which("wrk") is None:
        return {"over HTTP": "left out: wrk is not on the PATH"}
    url = f"redis://{server.host}:{server.port}/0"
    list_script, event_script = directory / "list_requests.lua", directory / "event_requests.lua"
    list_script.write_text(LIST_REQUESTS + DONE)
    event_script.write_text(EVENT_REQUESTS + DONE)
    with served(directory, url) as (ours, resident_bytes), _fastapi(url) as theirs:
        for address in (ours, theirs):
            driven(address, 32, list_script)  # warm
        rounds: dict[str, list[dict[str, float]]] = {}
        for _ in range(ROUNDS):
            for name, address in ((PIPELINE, ours), (FASTAPI, theirs)):
                for connections in (1, 32):
                    measured = driven(address, connections, list_script)
                    rounds.setdefault(f"{name}, {connections} connections", []).append(measured)
            rounds.setdefault(BARE, []).append({"p50 ms": uvloop.run(_direct(url))})
        results: dict[str, Any] = {
            f"{name}: {what}": statistics.median(each[what] for each in measured)
            for name, measured in rounds.items()
            for what in measured[0]
        }
        results["times FastAPI's requests a second"] = ratio(
            rounds, f"{PIPELINE}, 32 connections", f"{FASTAPI}, 32 connections", "requests a second"
        )
        results["times the bare read's p50"] = ratio(rounds, f"{PIPELINE}, 1 connections", BARE, "p50 ms")
        results["memory of the worker, MB"] = resident_bytes() / 2**20
        events = [driven(ours, 2, event_script)["requests a second"] * 100 for _ in range(3)]
        results["events a second, batches of 100"] = statistics.median(events)
        results["an event changes the next answer"] = _visible(ours)
        return results


def ratio(rounds: dict[str, list[dict[str, float]]], one: str, other: str, what: str) -> float:
    """The median over the turns of one figure as a multiple of another of the same turn."""
    return statistics.median(a[what] / b[what] for a, b in zip(rounds[one], rounds[other], strict=True))


async def _direct(url: str) -> float:
    """The p50 in milliseconds of what a request asks of Redis, asked by the server's own client alone."""
    links, keys = RedisClient(Redis(url=url), 1.0), Keys("recsys")
    await links.open()
    await links.wait_until_available(5)
    times: list[float] = []
    for number in range(READS):
        user = f"u{(number * 7919) % USERS}"
        link = links.connection_for(keys.flag(user))
        started = time.perf_counter()
        commands = encode_commands(
            ("MGET", keys.user_items(VERSION, user), keys.flag(user), keys.history(VERSION, user)),
            ("ZREVRANGE", keys.session(user), 0, 49, "WITHSCORES"),
            ("GET", keys.live),
            ("XREAD", "COUNT", 1000, "STREAMS", keys.item_changes, "0-0"),
        )
        await link.send(commands, 4)
        times.append((time.perf_counter() - started) * 1e3)
    await links.close()
    return statistics.median(times)


def _visible(address: str) -> str:
    """Whether what was bought is gone from the answer right after, for many users in a row."""
    for number in range(500):
        user = f"u{number}"
        first = _first(address, user)
        body = json.dumps({"user_id": user, "item_id": first, "event": "purchase"}).encode()
        request = Request(f"{address}/v1/events", body, {"content-type": "application/json"})
        assert urlopen(request).status == 202
        if _first(address, user) == first:
            return f"no, not for {user}"
    return "yes, 500 times of 500"


def _first(address: str, user: str) -> str:
    return json.loads(urlopen(f"{address}/v1/recommendations/{user}?n=1").read())["items"][0]["item_id"]


def driven(address: str, connections: int, script: Path, seconds: int = SECONDS) -> dict[str, float]:
    """What wrk measures while so many connections ask as fast as they are answered."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), address]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured = json.loads(output.splitlines()[-1])
    assert measured["failed"] == 0, output
    return {
        "requests a second": measured["requests"] / measured["microseconds"] * 1e6,
        "p50 ms": measured["p50"] / 1e3,
        "p99 ms": measured["p99"] / 1e3,
    }


@contextmanager
def served(directory: Path, url: str, **variables: str) -> Generator[tuple[str, Callable[[], int]]]:
    """The address of a running `recsys serve` of one worker, and what tells the memory of that."""
    port = _free_port()
    environment = {**os.environ, "RECSYS_DIRECTORY": str(directory), "RECSYS_REDIS_URL": url, **variables}
    command = [RECSYS, "serve", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def resident_bytes() -> int:
        (worker,) = worker_ids(process.pid)
        resident_pages = Path(f"/proc/{worker}/statm").read_text().split()[1]
        return int(resident_pages) * os.sysconf("SC_PAGE_SIZE")

    with _terminated_at_end(process):
        _wait_for(f"http://127.0.0.1:{port}/ready", process)
        yield f"http://127.0.0.1:{port}", resident_bytes


@contextmanager
def _fastapi(url: str) -> Generator[str]:
    """The address of FastAPI as it is usually run, by uvicorn with uvloop and httptools, in one process."""
    python = install(FASTAPI)
    assert python is not None
    port = _free_port()
    prefix = Keys("recsys").user_items(VERSION, "").removesuffix("{}")
    environment = {**os.environ, "REDIS_URL": url, "PREFIX": prefix}
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(
        [str(python), "-m", "uvicorn", "fastapi_baseline:app", *options],
        cwd=Path(__file__).parent,
        env=environment,
    )
    with _terminated_at_end(process):
        _wait_for(f"http://127.0.0.1:{port}/v1/recommendations/u1", process)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _terminated_at_end(process: subprocess.Popen[bytes]) -> Generator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            urlopen(address).close()
            return
        except URLError:
            time.sleep(0.05)
    raise AssertionError(f"{address}: nobody answers")
