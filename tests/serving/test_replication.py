"""What a failover may lose: nothing that was acknowledged, where events wait for replicas."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis

from recsys.settings import Redis, Settings
from recsys.store.keys import EVENT_FIELD, Keys
from tests.recsys.store.sentinels import HOST, NAME, PASSWORD, Watched, running_sentinel
from tests.serving.conftest import application
from tests.waiting import until, until_async

KEYS = Keys("recsys")
WRITE_TIMEOUT_MS = 400.0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with running_sentinel(tmp_path / "sentinels") as watched:
        yield watched


def client_of(port: int) -> redis.Redis:
    return redis.Redis(port=port, password=PASSWORD)


def process_id(port: int) -> int:
    with client_of(port) as client:
        facts: Any = client.info("server")
    return int(facts["process_id"])


def stored_ids(port: int) -> set[str]:
    """Return the ids of the events in the stream of a server."""
    with client_of(port) as client:
        entries: Any = client.xrange(KEYS.events)
    events = [fields[EVENT_FIELD.encode()] for _, fields in entries if EVENT_FIELD.encode() in fields]
    return {msgspec.json.decode(event)["event_id"] for event in events}


class Writer:
    """Sends one event after the other, and keeps the ids of those that were accepted."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http, self._stopped = http, asyncio.Event()
        self.accepted: list[str] = []
        self._task = asyncio.create_task(self._run())

    async def has_accepted_another(self) -> None:
        """Wait until one more event is accepted."""
        before = len(self.accepted)
        await until_async(lambda: len(self.accepted) > before)

    async def stop(self) -> None:
        self._stopped.set()
        await self._task

    async def _run(self) -> None:
        number = 0
        while not self._stopped.is_set():
            number += 1
            event = {"event_id": f"e{number}", "user_id": "u", "item_id": "a1", "event": "view"}
            if (await self._http.post("/v1/events", json=event)).status_code == 202:
                self.accepted.append(f"e{number}")
            await asyncio.sleep(0.005)


def test_no_accepted_event_is_lost_when_one_primary_after_the_other_freezes(
    watched: Watched, tmp_path: Path
) -> None:
    url = f"redis://:{PASSWORD}@{HOST}:{watched.sentinel}/0"
    settings = Settings(directory=tmp_path / "var", redis=Redis(url=url, sentinel=NAME, wait_replicas=1))
    settings = replace(settings, serving=replace(settings.serving, write_timeout_ms=WRITE_TIMEOUT_MS))
    processes = {port: process_id(port) for port in watched.servers}

    async def scenario() -> Writer:
        async with application(settings) as http:
            writer = Writer(http)
            await writer.has_accepted_another()
            first, second = watched.primary(), watched.replica()
            os.kill(processes[first], signal.SIGSTOP)
            await asyncio.to_thread(watched.promote)
            await asyncio.sleep(1.0)  # a primary without replicas has the time to accept events
            os.kill(processes[second], signal.SIGSTOP)
            os.kill(processes[first], signal.SIGCONT)
            await asyncio.to_thread(watched.promote)
            os.kill(processes[second], signal.SIGCONT)
            await writer.has_accepted_another()
            await writer.stop()
            return writer

    try:
        writer = asyncio.run(scenario())
    finally:
        for process in processes.values():
            os.kill(process, signal.SIGCONT)
    assert set(writer.accepted) <= stored_ids(watched.primary())


def test_an_event_is_refused_while_too_few_replicas_answer(watched: Watched, tmp_path: Path) -> None:
    url = f"redis://:{PASSWORD}@{HOST}:{watched.primary()}/0"
    settings = Settings(directory=tmp_path / "var", redis=Redis(url=url, wait_replicas=1))
    settings = replace(settings, serving=replace(settings.serving, write_timeout_ms=WRITE_TIMEOUT_MS))
    replica = process_id(watched.replica())
    requests = (
        ("POST", "/v1/events", {"event_id": "e1", "user_id": "u", "item_id": "a1", "event": "view"}),
        ("PUT", "/v1/items/a1", {"available": False}),
        ("PUT", "/v1/anomalies/u", {"label": "fine"}),
    )

    async def statuses(http: httpx.AsyncClient) -> list[int]:
        return [(await http.request(method, path, json=body)).status_code for method, path, body in requests]

    async def takes_all(http: httpx.AsyncClient) -> bool:
        return await statuses(http) == [202, 200, 200]

    async def scenario() -> None:
        async with application(settings) as http:
            os.kill(replica, signal.SIGSTOP)
            assert await statuses(http) == [503, 503, 503]
            os.kill(replica, signal.SIGCONT)
            await until(lambda: takes_all(http))

    try:
        asyncio.run(scenario())
    finally:
        os.kill(replica, signal.SIGCONT)
    assert "e1" in stored_ids(watched.replica())
