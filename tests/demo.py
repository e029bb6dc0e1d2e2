"""The demo on a slice of its data."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jobs.demo.complete_journey import demo_directory
from tests.commands import run_recsys

HOUSEHOLDS_APART = 30
"""Every 30th household is in the slice."""
TABLES = ("transactions", "demographics", "products")


@dataclass(frozen=True)
class DemoRun:
    """A finished demo."""

    source: Path
    """The slice of the data."""
    directory: Path
    """The data directory."""
    output: str
    """What the demo printed."""


def run_demo(home: Path) -> DemoRun:
    """Run `recsys demo` on a slice of the data, with everything under `home`."""
    source = home / "slice"
    source.mkdir()
    tables = {name: pl.scan_parquet(demo_directory() / f"{name}.parquet") for name in TABLES}
    for name in ("transactions", "demographics"):
        tables[name] = tables[name].filter(pl.col("household_id") % HOUSEHOLDS_APART == 0)
    tables["products"] = tables["products"].join(tables["transactions"], on="product_id", how="semi")
    for name, rows in tables.items():
        rows.sink_parquet(source / f"{name}.parquet")
    done = run_recsys(home, home / "var", "demo", "--data", source)
    assert done.returncode == 0, done.stderr
    return DemoRun(source, home / "var" / "demo", done.stdout)
