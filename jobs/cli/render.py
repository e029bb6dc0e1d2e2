"""Output of the commands: tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))


def print_path(name: str, path: Path) -> None:
    """Print a name and a path, without wrapping the path."""
    console.print(Text(f"{name}: {path}"), soft_wrap=True)


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
