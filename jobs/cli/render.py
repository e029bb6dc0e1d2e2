"""Output of the commands: tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))


def print_path(name: str, path: Path) -> None:
    """Print a name and a path, without wrapping the path."""
    console.print(Text(f"{name}: {path}"), soft_wrap=True)


def print_rows(title: str, rows: pl.DataFrame) -> None:
    """Print rows as a table, without the columns that have no value; nulls are empty."""
    shown = filled_columns(rows)
    table = make_table(escape(title), *map(escape, shown.columns))
    for values in shown.iter_rows():
        table.add_row(*("" if value is None else Text(_cell(value)) for value in values))
    console.print(table)


def filled_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows without the columns that have no value."""
    return rows.select(column for column in rows if column.null_count() < column.len())


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ">".join(map(str, value))
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)


def make_table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table; the columns of `right` come last and are aligned to the right."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right")
    return table
