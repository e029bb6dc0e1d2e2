"""Convert a lake of the first layout: the files of a day become a partition, tables become facts."""

from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.event_partitions import FILE, IDENTITY, IS_CURRENT, STORED_DTYPES, mark_current, write_partition
from jobs.lake.event_partitions import INGEST as INGEST_COLUMN
from jobs.lake.event_partitions import REPLACED_BY as REPLACED_BY_COLUMN
from jobs.lake.facts import CHANGE_SUFFIX, write_facts
from recsys.files import write_json
from recsys.schema import EVENT_DTYPES, SOURCE

LAYOUT_FILE: Final = ".layout.json"
LAYOUT: Final = 2
EARLIER: Final = "earlier"  # source and table of what an earlier layout holds
_ONLINE_PREFIX: Final = "online-"


def has_present_layout(directory: Path) -> bool:
    """Return whether a lake is new or has the present layout."""
    file = directory / LAYOUT_FILE
    return file.exists() or not ((directory / "events").exists() or any(directory.glob("[!.]*.parquet")))


def store_layout(directory: Path) -> None:
    """Store the version of the layout."""
    if not (directory / LAYOUT_FILE).exists():
        write_json(directory / LAYOUT_FILE, LAYOUT)


def upgrade_layout(directory: Path, tables: dict[str, str]) -> None:
    """Convert a lake of the first layout; a killed upgrade is finished by the next one.

    `tables` maps the tables of facts to their keys. Records and rows in quarantine are kept in folders `earlier`.
    """
    for day in sorted((directory / "events").glob("bucket=*/date=*")):
        _unite_files(day)
    for table, key in tables.items():
        _as_facts(directory / f"{table}.parquet", directory / "facts" / table / f"{EARLIER}.parquet", key)
    for folder, pattern in (("ingests", "*.json"), ("quarantine", "*.parquet")):
        for file in sorted((directory / folder).glob(pattern)):
            target = directory / folder / EARLIER / file.name
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
    store_layout(directory)


def _unite_files(day: Path) -> None:
    """Write the events of all files of a bucket and day into one partition, and remove the files."""
    files = sorted(day.glob("[!.]*.parquet"))
    earlier = [file for file in files if file.name != FILE]
    if not earlier:
        return
    frames = [_stored(file) for file in files]
    rows = pl.concat(frames).unique(IDENTITY, keep="first", maintain_order=True)
    write_partition(day / FILE, mark_current(rows))
    for file in earlier:
        file.unlink()


def _stored(file: Path) -> pl.DataFrame:
    rows = pl.read_parquet(file, glob=False, hive_partitioning=False)
    if file.name == FILE:
        return rows
    source = "online" if file.name.startswith(_ONLINE_PREFIX) else f"{EARLIER}/{file.stem.rpartition('-')[0]}"
    return rows.select(*EVENT_DTYPES).with_columns(
        pl.lit(source).alias(SOURCE),
        pl.lit(0, STORED_DTYPES[INGEST_COLUMN]).alias(INGEST_COLUMN),
        pl.lit(None, STORED_DTYPES[REPLACED_BY_COLUMN]).alias(REPLACED_BY_COLUMN),
        pl.lit(value=True).alias(IS_CURRENT),
    )


def _as_facts(file: Path, target: Path, key: str) -> None:
    """Write a table as the facts that were given before all others."""
    if not file.exists() or target.exists():
        return
    rows = pl.read_parquet(file, glob=False, hive_partitioning=False)
    changes = [
        pl.when(pl.col(name).is_not_null()).then(pl.lit(0, pl.Int64)).alias(f"{name}{CHANGE_SUFFIX}")
        for name in rows.columns
        if name != key
    ]
    write_facts(target, rows.with_columns(changes))
