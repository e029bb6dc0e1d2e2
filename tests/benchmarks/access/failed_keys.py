"""What readers of lists lose to 1,000 failed authentications a second: `python -m tests.benchmarks failed_keys`."""

import json
import shutil
import statistics
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import redis

from recsys.api_key_file import KeyFile
from recsys.api_keys import ApiKeys, create_key
from recsys.store.embedded import start_server, stop_server
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from tests.benchmarks.serve import DONE, SECONDS, VERSION, driven, ratio, served, write_lists

USERS: Final = 10_000
ROUNDS: Final = 7
CONNECTIONS: Final = 32
FAILING_CONNECTIONS: Final = 17
"""Each fails about 60 times a second: it waits 10 ms between two requests."""
MIN_RATIO: Final = 0.9
ALONE: Final = "readers alone"
ATTACKED: Final = "readers beside failed authentications"

READ_REQUESTS: Final = """
math.randomseed(1)
local headers = {{ ["x-api-key"] = "{token}" }}
request = function()
  return wrk.format("GET", "/v1/recommendations/u" .. math.random(0, {users} - 1), headers)
end
"""
FAILED_REQUESTS: Final = """
math.randomseed(2)
delay = function() return 10 end
request = function()
  local headers = { ["x-api-key"] = string.format("rk_shop_%043d", math.random(0, 2147483647)) }
  return wrk.format("GET", "/v1/recommendations/u1", headers)
end
"""


def failed_keys(work: Path) -> Iterator[tuple[str, Any]]:
    """Ask one worker with a valid key, alone and beside clients whose keys are invalid, in turns."""
    if shutil.which("wrk") is None:
        yield "failed authentications", "left out: wrk is not on the PATH"
        return
    directory = work / "failed_keys"
    write_lists(directory / "lists", USERS)
    server = start_server(directory / "valkey")
    try:
        with redis.Redis(host=server.host, port=server.port) as client:
            publish(client, Keys("recsys"), VERSION, directory / "lists", 2)
        key, token = create_key("shop", ["recommend"], 0, datetime.now(UTC))
        KeyFile.of(directory).save(ApiKeys().with_key(key))
        results = _measure(directory, f"redis://{server.host}:{server.port}/0", token)
    finally:
        stop_server(directory / "valkey")
    share = results["share of the requests a second that readers keep"]
    mark = "" if share >= MIN_RATIO else f" (target: {MIN_RATIO})"
    print("\n| readers beside failed authentications | measured |\n| --- | --- |")
    for name, value in results.items():
        print(f"| {name} | {value:,.2f}{mark if value == share else ''} |")
    yield from results.items()


def _measure(directory: Path, url: str, token: str) -> dict[str, float]:
    reads, failures = directory / "reads.lua", directory / "failures.lua"
    reads.write_text(READ_REQUESTS.format(token=token, users=USERS) + DONE)
    failures.write_text(FAILED_REQUESTS + DONE)
    rounds: dict[str, list[dict[str, float]]] = {ALONE: [], ATTACKED: []}
    failed_a_second: list[float] = []
    with served(directory, url) as (address, _):
        driven(address, CONNECTIONS, reads)  # warm
        for _ in range(ROUNDS):
            rounds[ALONE].append(driven(address, CONNECTIONS, reads))
            with _failing(address, failures, failed_a_second):
                rounds[ATTACKED].append(driven(address, CONNECTIONS, reads))
    results = {
        f"{name}: {what}": statistics.median(each[what] for each in measured)
        for name, measured in rounds.items()
        for what in measured[0]
    }
    results["failed authentications a second"] = statistics.median(failed_a_second)
    results["share of the requests a second that readers keep"] = ratio(
        rounds, ATTACKED, ALONE, "requests a second"
    )
    return results


@contextmanager
def _failing(address: str, script: Path, failed_a_second: list[float]) -> Generator[None]:
    """Let clients fail for as long as readers are measured, and add how often they do."""
    command = ["wrk", "-t1", f"-c{FAILING_CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield
        output, _ = process.communicate()
    measured = json.loads(output.splitlines()[-1])
    assert measured["failed"] == measured["requests"], output
    failed_a_second.append(measured["requests"] / measured["microseconds"] * 1e6)
