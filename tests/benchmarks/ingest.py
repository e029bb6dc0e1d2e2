"""Ingest of many rows, and of many days one after another: `python -m tests.benchmarks ingest`."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.logs import configure_logging
from recsys.settings import Sources
from tests.benchmarks.watch import watch

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
ROWS: Final = 10_000_000
ROWS_OF_A_PART: Final = 1_000_000
DAYS: Final = 1_000
EVENTS_OF_A_DAY: Final = 2_000
FIRST_DAY: Final = datetime(2023, 1, 1, tzinfo=UTC)
LATEST: Final = FIRST_DAY + timedelta(days=2 * DAYS)
MAX_PEAK_BYTES: Final = 2_000_000_000
MAX_SLOWDOWN: Final = 1.2


def ingest_benchmark(work: Path) -> Iterator[tuple[str, float]]:
    """Measure the ingest of `ROWS` CSV rows, and the features of a lake filled by day and of one filled at once."""
    yield from _many_rows(work / "rows")
    yield from _many_days(work / "days")


def _many_rows(work: Path) -> Iterator[tuple[str, float]]:
    (work / "shop").mkdir(parents=True)
    with (work / "shop" / "events.csv").open("wb") as file:
        for part in range(ROWS // ROWS_OF_A_PART):
            _draw(ROWS_OF_A_PART, part, days=365).write_csv(file, include_header=part == 0)
    environment = {**os.environ, "RECSYS_DIRECTORY": str(work / "var")}
    measured = watch([RECSYS, "ingest", str(work / "shop")], environment)
    missed = "" if measured.peak_bytes <= MAX_PEAK_BYTES else " (missed)"
    print(f"ingest of {ROWS:,} CSV rows: {measured.seconds:.1f} s, {measured.peak_bytes / 1e6:,.0f} MB{missed}")
    yield "rows seconds", measured.seconds
    yield "rows peak bytes", measured.peak_bytes


def _many_days(work: Path) -> Iterator[tuple[str, float]]:
    configure_logging("text")
    (work / "shop").mkdir(parents=True)
    by_day, at_once = work / "by_day", work / "at_once"
    for day in range(DAYS):
        file = work / "shop" / f"events-{day:04d}.parquet"
        _draw(EVENTS_OF_A_DAY, day, days=1, first=day).write_parquet(file)
        ingest((str(file),), Sources(), Lake(by_day / "lake"), LATEST)
    ingest((str(work / "shop"),), Sources(), Lake(at_once / "lake"), LATEST)
    as_of = f"{FIRST_DAY + timedelta(days=DAYS):%Y-%m-%d}"
    seconds: dict[str, float] = {}
    for directory in (by_day, at_once):
        environment = {**os.environ, "RECSYS_DIRECTORY": str(directory)}
        measured = watch([RECSYS, "features", "--as-of", as_of], environment)
        files = len(list((directory / "lake" / "events").rglob("*.parquet")))
        seconds[directory.name] = measured.seconds
        print(f"features of {DAYS:,} days ingested {directory.name}: {measured.seconds:.1f} s, {files:,} files")
        yield f"features {directory.name} seconds", measured.seconds
    reached = seconds["by_day"] <= MAX_SLOWDOWN * seconds["at_once"]
    print(f"by day against at once: {seconds['by_day'] / seconds['at_once']:.2f}{'' if reached else ' (missed)'}")


def _draw(rows: int, seed: int, days: int, first: int = 0) -> pl.DataFrame:
    """Draw events of `days` days from day `first` on."""
    random = np.random.default_rng(seed)
    seconds = random.integers(0, days * 86_400, rows) + first * 86_400
    return pl.DataFrame(
        {
            "user_id": random.integers(0, 200_000, rows),
            "item_id": random.zipf(1.3, rows) % 20_000,
            "event": random.choice(["view", "cart", "purchase"], rows, p=[0.8, 0.15, 0.05]),
            "timestamp": np.datetime64(FIRST_DAY.replace(tzinfo=None), "ms") + seconds.astype("timedelta64[s]"),
            "price": random.integers(100, 9_999, rows) / 100,
        }
    )
