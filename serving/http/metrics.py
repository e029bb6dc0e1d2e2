"""Metrics for Prometheus: each worker counts in plain numbers, and any of them reports the sum over all workers.

A worker writes its counts to its own file once a second; the worker that receives the request adds up all files.
"""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from recsys.files import atomic_write

WRITE_SECONDS: Final = 1.0
BUCKETS: Final = (
    *(0.00005, 0.0001, 0.0002, 0.0005),
    *(0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0),
)
"""Upper bounds in seconds."""
COUNTERS: Final = {
    "requests": ("HTTP requests by route and status", ("route", "status")),
    "items": ("Items in answers by the source they came from", ("source",)),
    "lists": ("Answers with a user's list, by which of the lists", ("list",)),
    "degraded": ("Answers made without Redis", ()),
    "events": ("Events accepted, refused as invalid, and shed under load", ("outcome",)),
    "events_scored": ("Events whose users were checked for anomalies", ()),
    "flags": (
        "Users over the threshold: flagged, in shadow only, deferred by the daily limit, allowed",
        ("outcome",),
    ),
    "impressions_lost": ("Answers whose impressions were not written", ()),
    "failed_keys": ("Requests refused for lack of a valid API key, by reason", ("reason",)),
    "redis_problems": ("Times that something was wrong with the data of Redis", ("problem",)),
    "redis_outages": ("Times that a connection stopped answering", ()),
}
HISTOGRAMS: Final = {
    "stage_seconds": ("Seconds of each stage of a recommendation", ("stage",)),
    "request_seconds": ("Seconds of a request by route", ("route",)),
}
GAUGES: Final = {
    "stream_entries": "Entries of the event stream that are not archived yet",
    "stream_lag_seconds": "Age of the oldest entry that is not archived yet",
    "redis_memory_bytes": "Memory that Redis uses",
    "redis_share": "Share of Redis' memory, or of the stream's greatest length, in use",
    "redis_able": "1 while Redis answers",
    "redis_sound": "1 while the data in Redis are whole, and word of them comes",
    "flags_active": "Users who are flagged now",
}

Labels = tuple[str, ...]


