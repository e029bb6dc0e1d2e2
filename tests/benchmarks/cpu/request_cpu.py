"""CPU time of a request inside the server, without HTTP: `python -m tests.benchmarks request_cpu`.

With the path of another checkout in `COMPARED_CHECKOUT`, processes of both are asked in turns, many times shortly,
so that the ratio holds on a machine that does other work.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import redis

from recsys.store.embedded import start_server, stop_server
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from tests.benchmarks.serve import IN_SESSION, USERS, VERSION, fill_online_data, write_lists

CHECKOUT: Final = Path(__file__).parent.parent.parent.parent
PROCESS: Final = Path(__file__).with_name("answering_process.py")
ROUNDS: Final = 100
REQUESTS: Final = 100
KINDS: Final = {
    "users without a session": range(1, USERS, IN_SESSION),
    "users with a session": range(0, USERS, IN_SESSION),
    "the same 50 users with a session": range(0, 50 * IN_SESSION, IN_SESSION),
    "users without a list": range(USERS, USERS * 11 // 10),
}


def request_cpu(work: Path) -> Iterator[tuple[str, Any]]:
    """Publish the lists of the benchmark `serve`, and measure requests of each kind of users."""
    directory = work / "request_cpu"
    write_lists(directory / "lists")
    server = start_server(directory / "valkey")
    other = os.environ.get("COMPARED_CHECKOUT")
    checkouts = [CHECKOUT, *([Path(other)] if other else [])]
    try:
        with redis.Redis(host=server.host, port=server.port) as client:
            publish(client, Keys("recsys"), VERSION, directory / "lists", 2)
            fill_online_data(client)
        measured = _measure(directory, f"redis://{server.host}:{server.port}/0", checkouts)
    finally:
        stop_server(directory / "valkey")
    print("\n| CPU microseconds of a request | measured |" + (" other | ratio |" if other else ""))
    print("| --- |" + " --- |" * (3 if other else 1))
    for kind, times in measured.items():
        medians = [statistics.median(each) for each in times]
        ratios = [statistics.median(a / b for a, b in zip(times[0], each, strict=True)) for each in times[1:]]
        print(f"| {kind} | {' | '.join([*(f'{each:,.0f}' for each in medians), *(f'{x:.2f}' for x in ratios)])} |")
        yield kind, [*medians, *ratios]


def _measure(directory: Path, url: str, checkouts: list[Path]) -> dict[str, list[list[float]]]:
    """Return for each kind of users the times of each checkout."""
    measured: dict[str, list[list[float]]] = {kind: [[] for _ in checkouts] for kind in KINDS}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_start(checkout, directory / f"server{number}", url))
            for number, checkout in enumerate(checkouts)
        ]
        for process in processes:
            while (line := _read_line(process)) != "ready":
                assert line or process.poll() is None, "the process has ended"
        for turn in range(ROUNDS):
            for kind, times in measured.items():
                for number in range(len(processes)) if turn % 2 else reversed(range(len(processes))):
                    times[number].append(_microseconds(processes[number], kind))
        for process in processes:
            process.communicate("")
    return measured


def _start(checkout: Path, directory: Path, url: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "RECSYS_DIRECTORY": str(directory),
        "RECSYS_REDIS_URL": url,
        "PYTHONHASHSEED": "0",
    }
    kinds = [f"{_word(kind)}={users.start}:{users.stop}:{users.step}" for kind, users in KINDS.items()]
    command = [sys.executable, str(PROCESS), *kinds]
    return subprocess.Popen(
        command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _microseconds(process: subprocess.Popen[str], kind: str) -> float:
    assert process.stdin is not None
    process.stdin.write(f"{_word(kind)} {REQUESTS}\n")
    process.stdin.flush()
    return float(_read_line(process))


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _word(kind: str) -> str:
    return kind.replace(" ", "_")
