"""Columns and types of each table from one ingest to the next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import polars as pl

from jobs.lake import Lake
from recsys.data.quality import SchemaChange
from recsys.files import read_json, write_json

UNKNOWN = str(pl.Null())  # nothing but nulls: any type
NARROWER = (str(pl.Int64()), str(pl.Float64()))


def known_columns(lake: Lake, table: str) -> dict[str, str | None] | None:
    """The type of every column that a table has ever had, none for one that has gone; none before it was read."""
    file = _file(lake, table)
    return read_json(file)["columns"] if file.exists() else None


def schema_changes(lake: Lake) -> list[SchemaChange]:
    """Every change of a source's columns that an ingest met, oldest first."""
    files = sorted((lake.directory / "schemas").glob("*.json"))
    changes = [_change(values) for file in files for values in read_json(file)["changes"]]
    return sorted(changes, key=lambda change: change.when)


def keep_columns(
    lake: Lake, table: str, schemas: Sequence[pl.Schema], guessed: bool, when: datetime
) -> list[SchemaChange]:
    """Write down the columns that one ingest saw in all that it read of a table; returns what has changed.

    `guessed` says that types come from the values: then whole numbers in a column of fractions are no change.
    """
    known, seen = known_columns(lake, table), _joined(schemas)
    old = known or {}
    types: dict[str, str | None] = {name: seen.get(name) for name in {**old, **seen}}
    for name, dtype in seen.items():
        earlier = old.get(name)
        if earlier is not None and (dtype == UNKNOWN or (guessed and (dtype, earlier) == NARROWER)):
            types[name] = earlier
    found = [
        SchemaChange(table, name, old.get(name), types[name], when)
        for name in types
        if known is not None and old.get(name) != types[name] and old.get(name) != UNKNOWN
    ]
    if types != known:
        earlier_changes = [] if known is None else read_json(_file(lake, table))["changes"]
        changes = [*earlier_changes, *(asdict(change) | {"when": when.isoformat()} for change in found)]
        write_json(_file(lake, table), {"columns": types, "changes": changes})
    return found


def _joined(schemas: Iterable[pl.Schema]) -> dict[str, str]:
    """Column -> its type, or its types where files differ."""
    types: dict[str, set[str]] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            types.setdefault(name, set()).add(str(dtype))
    return {name: " or ".join(sorted(found - {UNKNOWN})) or UNKNOWN for name, found in types.items()}


def _change(values: Mapping[str, str]) -> SchemaChange:
    return SchemaChange(**{**values, "when": datetime.fromisoformat(values["when"])})  # pyright: ignore


def _file(lake: Lake, table: str) -> Path:
    return lake.directory / "schemas" / f"{table}.json"
