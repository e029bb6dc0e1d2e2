"""Batches of events for tests of the guard, and reads of the resulting flags."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import redis

from recsys.settings import Settings
from recsys.store.keys import Keys
from serving.http.worker import Worker
from tests.acts import Row, views

KEYS = Keys("recsys")
START = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)


def acts(
    user: str, count: int, seconds: float, start: datetime = START, uneven: float = 0.0, **facts: Any
) -> list[Row]:
    """Views as they are posted, with ids of their own."""
    rows = views(user, count, seconds, start, uneven)
    return [
        row
        | {
            "event_id": f"{user}-{start:%H%M%S}-{number}",
            "timestamp": row["timestamp"].isoformat(),
            **facts,
        }
        for number, row in enumerate(rows)
    ]


@dataclass
class Clock:
    """The time that the server goes by."""

    now: datetime = START

    def __call__(self) -> float:
        return self.now.timestamp()


def take(settings: Settings, *batches: Sequence[Row], clock: Clock | None = None) -> None:
    """Batches taken in, one after the other, each at the time of its last event, or at the clock's."""

    async def scenario() -> None:
        moment = clock or Clock()
        worker = Worker(settings, moment)
        async with worker.running():
            for batch in batches:
                if clock is None:
                    moment.now = max(datetime.fromisoformat(row["timestamp"]) for row in batch)
                taken = await worker.events.take(msgspec.json.encode(batch))
                assert (taken.accepted, taken.errors) == (len(batch), [])
                worker.count_events(taken)

    asyncio.run(scenario())


def each(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows as batches of one, in the order of time."""
    return [[row] for row in sorted(rows, key=lambda row: row["timestamp"])]


def entries(client: redis.Redis) -> list[Row]:
    """The flags in the stream."""
    result: Any = client.xrange(KEYS.events)
    return [msgspec.json.decode(fields[b"flag"]) for _, fields in result if b"flag" in fields]


def names(client: redis.Redis, pattern: str) -> list[bytes]:
    """The keys there are."""
    result: Any = client.keys(pattern)
    return result


def changed(settings: Settings, **anomalies: Any) -> Settings:
    return replace(settings, anomalies=replace(settings.anomalies, **anomalies))
