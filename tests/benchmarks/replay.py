"""What live sessions add: the time after a night's run, event by event through the server's own engine.

Each session of a shop is replayed event by event. After every event but the last, the user's list is asked for: the
items of the session's later events should be in it. The baskets of Complete Journey have one time each, so their
items come in an arbitrary order. The nightly list alone is the list as it was published; a user without one gets
what is popular.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import redis
import uvloop
from numpy.typing import NDArray

from jobs.demo.complete_journey import EXAMPLE, demo_directory
from recsys.schema import PURCHASE
from recsys.settings import Settings, load_settings
from recsys.store.embedded import ServerAddress, start_server, stop_server
from recsys.store.keys import Keys, popular_name
from serving.api import Recommendation
from serving.http.worker import Worker
from serving.requests import ListRequest
from tests.benchmarks.peers.comparison import SHARED

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
USERS: Final = 500
K: Final = 20
SEED: Final = 0
SAMPLES: Final = 1_000
SHARE_PLACES: Final = 10
SHARE: Final = f"share of one item's neighbors in the first {SHARE_PLACES}"
LISTS: Final = ("nightly list alone", "nightly list, less what was bought since", "live session")


@dataclass(frozen=True)
class Shop:
    """A shop's data, and the time that is replayed: sessions of `span` from `as_of` on."""

    settings: Path
    data: Path
    as_of: datetime
    span: timedelta


SHOPS: Final = {
    "complete_journey": Shop(EXAMPLE, demo_directory(), datetime(2017, 12, 25, tzinfo=UTC), timedelta(days=7)),
    "rees46": Shop(
        EXAMPLE.with_name("rees46.toml"),
        SHARED / "rees46",
        datetime(2019, 10, 1, 2, 40, tzinfo=UTC),
        timedelta(minutes=10),
    ),
}
"""The parts that are measured; weights are chosen on the parts before them, 2017-12-18 and 02:30."""


@dataclass(frozen=True)
class Step:
    """One event of a session."""

    item_id: str
    event: str
    at: datetime


@dataclass(frozen=True)
class Trip:
    """One session of one user."""

    user_id: str
    steps: tuple[Step, ...]


def replay(work: Path) -> Iterator[tuple[str, Any]]:
    """A night of each shop, and the time after it."""
    for name, shop in SHOPS.items():
        if not shop.data.exists():
            print(f"{name}: left out, {shop.data.name} is not here")
            continue
        directory = work / "replay" / name
        run_night(shop, directory)
        result = replay_shop(shop, directory)
        print(f"\n| {name}, the rest of each session | Recall@{K} | NDCG@{K} |\n| --- | --- | --- |")
        for each in LISTS:
            print(f"| {each} | {result[each]['recall']:.4f} | {result[each]['ndcg']:.4f} |")
        shares = result[SHARE]
        print(f"{SHARE}: {shares['mean']:.3f} on average, {shares['maximum']:.2f} at most")
        print(f"live over nightly, 95 % of users drawn again: {result['difference']}")
        yield name, result


