"""Tables that quarantine rows, the ones that mend them, and what a retry did to a lake."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from jobs.ingest.source_records import read_records
from jobs.lake.lake import Lake
from jobs.quarantine.retry import Retry, retry
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import LATEST, hash_lake

COLUMNS: dict[str, ColumnMapping] = {
    "user_id": "who",
    "item_id": "what",
    "event": "did",
    "timestamp": "at",
    "price": "paid",
}
NAMES = {"look": "view", "buy": "purchase"}
WRONG = Table("log", "events", "log*", COLUMNS, events={"look": "view"})
RIGHT = replace(WRONG, events=NAMES, decimal=",")
ITEMS = Table("items", "items", "items*", {"item_id": "sku", "title": "name", "price": "paid"})


def sources(*tables: Table, **values: Any) -> Sources:
    return Sources(tables=tables, max_bad_rows=1, min_rows=0, **values)


def row(**values: str) -> dict[str, str]:
    return {"who": "ann", "what": "tea", "did": "look", "at": "2024-05-01T10:00:00", "paid": "2"} | values


def write_rows(file: Path, *rows: dict[str, Any]) -> Path:
    """Write rows to a CSV or JSON Lines file, as its name says."""
    if file.suffix == ".csv":
        pl.DataFrame(rows).write_csv(file)
    else:
        file.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return file


def events_of(lake: Lake) -> list[dict[str, Any]]:
    return lake.events().collect().sort(pl.all()).to_dicts()


def counts_of(lake: Lake) -> list[tuple[Any, ...]]:
    return [
        (each.rows, each.accepted, each.duplicates, each.quarantined, each.rules) for each in read_records(lake)
    ]


def retry_all(lake: Lake, *tables: Table, **options: Any) -> Retry:
    return retry(lake, sources(*tables), LATEST, **options)


def quarantine_of(lake: Lake) -> dict[str, str]:
    return {name: content for name, content in hash_lake(lake).items() if name.startswith("quarantine")}