class Metrics:
    """The metrics of one worker, and the sum over all workers."""

    def __init__(self, directory: Path, gauges: Callable[[], Mapping[str, float]]) -> None:
        """Create the metrics; all workers share `directory`, and `gauges` returns the current values."""
        self._directory = directory
        self._gauges = gauges
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in COUNTERS}
        self._buckets: dict[str, dict[Labels, list[int]]] = {name: {} for name in HISTOGRAMS}
        self._sums: dict[str, dict[Labels, float]] = {name: {} for name in HISTOGRAMS}
        self._observed: dict[str, defaultdict[Labels, list[float]]] = {
            name: defaultdict(list) for name in HISTOGRAMS
        }
        # Metrics with a single label are kept as they come, and counted later, many at a time.
        self._labels: defaultdict[str, list[Iterable[str]]] = defaultdict(list)
        self._durations: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Increase a counter."""
        self._counts[name][labels] += by

    def count_each(self, name: str, labels: Iterable[str]) -> None:
        """Increase a counter that has a single label, by one for each value of the label.

        The labels must not change later.
        """
        self._labels[name].append(labels)

    def set_total(self, name: str, total: int) -> None:
        """Set a counter that another object counts."""
        self._counts[name][()] = total

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add a duration to a histogram; durations are sorted into buckets later, many at a time."""
        self._observed[name][labels].append(seconds)

    def observe_each(self, name: str, seconds: Mapping[str, float]) -> None:
        """Add durations by label value to a histogram that has a single label."""
        self._durations[name].append(seconds)

    def record_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request, and add its duration."""
        self.count("requests", route, str(status))
        self.observe("request_seconds", seconds, route)

    def open(self) -> None:
        """Start to write the counts for the other workers."""
        self._task = asyncio.create_task(self._write_regularly())

    async def close(self) -> None:
        """Stop writing; the counts stay until the next start of the server, so that no counter falls."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._write(self._snapshot())

    def text(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        self._write(self._snapshot())
        registry = CollectorRegistry()
        registry.register(_Totals(self._read_all(), self._gauges()))
        return generate_latest(registry)

    def _merge(self) -> None:
        """Sort the observed durations into buckets, and merge the counts of single labels."""
        for name, labels in self._labels.items():
            counts = Counter(chain.from_iterable(labels))
            self._counts[name].update({(label,): count for label, count in counts.items()})
            labels.clear()
        for name, durations in self._durations.items():
            for label, duration in chain.from_iterable(each.items() for each in durations):
                self._observed[name][label,].append(duration)
            durations.clear()
        for name, observed in self._observed.items():
            for labels, seconds in observed.items():
                places = np.searchsorted(BUCKETS, seconds)
                counts = np.bincount(places, minlength=len(BUCKETS) + 1)
                before = self._buckets[name].get(labels, [0] * len(counts))
                self._buckets[name][labels] = [old + new for old, new in zip(before, counts.tolist(), strict=True)]
                self._sums[name][labels] = self._sums[name].get(labels, 0.0) + sum(seconds)
            observed.clear()

    def _snapshot(self) -> dict[str, Any]:
        self._merge()
        return {
            "counts": {name: list(counts.items()) for name, counts in self._counts.items()},
            "buckets": {name: list(buckets.items()) for name, buckets in self._buckets.items()},
            "sums": {name: list(sums.items()) for name, sums in self._sums.items()},
        }

    def _write(self, snapshot: dict[str, Any]) -> None:
        with suppress(OSError), atomic_write(self._directory / f"{os.getpid()}.json") as temporary:
            temporary.write_bytes(msgspec.json.encode(snapshot))

    def _read_all(self) -> list[dict[str, Any]]:
        snapshots: list[dict[str, Any]] = []
        for file in self._directory.glob("*.json"):
            with suppress(OSError, msgspec.DecodeError):
                snapshots.append(msgspec.json.decode(file.read_bytes()))
        return snapshots

    async def _write_regularly(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await asyncio.to_thread(self._write, self._snapshot())


class _Totals(Collector):
    """The sum of the snapshots of all workers."""

    def __init__(self, snapshots: Iterable[Mapping[str, Any]], gauges: Mapping[str, float]) -> None:
        self._snapshots = list(snapshots)
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        for name, (meaning, labels) in COUNTERS.items():
            counter = CounterMetricFamily(f"recsys_{name}", meaning, labels=labels)
            for values, total in self._totals("counts", name).items():
                counter.add_metric(values, total)
            yield counter
        for name, (meaning, labels) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"recsys_{name}", meaning, labels=labels)
            sums = self._totals("sums", name)
            for values, counts in self._bucket_totals(name).items():
                ends = [*(str(end) for end in BUCKETS), "+Inf"]
                cumulative = list(zip(ends, map(float, accumulate(counts)), strict=True))
                histogram.add_metric(values, cumulative, sums[values])
            yield histogram
        for name, meaning in GAUGES.items():
            yield GaugeMetricFamily(f"recsys_{name}", meaning, value=self._gauges.get(name, 0.0))

    def _totals(self, kind: str, name: str) -> Counter[Labels]:
        total: Counter[Labels] = Counter()
        for snapshot in self._snapshots:
            for labels, value in snapshot[kind].get(name, ()):
                total[tuple(labels)] += value
        return total

    def _bucket_totals(self, name: str) -> dict[Labels, list[int]]:
        total: dict[Labels, list[int]] = {}
        for snapshot in self._snapshots:
            for labels, counts in snapshot["buckets"].get(name, ()):
                sums = total.setdefault(tuple(labels), [0] * len(counts))
                total[tuple(labels)] = [a + b for a, b in zip(sums, counts, strict=True)]
        return total
