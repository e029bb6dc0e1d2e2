"""What live sessions add: the week after a night's run, event by event through the server's own engine.

Each basket of Complete Journey's last week is replayed item by item, in an arbitrary order: the data has one time
a basket. Before every item but the first, the household's list is asked for: what should be in it is the rest of
the basket. The nightly list alone is the list as it was published.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import redis
import uvloop
from numpy.typing import NDArray

from jobs.demo.complete_journey import EXAMPLE, demo_directory
from recsys.settings import Settings, load_settings
from recsys.store.embedded import ServerAddress, start_server, stop_server
from recsys.store.keys import Keys
from serving.api import Recommendation
from serving.http.worker import Worker
from serving.requests import ListRequest

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
AS_OF: Final = datetime(2017, 12, 25, tzinfo=UTC)
DAYS: Final = 7
HOUSEHOLDS: Final = 500
K: Final = 20
SEED: Final = 0
SAMPLES: Final = 1_000
SHARE_PLACES: Final = 10
SHARE: Final = f"share of one item's neighbors in the first {SHARE_PLACES}"
LISTS: Final = ("nightly list alone", "nightly list, less what was bought since", "live session")


@dataclass(frozen=True)
class Trip:
    """One basket of one household."""

    user_id: str
    at: datetime
    items: tuple[str, ...]


def replay(work: Path) -> Iterator[tuple[str, Any]]:
    """A night of Complete Journey, and the week after it."""
    directory = work / "replay"
    command = [RECSYS, "--config", str(EXAMPLE), "nightly", str(demo_directory()), "--as-of", f"{AS_OF:%Y-%m-%d}"]
    subprocess.run(command, env=_environment(directory), check=True, stdout=subprocess.DEVNULL)
    result = replay_week(directory, AS_OF)
    print(
        f"\n| Complete Journey, {DAYS} days, the rest of each basket | Recall@{K} | NDCG@{K} |\n| --- | --- | --- |"
    )
    for name in LISTS:
        print(f"| {name} | {result[name]['recall']:.4f} | {result[name]['ndcg']:.4f} |")
    shares = result[SHARE]
    print(f"{SHARE}: {shares['mean']:.3f} on average, {shares['maximum']:.2f} at most")
    print(f"live over nightly, 95 % of households drawn again: {result['difference']}")
    yield from result.items()


def replay_week(directory: Path, as_of: datetime) -> dict[str, Any]:
    """The metrics of each kind of list over the week after `as_of`, whose run is published under `directory`."""
    settings = load_settings(EXAMPLE, {})
    server = start_server(directory / "valkey")
    try:
        settings = _online(settings, directory, server)
        trips = read_trips(directory, as_of)
        measured, shares = uvloop.run(_replayed(settings, trips))
    finally:
        stop_server(directory / "valkey")
    means = {name: {"recall": _mean(measured[name][0]), "ndcg": _mean(measured[name][1])} for name in LISTS}
    means[SHARE] = {"mean": float(np.mean(shares)), "maximum": max(shares)}
    return means | {"households": len({trip.user_id for trip in trips}), "difference": _difference(measured)}


def read_trips(directory: Path, as_of: datetime) -> list[Trip]:
    """The baskets of the week after `as_of` of some households, in order of time."""
    rows = (
        pl.scan_parquet(directory / "lake" / "events" / "**" / "*.parquet")
        .filter(pl.col("timestamp") >= as_of, pl.col("timestamp") < as_of + pl.duration(days=DAYS))
        .sort("timestamp", "user_id", "event_id")
        .group_by("user_id", "session_id", maintain_order=True)
        .agg(pl.col("timestamp").first(), pl.col("item_id").unique(maintain_order=True))
        .filter(pl.col("item_id").list.len() > 1)
        .collect()
    )
    users = rows["user_id"].unique().sort().sample(min(HOUSEHOLDS, rows["user_id"].n_unique()), seed=SEED)
    chosen = rows.filter(pl.col("user_id").is_in(users.implode())).sort("timestamp", "user_id", "session_id")
    return [
        Trip(user_id, at, tuple(items))
        for user_id, at, items in chosen.select("user_id", "timestamp", "item_id").iter_rows()
    ]


def _online(settings: Settings, directory: Path, server: ServerAddress) -> Settings:
    """The shop's settings with the embedded server, patient, and nothing written of what is shown."""
    url = f"redis://{server.host}:{server.port}/0"
    serving = replace(settings.serving, impressions=False, read_timeout_ms=1_000.0)
    return replace(settings, directory=directory, redis=replace(settings.redis, url=url), serving=serving)


