"""Compare the time and memory of all feature tables in this project, DuckDB and pandas, on generated events.

Each runs in a process of its own and writes the same six tables with the same columns, which are compared. Ours
reads the lake, split into buckets of users. The peers read the files as a shop would export them, in order of time,
which is faster for DuckDB than the many files of the lake. DuckDB has two threads and 8 GB; pandas, which holds
everything in memory, is stopped at 8 GB.
"""

import json
import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from features.registry import TABLES
from features.tables import feature_tables
from jobs.lake.lake import Lake, scan_files
from jobs.pipeline.steps.features import write_due_items, write_tables
from recsys.contract import Events
from recsys.schema import DEFAULT_WEIGHTS, ITEM_ID
from tests.benchmarks import features_in_duckdb, features_in_pandas
from tests.benchmarks.generate import AS_OF, Shop, Size, generate_events
from tests.benchmarks.watch import Watched, watch

WAYS: Final = ("ours", "duckdb", "pandas")
HALF_LIFE: Final = 90.0
BUCKET_EVENTS: Final = 4_000_000
MAX_BYTES: Final = 8 * 2**30
SAME: Final = 1e-6  # of a column's sum


def features(work: Path, events: int = 50_000_000) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure seconds and peak memory of each implementation at a fifth of the events, for pandas, and at all."""
    titles = ("features", "events", "seconds", "CPU seconds", "peak GB", "same tables")
    print(f"\n| {' | '.join(titles)} |\n|{' --- |' * len(titles)}", flush=True)
    took: dict[str, Watched] = {}
    for size in (events // 5, events):
        directory = work / f"features-{size}"
        shutil.rmtree(directory, ignore_errors=True)
        write_data(directory, Size.of(size), math.ceil(size / BUCKET_EVENTS))
        took = {}
        for way in WAYS:
            result = took[way] = _run(way, directory)
            same = "-" if way == "ours" or result.failed or took["ours"].failed else _agreement(directory, way)
            costs = f"{result.seconds:,.0f} | {result.cpu_seconds:,.0f} | {result.peak_bytes / 2**30:.1f}"
            print(f"| {way} | {size:,} | {costs} | {result.failed or same} |", flush=True)
            yield f"{way} {size}", {**asdict(result), "same": same}
        shutil.rmtree(directory)
    print(f"\nasked of ours: under 8 GB, and faster than the others: {_verdict(took)}", flush=True)


def _verdict(took: dict[str, Watched]) -> str:
    ours = took["ours"]
    slower = [
        way for way, peer in took.items() if way != "ours" and not peer.failed and peer.seconds <= ours.seconds
    ]
    reached = not ours.failed and ours.peak_bytes < MAX_BYTES and not slower
    return "reached" if reached else f"**missed** {ours.failed or ', '.join(slower)}"


def write_data(directory: Path, size: Size, buckets: int) -> None:
    """Write a shop's catalogue and its events, as files in order of time under `export` and in a lake."""
    (directory / "export").mkdir(parents=True)
    shop = Shop.of(size)
    lake = Lake(directory / "lake", buckets)
    empty = pl.DataFrame(schema=pl.Schema(Events))
    with lake.locked():
        lake.write_facts("items", "catalogue", shop.catalogue(), AS_OF, 1, 0)
        for number, rows in enumerate(generate_events(shop)):
            rows.write_parquet(directory / "export" / f"events-{number:04d}.parquet")
            lake.add_online_events(pl.concat([empty, rows], how="diagonal").lazy())


def write_features(way: str, directory: Path, as_of: datetime = AS_OF) -> None:
    """Compute all tables of the events under `directory` and write them to `directory / way`."""
    out = directory / way
    out.mkdir()
    if way == "ours":
        lake = Lake(directory / "lake", len(list((directory / "lake" / "events").iterdir())))
        buckets = [lake.events(bucket) for bucket in range(lake.buckets)]
        for tables in feature_tables(buckets, lake.items(), lake.users(), as_of, HALF_LIFE):
            write_tables(out, tables)
        write_due_items(out, pl.LazyFrame(schema={ITEM_ID: pl.String}), as_of)
        return
    peer = {"duckdb": features_in_duckdb, "pandas": features_in_pandas}[way]
    export = sorted(str(file) for file in (directory / "export").iterdir())
    peer.write_features(export, directory / "lake" / "items.parquet", out, as_of, HALF_LIFE, DEFAULT_WEIGHTS)


def read_table(directory: Path, way: str, name: str) -> pl.LazyFrame:
    """Read a table of `write_features`."""
    whole = directory / way / f"{name}.parquet"
    return scan_files([whole] if whole.exists() else sorted((directory / way / name).iterdir()))


def _run(way: str, directory: Path) -> Watched:
    command = [sys.executable, "-m", "tests.benchmarks.features", way, str(directory)]
    return watch(command, most_bytes=MAX_BYTES if way == "pandas" else None)


def _agreement(directory: Path, way: str) -> str:
    """Return whether each table of a peer has the same number of rows and the same column sums as ours."""
    for name, columns in TABLES.items():
        ours, theirs = (
            read_table(directory, made_by, name)
            .select(pl.len().alias("rows"), *(_summed(column.name, column.dtype) for column in columns))
            .collect(engine="streaming")
            .row(0, named=True)
            for made_by in ("ours", way)
        )
        for column, value in ours.items():
            if not math.isclose(value, theirs[column], rel_tol=SAME, abs_tol=SAME):
                return f"no: {name}.{column} adds up to {theirs[column]}, ours to {value}"
    return "yes"


def _summed(name: str, dtype: pl.DataType) -> pl.Expr:
    """Compute a checksum of a column: the sum of numbers, or of the lengths of texts and lists."""
    column = pl.col(name)
    if dtype == pl.List(pl.Float64):
        number = column.list.sum()
    elif isinstance(dtype, pl.List):
        number = column.list.len()
    elif dtype == pl.String:
        number = column.str.len_bytes() if name != "attributes" else pl.lit(0)
    else:
        number = column.dt.epoch("us") if dtype.is_temporal() else column
    return number.cast(pl.Float64).sum().alias(name)


if __name__ == "__main__":
    if sys.argv[1] in WAYS:
        write_features(sys.argv[1], Path(sys.argv[2]))
    else:
        print(json.dumps(dict(features(Path(sys.argv[1]), int(sys.argv[2])))))
