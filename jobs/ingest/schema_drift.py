"""Schema drift: the columns and types of each table, compared from one ingest to the next.

They are stored in the lake, `schemas/<table>.json`, with every change so far.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from jobs.lake.lake import Lake
from recsys.data.quality import SchemaChange
from recsys.files import load_json, read_json, write_json

UNKNOWN = str(pl.Null())  # the type of a column of nulls, which may stand for any type
LEARN_AGAIN = "remove it, and the next ingest stores the columns again"
NARROWER = (str(pl.Int64()), str(pl.Float64()))


def load_columns(lake: Lake, table: str) -> dict[str, str | None] | None:
    """Return every column that a table has ever had with its type, None once removed; None before an ingest."""
    file = _file(lake, table)
    return load_json(file, lambda stored: dict(stored["columns"]), LEARN_AGAIN) if file.exists() else None


def schema_changes(lake: Lake) -> list[SchemaChange]:
    """Return every change of a table's columns that an ingest detected, oldest first."""
    files = sorted((lake.directory / "schemas").glob("*.json"))
    changes = [change for file in files for change in load_json(file, _changes, LEARN_AGAIN)]
    return sorted(changes, key=lambda change: change.when)


def update_columns(
    lake: Lake, table: str, schemas: Sequence[pl.Schema], has_inferred_types: bool, when: datetime
) -> list[SchemaChange]:
    """Store the columns of all sources that one ingest read for a table, and return the changes.

    With `has_inferred_types`, whole numbers in a column of floats are not a change.
    """
    stored, current = load_columns(lake, table), _merge(schemas)
    earlier = stored or {}
    types: dict[str, str | None] = {name: current.get(name) for name in {**earlier, **current}}
    for name, dtype in current.items():
        before = earlier.get(name)
        if before is not None and (dtype == UNKNOWN or (has_inferred_types and (dtype, before) == NARROWER)):
            types[name] = before
    changes = [
        SchemaChange(table, name, earlier.get(name), types[name], when)
        for name in types
        if stored is not None and earlier.get(name) != types[name] and earlier.get(name) != UNKNOWN
    ]
    if types != stored:
        earlier_changes = [] if stored is None else read_json(_file(lake, table), LEARN_AGAIN)["changes"]
        all_changes = [*earlier_changes, *(asdict(change) | {"when": when.isoformat()} for change in changes)]
        write_json(_file(lake, table), {"columns": types, "changes": all_changes})
    return changes


def possible_renames(changes: Iterable[SchemaChange]) -> list[tuple[str, str]]:
    """Return the old and the new name of the columns of a table that may have been renamed.

    A column went, and one of the same type came that is the only one.
    """
    changes = list(changes)
    gone = [change for change in changes if change.after is None]
    new = [change for change in changes if change.before is None]
    pairs = [(old.column, [each.column for each in new if each.after == old.before]) for old in gone]
    return [(old, names[0]) for old, names in pairs if len(names) == 1]


def _merge(schemas: Iterable[pl.Schema]) -> dict[str, str]:
    """Return the type of each column, or its types joined by `or` if the schemas differ."""
    types: dict[str, set[str]] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            types.setdefault(name, set()).add(str(dtype))
    return {name: " or ".join(sorted(dtypes - {UNKNOWN})) or UNKNOWN for name, dtypes in types.items()}


def _changes(stored: Mapping[str, Any]) -> list[SchemaChange]:
    return [_change(values) for values in stored["changes"]]


def _change(values: Mapping[str, str]) -> SchemaChange:
    return SchemaChange(**{**values, "when": datetime.fromisoformat(values["when"])})  # pyright: ignore


def _file(lake: Lake, table: str) -> Path:
    return lake.directory / "schemas" / f"{table}.json"
