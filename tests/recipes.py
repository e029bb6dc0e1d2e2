"""Ingests by the mappings of jobs/examples, and what they read."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jobs
from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.settings import load_settings
from tests.ingests import LATEST

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
EVENT_COLUMNS = ("user_id", "item_id", "event", "timestamp", "price", "quantity", "session_id")


def ingest_by_recipe(lake: Lake, recipe: str, *files: Path, **connections: str) -> dict[str, TableCount]:
    """Ingest files and databases by a mapping of jobs/examples; return the counts by table."""
    examples = Path(str(jobs.__file__)).parent / "examples"
    sources = load_settings(examples / f"{recipe}.toml", {}).sources
    counts = ingest(tuple(map(str, files)), replace(sources, connections=connections), lake, LATEST)
    return {count.table: count for count in counts}


def read_events(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    """Return columns of the events, by default `EVENT_COLUMNS`, in order of time and item."""
    return lake.events().sort("timestamp", "item_id").select(columns or EVENT_COLUMNS).collect().rows()


def read_items(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    """Return columns of the catalogue, by item."""
    return lake.items().sort("item_id").select(columns).collect().rows()


def create_database(file: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write tables into a new SQLite file, and return its URI."""
    with closing(sqlite3.connect(file)) as connection:
        for table, rows in tables.items():
            names = list(rows[0])
            connection.execute(f"CREATE TABLE {table} ({', '.join(names)})")
            marks = ", ".join("?" * len(names))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", [tuple(row.values()) for row in rows])
        connection.commit()
    return f"sqlite:///{file}"
