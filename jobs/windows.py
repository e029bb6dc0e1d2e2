"""What is known at one moment, as models read it."""

from datetime import datetime
from pathlib import Path

import polars as pl

from features.interactions import interactions, sequences
from jobs.lake import Lake
from recsys.data.interactions import Interactions, build_interactions
from recsys.settings import Sources


def known_at(lake: Lake, sources: Sources, moment: datetime) -> Interactions:
    """The interactions before `moment`, computed bucket by bucket from the lake."""
    weights, half_life = sources.event_weights, sources.half_life_days
    events = [lake.events(bucket) for bucket in range(lake.buckets)]
    pairs = [interactions(part, moment, weights, half_life).collect(engine="streaming") for part in events]
    ordered = [sequences(part, moment, weights).collect(engine="streaming") for part in events]
    return build_interactions(pl.concat(pairs), pl.concat(ordered), moment)


def known_in_run(features: Path, moment: datetime) -> Interactions:
    """The same from the features step of a run."""
    pairs = pl.read_parquet(features / "interactions" / "*.parquet", hive_partitioning=False)
    ordered = pl.read_parquet(features / "sequences" / "*.parquet", hive_partitioning=False)
    return build_interactions(pairs, ordered, moment)
