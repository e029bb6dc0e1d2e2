"""Run a shop with random faults while a client checks every answer.

A server with two workers, Redis, a publisher and an archive run as processes. One after the other they are killed,
paused, or find the disk full. At the end every event that was accepted is in the lake, once.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

import redis

from jobs.lake.lake import Lake
from recsys.store.embedded import stop_server
from recsys.store.keys import Keys
from recsys.store.read import live_version, versions
from tests.benchmarks.chaos.client import CheckingClient, Ledger
from tests.benchmarks.chaos.faults import FAULTS, HOST, Shop, ended, is_ready, until
from tests.serving.processes import free_port
from tests.serving.version_watch import Publisher, number_of

KEYS: Final = Keys("recsys")
CALM_SECONDS: Final = (1.0, 9.0)
"""Between two faults."""
TRY_SECONDS: Final = 0.2
"""Maximum length of a wait that is none for a fault."""
SETTINGS: Final = "[serving]\nimpressions = false\n"


@dataclass(frozen=True)
class ChaosResult:
    """What the client saw, what became of the events, and when each fault was, in seconds of `time.monotonic`."""

    ledger: Ledger
    missing: set[str]
    """Accepted events that are not in the lake."""
    repeated: set[str]
    """Events that are in the lake more than once."""
    orphans: set[str]
    """Keys of versions that are not in Redis."""
    mistakes: list[str]
    faults: list[tuple[str, float]]


async def run_chaos(
    directory: Path, seed: int, seconds: float, faults: Iterable[str] = FAULTS, workers: int = 2
) -> ChaosResult:
    """Run a shop with faults for so many seconds, and return the result; all of its processes end."""
    shop = _found_shop(directory, workers)
    chance, names = random.Random(seed), list(faults)
    client = CheckingClient(f"http://{HOST}:{shop.port}", seed, shop.is_port_open)
    injected: list[tuple[str, float]] = []
    keepers: list[asyncio.Task[None]] = []
    await shop.start_redis()
    try:
        with redis.Redis(HOST, shop.redis_port) as connection:
            Publisher(connection, directory / "lists").publish()
        keepers += [asyncio.create_task(work()) for work in (shop.keep_serving, shop.keep_publishing)]
        await _wait_until_ready(shop, injected)
        keepers.append(asyncio.create_task(shop.keep_archiving()))
        clients = asyncio.create_task(client.run())
        ends_at = time.monotonic() + seconds
        remaining: list[str] = []
        while time.monotonic() < ends_at and not clients.done():
            await asyncio.sleep(chance.uniform(*CALM_SECONDS))
            await _wait_until_ready(shop, injected)
            remaining = remaining or chance.sample(names, len(names))
            injected.append((remaining.pop(), time.monotonic()))
            await FAULTS[injected[-1][0]](shop, chance)
        await _wait_until_ready(shop, injected)
        await asyncio.sleep(CALM_SECONDS[1])
        client.stop()
        await clients
        await _cancel(keepers)
        shop.kill_all()
        missing, repeated = await _balance(shop, client.ledger)
        return ChaosResult(client.ledger, missing, repeated, _find_orphans(shop), shop.mistakes, injected)
    finally:
        await _cancel(keepers)
        shop.kill_all()
        await asyncio.to_thread(stop_server, shop.valkey)


async def _wait_until_ready(shop: Shop, injected: Sequence[tuple[str, float]]) -> None:
    """Wait for the server with all of its workers; raise what it logged if it does not recover."""
    try:
        await until(lambda: is_ready(shop))
    except TimeoutError:
        faults = ", ".join(name for name, _ in injected[-3:])
        log = (shop.directory / "serve.log").read_text()[-3_000:]
        raise AssertionError(f"the server did not recover from: {faults}\n{log}") from None


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _found_shop(directory: Path, workers: int) -> Shop:
    shop = Shop(directory, free_port(), workers)
    shop.valkey.mkdir(parents=True)
    (shop.valkey / "port").write_text(str(free_port()))
    general = f'directory = "{directory / "var"}"\nlog_format = "json"\n'
    shop.set_clock(0)
    (directory / "shop.toml").write_text(f"{general}{SETTINGS}workers = {workers}\nport = {shop.port}\n")
    return shop


async def _balance(shop: Shop, ledger: Ledger) -> tuple[set[str], set[str]]:
    """Archive what is left; return the accepted events that the lake lacks, and those that it has repeatedly."""
    last = shop.recsys("archive")
    await ended(last)
    if last.returncode:
        shop.mistakes.append(f"the last archive ended with status {last.returncode}")
    archived = Counter(Lake(shop.directory / "var" / "lake").events().collect()["event_id"].to_list())
    return ledger.acknowledged - set(archived), {event_id for event_id, count in archived.items() if count > 1}


def _find_orphans(shop: Shop) -> set[str]:
    """Publish once more, which removes what killed publishers left; return keys of versions that are not known."""
    with redis.Redis(HOST, shop.redis_port, decode_responses=False) as client:
        number = number_of(live_version(client, KEYS)) + 1
        Publisher(client, shop.directory / "lists-of-the-last", number).publish()
        known = {version.name for version in versions(client, KEYS)}
        keys = {key.decode() for key in client.scan_iter("recsys:2*")}
    return {key for key in keys if key.split(":")[1] not in known}


def print_result(result: ChaosResult) -> None:
    """Print a table of the faults, and the ledger."""
    print("\n| fault | times | longest wait for a list, s | longest wait to accept events, s |\n|" + " --- |" * 4)
    starts = [started for _, started in result.faults]
    for name in dict.fromkeys(name for name, _ in result.faults):
        spans = [
            (started, following)
            for (each, started), following in zip(result.faults, [*starts[1:], inf], strict=True)
            if each == name
        ]
        longest = [_longest(result.ledger, kind, spans) for kind in ("lists", "events")]
        print(f"| {name} | {len(spans)} | " + " | ".join(f"{each:.2f}" for each in longest) + " |")
    print("\n| ledger | measured |\n| --- | --- |")
    for what, count in summarize(result).items():
        print(f"| {what} | {count:,} |")


def summarize(result: ChaosResult) -> dict[str, int]:
    """Return the numbers of the ledger by what they count."""
    ledger = result.ledger
    return {
        "answers": ledger.answers,
        "answers without Redis": ledger.degraded,
        "requests sent again": ledger.tries_again,
        "requests without an answer": len(ledger.unanswered),
        "answers of two versions": len(ledger.mixed),
        "answers with an item that was switched off": len(ledger.switched_off),
        "events accepted": len(ledger.acknowledged),
        "accepted events that the lake lacks": len(result.missing),
        "events that the lake has twice": len(result.repeated),
        "keys of no version": len(result.orphans),
        "wrong ends of commands": len(result.mistakes),
    }


def find_losses(result: ChaosResult) -> list[str]:
    """Return what must not have happened."""
    ledger = result.ledger
    losses = [*ledger.unanswered, *ledger.mixed, *ledger.switched_off, *result.mistakes]
    return [*losses, *sorted(result.missing), *sorted(result.repeated), *sorted(result.orphans)]


def _longest(ledger: Ledger, kind: str, spans: Sequence[tuple[float, float]]) -> float:
    """Return the longest wait that began in one of the spans of time, or just before it."""
    waits = [
        wait.ended - wait.started
        for wait in ledger.waits
        if wait.kind == kind and any(start <= wait.started + TRY_SECONDS < end for start, end in spans)
    ]
    return max(waits, default=0.0)
