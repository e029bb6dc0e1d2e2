"""Send requests while versions are published and rolled back, and find answers with items of two versions.

The shops of all versions have the same users and lists. The name of a version gives the first letter of all its
items.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from recsys.store.client.connect import Client
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.publish.versions import roll_back
from recsys.store.read import live_version
from tests.serving.conftest import Shop, write_shop

LETTERS = "ab"
FIRST = datetime(2018, 1, 1)
KEYS = Keys("recsys")
KNOWN = 20
PATIENCE_SECONDS = 120.0
CONNECTIONS = 4
EVENTS = [
    {"user_id": f"u{user}", "event": "view", "item_id": f"{letter}1", "session_id": f"s{user}"}
    for user in range(0, KNOWN, 2)
    for letter in LETTERS
]
"""Events of every other user, in sessions with an item of either shop."""
PATHS = (
    *(f"/v1/recommendations/u{user}?n=40" for user in range(KNOWN)),
    *(f"/v1/recommendations/nobody{user}?n=5" for user in range(3)),
    *(f"/v1/recommendations/only-{letter}?n=40" for letter in LETTERS),
    *(f"/v1/recommendations/u{user}?n=40&session_id=s{user + 1}" for user in range(3)),
    *("/v1/recommendations?session_id=s1&n=40", "/v1/recommendations/u1?n=10&context=cart"),
    *("/v1/similar/a1?n=10&exclude=x", "/v1/similar/b1?n=10", "/v1/popular?n=5", "/v1/trending?n=5"),
)


@dataclass
class ObservedAnswers:
    """Counts answers, and keeps those that mix versions."""

    answers: int = 0
    degraded: int = 0
    versions: Counter[str] = field(default_factory=Counter[str])
    mixed: list[str] = field(default_factory=list[str])
    """Answers with an item of another version than the one that they name."""


def version_of(number: int) -> str:
    """Return the name of a version; even numbers give the first letter."""
    return (FIRST + timedelta(seconds=number)).strftime("%Y%m%dT%H%M%SZ")


def number_of(version: str) -> int:
    """Return the number of a version.

    >>> number_of(version_of(70))
    70
    """
    return int((datetime.strptime(version, "%Y%m%dT%H%M%SZ") - FIRST).total_seconds())


def letter_of(version: str) -> str:
    """Return the first letter of the items of a version."""
    return LETTERS[int(version[-2]) % len(LETTERS)]


class Publisher:
    """Publishes new versions, and rolls back after every second one."""

    def __init__(self, client: Client, work: Path, first: int = 0) -> None:
        """Write the lists of both shops under `work`; `first` is the number of the first version."""
        self._client = client
        users = tuple(f"u{user}" for user in range(KNOWN))
        self._lists = {
            letter: write_shop(work / letter, Shop(letter, users=(*users, f"only-{letter}"))) for letter in LETTERS
        }
        self._next = first
        self._stopped = threading.Event()

    def publish(self) -> None:
        """Publish a version whose letter differs from that of the live version."""
        live = live_version(self._client, KEYS) if self._next else version_of(1)
        if letter_of(version_of(self._next)) == letter_of(live):
            self._next += 1
        version = version_of(self._next)
        self._next += 1
        directory = self._lists[letter_of(version)]
        publish(self._client, KEYS, version, directory, keep_versions=2)

    def work(self) -> None:
        """Publish and roll back until the publisher is stopped."""
        while not self._stopped.is_set():
            self.publish()
            self.publish()
            roll_back(self._client, KEYS)

    @contextmanager
    def working(self) -> Generator[None]:
        """Run `work` in a thread while the block runs."""
        thread = threading.Thread(target=self.work)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()


async def watch(http: httpx.AsyncClient, requests: int, versions: int) -> ObservedAnswers:
    """Send at least `requests` requests over a few connections, until answers of `versions` versions have come."""
    observed = ObservedAnswers()
    response = await http.post("/v1/events", json=EVENTS)
    assert response.status_code == 202, response.text
    give_up_at = time.monotonic() + PATIENCE_SECONDS * max(1.0, requests / 10_000)

    async def ask(path: str) -> None:
        while observed.answers < requests or len(observed.versions) < versions:
            assert time.monotonic() < give_up_at, observed
            path = PATHS[(PATHS.index(path) + CONNECTIONS) % len(PATHS)]
            _note(observed, await http.get(path))

    await asyncio.gather(*(ask(path) for path in PATHS[:CONNECTIONS]))
    return observed


def _note(observed: ObservedAnswers, response: httpx.Response) -> None:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["items"], answer
    observed.answers += 1
    observed.degraded += answer["degraded"]
    observed.versions[answer["version"]] += 1
    if {item["item_id"][0] for item in answer["items"]} != {letter_of(answer["version"])}:
        observed.mixed.append(response.text)
