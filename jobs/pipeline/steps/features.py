"""The features step: every table of `features`, written one by one."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from features.tables import feature_tables
from jobs.lake import Lake
from jobs.pipeline.run import Run
from jobs.progress import Progress
from recsys.settings import Settings

FEATURES = "features"


def write_features(run: Run, lake: Lake, settings: Settings, progress: Progress) -> None:
    """Compute and write the feature tables at the run's `as_of`, as one step."""

    def write(directory: Path) -> None:
        progress.start("compute features")
        buckets = [lake.events(bucket) for bucket in range(lake.buckets)]
        sources = settings.sources
        for tables in feature_tables(
            buckets,
            lake.items(),
            lake.users(),
            run.as_of,
            sources.half_life_days,
            sources.event_weights,
            min_users=settings.anomalies.min_support,
        ):
            write_tables(directory, tables)
            progress.advance(len(tables))
        progress.done()

    run.step(FEATURES, write)


def write_tables(directory: Path, tables: Mapping[str, pl.LazyFrame]) -> None:
    """Write tables side by side to `directory`, each to a file of its name."""
    pl.collect_all(
        [
            table.sink_parquet(directory / f"{name}.parquet", mkdir=True, lazy=True)
            for name, table in tables.items()
        ],
        engine="streaming",
    )
