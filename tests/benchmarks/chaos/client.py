"""A client that sends events, switches items off and on, and checks every answer, whatever happens meanwhile."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec

from serving.api import Batch, Recommendations
from tests.serving.version_watch import KNOWN, letter_of

LISTERS: Final = 4
BATCH_LISTERS: Final = 2
BATCH_USERS: Final = 200
EVENTS_PER_REQUEST: Final = 5
PAUSE_SECONDS: Final = 0.02
RETRY_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 20.0
"""A request that has no answer within this time, tried again and again, is one without an answer."""
VISIBLE_SECONDS: Final = 0.1
"""An answer to a request sent so long after a switch was acknowledged must know it."""
SWITCHED: Final = ("3", "p2")
"""Items to switch, in the shops of both letters: one of the users' lists, and a popular one."""


@dataclass(frozen=True)
class Wait:
    """What a client waited for one answer: from the first try to the answer, in seconds of `time.monotonic`."""

    kind: str
    """`lists` or `events`."""
    started: float
    ended: float


@dataclass
class Ledger:
    """All that the client has seen."""

    acknowledged: set[str] = field(default_factory=set[str])
    """Ids of the events that were accepted."""
    waits: list[Wait] = field(default_factory=list[Wait])
    answers: int = 0
    degraded: int = 0
    tries_again: int = 0
    """Requests sent again, because the connection ended or the answer was 408, 429 or 503."""
    unanswered: list[str] = field(default_factory=list[str])
    mixed: list[str] = field(default_factory=list[str])
    """Answers with items of another version than they name."""
    switched_off: list[str] = field(default_factory=list[str])
    """Answers with an item that was switched off, and that for long enough."""


class CheckingClient:
    """Sends requests until it is stopped, each until it is answered."""

    def __init__(self, url: str, seed: int, is_port_open: Callable[[], bool]) -> None:
        self._url, self._random = url, random.Random(seed)
        self._is_port_open = is_port_open
        self._stopped = asyncio.Event()
        self._off_since: dict[str, float] = {}
        """Item -> when its being off was acknowledged; absent from when it is about to be switched on."""
        self._sent = 0
        self.ledger = Ledger()

    async def run(self) -> None:
        """Send all kinds of requests side by side until `stop`."""
        async with httpx.AsyncClient(base_url=self._url, timeout=5.0) as http:
            work = [self._ask(http, number) for number in range(LISTERS)]
            work += [self._ask_for_many(http) for _ in range(BATCH_LISTERS)]
            await asyncio.gather(*work, self._send_events(http), self._switch_items(http))

    def stop(self) -> None:
        """Finish the requests under way and no more."""
        self._stopped.set()

    async def _ask(self, http: httpx.AsyncClient, number: int) -> None:
        while not self._stopped.is_set():
            path = f"/v1/recommendations/u{self._random.randrange(KNOWN)}?n=40"
            response, sent = await self._insist(http, "lists", "GET", path)
            if response is not None:
                self._check(msgspec.json.decode(response.content, type=Recommendations), sent)
            await asyncio.sleep(PAUSE_SECONDS * (number + 1) / LISTERS)

    async def _ask_for_many(self, http: httpx.AsyncClient) -> None:
        while not self._stopped.is_set():
            users = [f"u{self._random.randrange(KNOWN)}" for _ in range(BATCH_USERS)]
            body = {"user_ids": users, "n": 10}
            response, sent = await self._insist(http, "lists", "POST", "/v1/recommendations/batch", body)
            if response is not None:
                answers = msgspec.json.decode(response.content, type=Batch).answers
                if [answer.user_id for answer in answers] != users:
                    self.ledger.mixed.append(f"answers of a batch for others: {answers}")
                for answer in answers:
                    self._check(answer, sent)

    def _check(self, answer: Recommendations, sent: float) -> None:
        ledger, items = self.ledger, {item.item_id for item in answer.items}
        ledger.answers += 1
        ledger.degraded += answer.degraded
        if {item_id[0] for item_id in items} != {letter_of(answer.version)}:
            ledger.mixed.append(str(answer))
        for item_id, since in self._off_since.items():
            if item_id in items and sent > since + VISIBLE_SECONDS:
                ledger.switched_off.append(f"{item_id}, off for {sent - since:.2f} s, in {answer}")

    async def _send_events(self, http: httpx.AsyncClient) -> None:
        while not self._stopped.is_set():
            ids = [f"e{self._sent + place}" for place in range(EVENTS_PER_REQUEST)]
            self._sent += len(ids)
            user = f"u{self._random.randrange(KNOWN)}"
            # The events say nothing about an item of either shop, so that sessions do not change the lists.
            events = [{"user_id": user, "event_id": event_id, "item_id": "x", "event": "view"} for event_id in ids]
            response, _ = await self._insist(http, "events", "POST", "/v1/events", events)
            if response is not None:
                assert response.json()["accepted"] == len(ids), response.text
                self.ledger.acknowledged.update(ids)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _switch_items(self, http: httpx.AsyncClient) -> None:
        while not self._stopped.is_set():
            items = [f"{letter}{self._random.choice(SWITCHED)}" for letter in "ab"]
            for available in (False, True):
                for item_id in items:
                    self._off_since.pop(item_id, None)
                    body = {"available": available}
                    response, _ = await self._insist(http, "items", "PUT", f"/v1/items/{item_id}", body)
                    if response is not None and not available:
                        self._off_since[item_id] = time.monotonic()
                await asyncio.sleep(self._random.uniform(0.1, 0.6))

    async def _insist(
        self, http: httpx.AsyncClient, kind: str, method: str, path: str, body: Any = None
    ) -> tuple[httpx.Response | None, float]:
        """Send a request until it is answered; return the answer, None without one, and when the last try began."""
        started, port_closed = time.monotonic(), 0.0
        while True:
            sent = time.monotonic()
            try:
                response = await http.request(method, path, json=body)
            except httpx.TransportError as error:
                response, problem = None, type(error).__name__
            else:
                if response.status_code in (200, 202):
                    self.ledger.waits.append(Wait(kind, started, time.monotonic()))
                    return response, sent
                problem = f"{response.status_code} {response.text}"
                assert response.status_code in (408, 429, 503), problem
            self.ledger.tries_again += 1
            await asyncio.sleep(RETRY_SECONDS)
            if not self._is_port_open():
                port_closed += time.monotonic() - sent
            if time.monotonic() - started - port_closed > ANSWER_SECONDS:
                self.ledger.unanswered.append(f"{method} {path}: {problem}")
                return None, sent
