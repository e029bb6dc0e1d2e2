"""Erase many users from a large lake: `python -m tests.benchmarks erase`."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from jobs.lake.event_partitions import IngestOfEvents
from jobs.lake.lake import Lake
from recsys.schema import EVENT_DTYPES, SOURCE
from recsys.store.embedded import stop_server
from tests.benchmarks.watch import watch

EVENTS: Final = 10_000_000
EVENTS_OF_A_USER: Final = 50
BUCKETS: Final = 4
DAYS: Final = 365
ERASED: Final = 1_000
FIRST_DAY: Final = datetime(2023, 1, 1, tzinfo=UTC)
MAX_SECONDS: Final = 300.0


def erase_benchmark(work: Path, events: int = EVENTS) -> Iterator[tuple[str, float]]:
    """Measure erasing `ERASED` users from a lake of `events` events, verified by a second scan."""
    directory, users = work / "var", events // EVENTS_OF_A_USER
    lake = Lake(directory / "lake", BUCKETS)
    with lake.locked() as scratch:
        file = scratch / "events.parquet"
        _draw(events, users).write_parquet(file)
        lake.write_events(pl.scan_parquet(file), IngestOfEvents(1))
    named = work / "users.txt"
    named.write_text("\n".join(f"user{number}" for number in range(0, users, users // ERASED)))
    environment = {**os.environ, "RECSYS_DIRECTORY": str(directory), "RECSYS_LAKE_BUCKETS": str(BUCKETS)}
    try:
        measured = watch([sys.executable, "-m", "jobs.cli.app", "erase", "--file", str(named)], environment)
    finally:
        stop_server(directory / "valkey")
    missed = "" if measured.seconds <= MAX_SECONDS else " (missed)"
    peak = f"{measured.peak_bytes / 1e6:,.0f} MB"
    print(f"{ERASED:,} users erased from {events:,} events: {measured.seconds:.1f} s, {peak}{missed}")
    yield "erase seconds", measured.seconds
    yield "erase peak bytes", measured.peak_bytes


def _draw(rows: int, users: int) -> pl.DataFrame:
    random = np.random.default_rng(0)
    seconds = pl.Series(random.integers(0, DAYS * 86_400, rows))
    numbers = pl.DataFrame({"number": np.arange(rows), "user": random.integers(0, users, rows), "second": seconds})
    drawn = numbers.select(
        event_id=pl.format("e{}", "number"),
        user_id=pl.format("user{}", "user"),
        item_id=pl.format("item{}", pl.col("number") % 20_000),
        event=pl.lit("view"),
        timestamp=pl.lit(FIRST_DAY) + pl.duration(seconds="second"),
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in EVENT_DTYPES.items() if name not in drawn.columns]
    complete = drawn.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in EVENT_DTYPES.items())
    return complete.with_columns(pl.lit("benchmark").alias(SOURCE))
