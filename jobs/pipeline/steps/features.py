"""The features step: every table of `features`."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl

from features.repurchase.due_items import due_items
from features.tables import feature_tables
from jobs.pipeline.context import RunContext
from jobs.pipeline.event_rules import event_rules
from jobs.pipeline.step_names import FEATURES
from recsys.availability import may_be_listed
from recsys.schema import ITEM_ID


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
        unlisted = lake.items(at=context.run.as_of).filter(~may_be_listed(context.run.as_of))
        write_due_items(directory, unlisted, context.run.as_of, settings.sources.time_zone)


def write_due_items(directory: Path, unlisted: pl.LazyFrame, as_of: datetime, time_zone: str = "UTC") -> None:
    """Write the due items of each bucket of users, from the other tables in `directory`.

    `unlisted` has the items that may not be recommended. This is a second pass, because the cycles of items are
    those of all users.
    """
    features = pl.scan_parquet(directory / "item_features.parquet", glob=False)
    listed = features.join(unlisted.select(ITEM_ID), on=ITEM_ID, how="anti").collect(engine="streaming").lazy()
    for file in sorted((directory / "interactions").iterdir()):
        interactions = pl.scan_parquet(file, glob=False, hive_partitioning=False)
        write_tables(directory, {f"due_items/{file.stem}": due_items(interactions, listed, as_of, time_zone)})


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