def run_night(shop: Shop, directory: Path) -> None:
    """Ingest a shop's data, and publish the lists of its night."""
    command = [RECSYS, "--config", str(shop.settings), "nightly", str(shop.data), "--as-of", f"{shop.as_of:%FT%R}"]
    environment = {**os.environ, "RECSYS_DIRECTORY": str(directory)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def replay_shop(shop: Shop, directory: Path) -> dict[str, Any]:
    """The metrics of each kind of list over a shop's sessions, whose run is published under `directory`."""
    settings = load_settings(shop.settings, {})
    server = start_server(directory / "valkey")
    try:
        settings = _online(settings, directory, server)
        trips = read_trips(directory, shop)
        measured, shares = uvloop.run(_replayed(settings, trips))
    finally:
        stop_server(directory / "valkey")
    means = {name: {"recall": _mean(measured[name][0]), "ndcg": _mean(measured[name][1])} for name in LISTS}
    means[SHARE] = {"mean": float(np.mean(shares)), "maximum": max(shares)}
    return means | {"users": len({trip.user_id for trip in trips}), "difference": _difference(measured)}


def read_trips(directory: Path, shop: Shop) -> list[Trip]:
    """The sessions of some users with several items, in order of time."""
    rows = (
        pl.scan_parquet(directory / "lake" / "events" / "**" / "*.parquet")
        .filter(pl.col("timestamp") >= shop.as_of, pl.col("timestamp") < shop.as_of + shop.span)
        .sort("timestamp", "user_id", "event_id")
        .unique(["user_id", "session_id", "item_id", "event"], keep="first", maintain_order=True)
        .group_by("user_id", "session_id", maintain_order=True)
        .agg("timestamp", "item_id", "event")
        .filter(pl.col("item_id").list.n_unique() > 1)
        .collect()
    )
    users = rows["user_id"].unique().sort()
    chosen = rows.filter(pl.col("user_id").is_in(users.sample(min(USERS, len(users)), seed=SEED).implode()))
    ordered = chosen.sort(pl.col("timestamp").list.first(), "user_id", "session_id")
    return [
        Trip(user_id, tuple(map(Step, items, events, times)))
        for user_id, items, events, times in ordered.select("user_id", "item_id", "event", "timestamp").iter_rows()
    ]


def _online(settings: Settings, directory: Path, server: ServerAddress) -> Settings:
    """The shop's settings with the embedded server, patient, and nothing written of what is shown."""
    url = f"redis://{server.host}:{server.port}/0"
    serving = replace(settings.serving, impressions=False, read_timeout_ms=1_000.0)
    return replace(settings, directory=directory, redis=replace(settings.redis, url=url), serving=serving)


async def _replayed(
    settings: Settings, trips: list[Trip]
) -> tuple[dict[str, tuple[NDArray[Any], NDArray[Any]]], list[float]]:
    """Recall and NDCG of each kind of list, (users,): the mean over the requests of each.

    Also for each live answer the greatest share of one item's neighbors.
    """
    shares: list[float] = []
    clock = [trips[0].steps[0].at.timestamp()]
    worker = Worker(settings, lambda: clock[0])
    keys = Keys(settings.redis.namespace)
    scores: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in LISTS}
    with redis.Redis.from_url(str(settings.redis.url)) as client:
        for kind in ("session", "event_ids"):
            for key in client.scan_iter(f"{settings.redis.namespace}:{kind}:*"):
                client.delete(key)
        async with worker.running():
            version = worker.engine.catalogue().version
            popular = client.get(keys.ranking(version, popular_name()))
            for trip in trips:
                published: Any = client.get(keys.user_items(version, trip.user_id)) or popular
                nightly = published.decode().split(" ") if published else []
                await _trip(worker, trip, nightly, clock, scores, shares)
    return {name: _by_user(result) for name, result in scores.items()}, shares


async def _trip(
    worker: Worker,
    trip: Trip,
    nightly: list[str],
    clock: list[float],
    scores: dict[str, dict[str, list[tuple[float, float]]]],
    shares: list[float],
) -> None:
    """Replay one session: tell of an event, ask, compare with the items of the later events."""
    for place, step in enumerate(trip.steps[:-1], 1):
        at = step.at.timestamp() + place * 1e-3  # events of one time come one after the other
        clock[0] = max(clock[0], at)
        event = {
            "event_id": f"{step.at:%Y%m%d%H%M%S}-{step.item_id}-{step.event}",
            "user_id": trip.user_id,
            "item_id": step.item_id,
            "event": step.event,
            "timestamp": datetime.fromtimestamp(at, UTC),
        }
        taken = await worker.events.take(msgspec.json.encode(event))
        assert taken.accepted == 1, taken
        touched = {each.item_id for each in trip.steps[:place]}
        wanted = {each.item_id for each in trip.steps[place:]} - touched
        if not wanted:
            continue
        answered = await worker.engine.recommend(ListRequest(trip.user_id, n=K), "replay")
        shares.append(greatest_share(answered.answer.items[:SHARE_PLACES]))
        bought = {each.item_id for each in trip.steps[:place] if each.event == PURCHASE}
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


def _by_user(result: dict[str, list[tuple[float, float]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    means = np.array([np.mean(result[user_id], axis=0) for user_id in sorted(result)])
    return means[:, 0], means[:, 1]


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean())


def _difference(measured: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> str:
    """The gain of live sessions over the nightly list in NDCG, with a bootstrap interval over users."""
    gain = measured[LISTS[2]][1] - measured[LISTS[0]][1]
    draws = np.random.default_rng(SEED).integers(len(gain), size=(SAMPLES, len(gain)))
    low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
    return f"NDCG {gain.mean():+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    shop_name, run_directory, moment = sys.argv[1:]
    part = replace(SHOPS[shop_name], as_of=datetime.fromisoformat(moment).replace(tzinfo=UTC))
    print(json.dumps(replay_shop(part, Path(run_directory)), indent=1))
