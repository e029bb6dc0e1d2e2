"""What is known at one moment, as models read it."""

from datetime import datetime
from pathlib import Path

import polars as pl

from features.events import load_events
from features.interactions import interactions_from_pairs, sequences_from_events
from features.pairs import user_item_pairs
from jobs.lake import Lake
from recsys.data.interactions import Interactions, build_interactions
from recsys.schema import CONFIDENCE, EVENT, EVENT_ID, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from recsys.settings import Sources

# All that models read; the other columns of the tables are for people.
PAIRS = [USER_ID, ITEM_ID, CONFIDENCE]
EVENTS = [USER_ID, ITEM_ID, TIMESTAMP, WEIGHT]
READ = [EVENT_ID, USER_ID, ITEM_ID, EVENT, TIMESTAMP]


def known_at(lake: Lake, sources: Sources, moment: datetime) -> Interactions:
    """The interactions before `moment`, computed bucket by bucket from the lake."""
    weights = sources.event_weights
    pairs: list[pl.DataFrame] = []
    ordered: list[pl.DataFrame] = []
    for bucket in range(lake.buckets):
        events = load_events(lake.events(bucket).select(READ), moment)
        together = user_item_pairs(events, moment, sources.half_life_days, weights)
        tables = (
            interactions_from_pairs(together).select(PAIRS),
            sequences_from_events(events, weights).select(EVENTS),
        )
        for parts, table in zip((pairs, ordered), pl.collect_all(tables), strict=True):
            parts.append(table)
    return build_interactions(pl.concat(pairs), pl.concat(ordered), moment)


def known_in_run(features: Path, moment: datetime) -> Interactions:
    """The same from the features step of a run."""
    pairs = pl.read_parquet(features / "interactions" / "*.parquet", columns=PAIRS, hive_partitioning=False)
    ordered = pl.read_parquet(features / "sequences" / "*.parquet", columns=EVENTS, hive_partitioning=False)
    return build_interactions(pairs, ordered, moment)
