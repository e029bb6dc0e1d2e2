"""Ingest of many rows and days, from files to lists, erasing: `python -m tests.benchmarks ingest init erase`."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from jobs.ingest.ingest import ingest
from jobs.lake.event_partitions import IngestOfEvents
from jobs.lake.lake import Lake
from recsys.logs import configure_logging
from recsys.schema import EVENT_DTYPES, SOURCE
from recsys.settings import Sources
from recsys.store.embedded import stop_server
from tests.benchmarks.watch import watch

RECSYS: Final = str(Path(sys.executable).with_name("recsys"))
SHARED: Final = Path(__file__).parent.parent.parent.parent / "shared" / "data"
ROWS: Final = 10_000_000
ROWS_OF_A_PART: Final = 1_000_000
DAYS: Final = 1_000
EVENTS_OF_A_DAY: Final = 2_000
FIRST_DAY: Final = datetime(2023, 1, 1, tzinfo=UTC)
LATEST: Final = FIRST_DAY + timedelta(days=2 * DAYS)
MAX_PEAK_BYTES: Final = 2_000_000_000
MAX_SLOWDOWN: Final = 1.2
EVENTS_OF_A_USER: Final = 50
ERASED: Final = 1_000
ERASE_BUCKETS: Final = 4
YEAR_DAYS: Final = 365
MAX_ERASE_SECONDS: Final = 300.0


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


def init_benchmark(work: Path) -> Iterator[tuple[str, float]]:
    """Measure the seconds of `recsys init`, and of each command that it names, on two public data sets."""
    if not SHARED.is_dir():
        print(f"the public data sets are not at {SHARED}")
        return
    retail, rees46 = work / "retail", work / "rees46"
    (retail / "data").mkdir(parents=True)
    invoices = pl.read_parquet(SHARED / "online_retail" / "online_retail.parquet")
    written = invoices.with_columns(pl.col("InvoiceDate").dt.strftime("%-m/%-d/%Y %-H:%M"))
    written.write_csv(retail / "data" / "Online Retail.csv")
    (rees46 / "data").mkdir(parents=True)
    (rees46 / "data" / "events.csv").symlink_to(SHARED / "rees46" / "events.csv")
    for directory in (retail, rees46):
        yield from _from_files_to_lists(directory)


def _from_files_to_lists(directory: Path) -> Iterator[tuple[str, float]]:
    shown, seconds = _run(directory, "init --yes ./data")
    yield f"{directory.name} init seconds", seconds
    print(f"{directory.name}: init took {seconds:.1f} s")
    for command in re.findall(r"^  recsys (.*?) *#", shown, re.MULTILINE):
        _, seconds = _run(directory, command)
        print(f"{directory.name}: {command} took {seconds:.1f} s", flush=True)
        yield f"{directory.name} {command.split()[0]} seconds", seconds
    stop_server(directory / "var" / "valkey")


def _run(directory: Path, command: str) -> tuple[str, float]:
    """Run `recsys` in a directory; return what it showed and the seconds it took."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli.app", *shlex.split(command)],
        cwd=directory,
        env={**os.environ, "RECSYS_DIRECTORY": str(directory / "var")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout, time.perf_counter() - start


def erase_benchmark(work: Path, events: int = ROWS) -> Iterator[tuple[str, float]]:
    """Measure erasing `ERASED` users from a lake of `events` events, verified by a second scan."""
    directory, users = work / "var", events // EVENTS_OF_A_USER
    lake = Lake(directory / "lake", ERASE_BUCKETS)
    with lake.locked() as scratch:
        file = scratch / "events.parquet"
        _draw_stored(events, users).write_parquet(file)
        lake.write_events(pl.scan_parquet(file), IngestOfEvents(1))
    named = work / "users.txt"
    named.write_text("\n".join(f"user{number}" for number in range(0, users, users // ERASED)))
    environment = {**os.environ, "RECSYS_DIRECTORY": str(directory), "RECSYS_LAKE_BUCKETS": str(ERASE_BUCKETS)}
    try:
        measured = watch([sys.executable, "-m", "jobs.cli.app", "erase", "--file", str(named)], environment)
    finally:
        stop_server(directory / "valkey")
    missed = "" if measured.seconds <= MAX_ERASE_SECONDS else " (missed)"
    peak = f"{measured.peak_bytes / 1e6:,.0f} MB"
    print(f"{ERASED:,} users erased from {events:,} events: {measured.seconds:.1f} s, {peak}{missed}")
    yield "erase seconds", measured.seconds
    yield "erase peak bytes", measured.peak_bytes


def _draw_stored(rows: int, users: int) -> pl.DataFrame:
    random = np.random.default_rng(0)
    seconds = pl.Series(random.integers(0, YEAR_DAYS * 86_400, rows))
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
