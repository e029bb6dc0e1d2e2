"""The features step: every table of `features`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl

from features.tables import feature_tables
from jobs.pipeline.context import RunContext
from jobs.pipeline.event_rules import event_rules
from jobs.pipeline.step_names import FEATURES


def write_features(context: RunContext) -> RunContext:
    """Compute and write the feature tables at the run's `as_of`."""
    context.write_outputs({FEATURES: partial(_write, context=context)})
    return context


def _write(directory: Path, context: RunContext) -> None:
    lake, settings = context.lake, context.settings
    with context.progress.task("compute features") as task:
        for tables in feature_tables(
            [lake.events(bucket) for bucket in range(lake.buckets)],
            lake.items(at=context.run.as_of),
            lake.users(),
            context.run.as_of,
            settings.sources.half_life_days,
            event_rules(lake, settings.sources, context.run.as_of),
            min_users=settings.anomalies.min_support,
            time_zone=settings.sources.time_zone,
        ):
            write_tables(directory, tables)
            task.advance(len(tables))


ROW_GROUP_ROWS = 100_000
"""A fixed size: otherwise threads decide where row groups end, and two runs differ in their bytes."""


def write_tables(directory: Path, tables: Mapping[str, pl.LazyFrame]) -> None:
    """Write each table to a Parquet file of its name in `directory`, all at once."""
    pl.collect_all(
        [
            table.sink_parquet(directory / f"{name}.parquet", row_group_size=ROW_GROUP_ROWS, mkdir=True, lazy=True)
            for name, table in tables.items()
        ],
        engine="streaming",
    )