async def _replayed(
    settings: Settings, trips: list[Trip]
) -> tuple[dict[str, tuple[NDArray[Any], NDArray[Any]]], list[float]]:
    """Recall and NDCG of each kind of list, (households,): the mean over the requests of each.

    Also for each live answer the greatest share of one item's neighbors.
    """
    shares: list[float] = []
    clock = [trips[0].at.timestamp()]
    worker = Worker(settings, lambda: clock[0])
    keys = Keys(settings.redis.namespace)
    scores: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in LISTS}
    with redis.Redis.from_url(str(settings.redis.url)) as client:
        for key in client.scan_iter(f"{settings.redis.namespace}:session:*"):
            client.delete(key)
        async with worker.running():
            version = worker.engine.catalogue().version
            for trip in trips:
                published: Any = client.get(keys.user_items(version, trip.user_id))
                nightly = published.decode().split(" ") if published else []
                await _trip(worker, trip, nightly, clock, scores, shares)
    return {name: _by_household(result) for name, result in scores.items()}, shares


async def _trip(
    worker: Worker,
    trip: Trip,
    nightly: list[str],
    clock: list[float],
    scores: dict[str, dict[str, list[tuple[float, float]]]],
    shares: list[float],
) -> None:
    """Replay one basket: tell of an item, ask, compare with the rest."""
    for place, item_id in enumerate(trip.items[:-1], 1):
        clock[0] = max(clock[0], trip.at.timestamp() + place * 1e-3)
        event = {
            "event_id": f"{trip.user_id}-{trip.at:%Y%m%d%H%M%S}-{place}",
            "user_id": trip.user_id,
            "item_id": item_id,
            "event": "purchase",
            "timestamp": datetime.fromtimestamp(trip.at.timestamp() + place * 1e-3, UTC),
        }
        taken = await worker.events.take(msgspec.json.encode(event))
        assert taken.accepted == 1
        answered = await worker.engine.recommend(ListRequest(trip.user_id, n=K), "replay")
        shares.append(greatest_share(answered.answer.items[:SHARE_PLACES]))
        wanted = set(trip.items[place:])
        bought = set(trip.items[:place])
        shown = {
            LISTS[0]: nightly[:K],
            LISTS[1]: [item for item in nightly if item not in bought][:K],
            LISTS[2]: [item.item_id for item in answered.answer.items],
        }
        for name, items in shown.items():
            scores[name].setdefault(trip.user_id, []).append(metrics(items, wanted))


def greatest_share(items: list[Recommendation]) -> float:
    """The greatest share of items whose reason names one and the same item of the session."""
    reasons = (item.reason for item in items if item.source in ("session", "bought_with"))
    named = Counter(reason.partition(" to " if reason.startswith("similar") else " with ")[2] for reason in reasons)
    return max(named.values(), default=0) / len(items) if items else 0.0


def metrics(items: list[str], wanted: set[str]) -> tuple[float, float]:
    """Recall and NDCG of the first K items, as the library's evaluation defines them.

    >>> metrics(["a", "b"], {"a", "c"})[0]
    0.5
    """
    hits = np.array([item in wanted for item in items[:K]], float)
    discounts = 1 / np.log2(np.arange(2, K + 2))
    best = discounts[: min(K, len(wanted))].sum()
    return float(hits.sum() / len(wanted)), float((hits * discounts[: len(hits)]).sum() / best)


def _by_household(result: dict[str, list[tuple[float, float]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    means = np.array([np.mean(result[user_id], axis=0) for user_id in sorted(result)])
    return means[:, 0], means[:, 1]


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean())


def _difference(measured: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> str:
    """The gain of live sessions over the nightly list in NDCG, with a bootstrap interval over households."""
    gain = measured[LISTS[2]][1] - measured[LISTS[0]][1]
    draws = np.random.default_rng(SEED).integers(len(gain), size=(SAMPLES, len(gain)))
    low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
    return f"NDCG {gain.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def _environment(directory: Path) -> dict[str, str]:
    import os

    return {**os.environ, "RECSYS_DIRECTORY": str(directory)}


if __name__ == "__main__":
    print(
        json.dumps(
            replay_week(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]).replace(tzinfo=UTC)), indent=1
        )
    )
