"""The interactions that models learn from: computed from the lake, or read from the run's features."""

from datetime import datetime

import polars as pl

from features.event_weights import is_disliked
from features.interactions import interactions_from_pairs, sequences_from_events
from features.pairs import user_item_pairs
from jobs.lake.lake import Lake
from jobs.pipeline.event_rules import weighed_buckets
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import FEATURES
from recsys.data.interactions import IS_DISLIKED, IS_OWNING, Interactions, build_interactions
from recsys.errors import SettingsError
from recsys.schema import CONFIDENCE, EVENT, ITEM_ID, REFUND, TIMESTAMP, USER_ID, WEIGHT
from recsys.settings import Sources

# The columns that models read; the other columns of the tables are for people.
PAIR_COLUMNS = [USER_ID, ITEM_ID, CONFIDENCE]
SEQUENCE_COLUMNS = [USER_ID, ITEM_ID, TIMESTAMP, WEIGHT]


def is_owning(sources: Sources) -> pl.Expr:
    """Return whether a user has the item after an event; raises `SettingsError` for an unknown event name."""
    names, weights = sources.exclude_events, sources.event_weights
    unknown = sorted(set(names) - set(weights))
    if unknown:
        raise SettingsError(
            f"sources.exclude_events = {unknown[0]!r}: expected names among {', '.join(sorted(weights))}"
        )
    return (pl.col(EVENT).is_in(names) if names else pl.col(EVENT) != REFUND).alias(IS_OWNING)


def _sequence_columns(sources: Sources) -> list[pl.Expr]:
    disliked = is_disliked(sources.negative_events, sources.rating_events)
    return [*map(pl.col, SEQUENCE_COLUMNS), is_owning(sources), disliked.alias(IS_DISLIKED)]


def compute_interactions(lake: Lake, sources: Sources, moment: datetime) -> Interactions:
    """Compute the interactions before `moment` from the lake, bucket by bucket."""
    weights = sources.event_weights
    pairs: list[pl.DataFrame] = []
    sequences: list[pl.DataFrame] = []
    for events in weighed_buckets(lake, sources, moment):
        bucket_pairs = user_item_pairs(events, moment, sources.half_life_days, weights)
        tables = (
            interactions_from_pairs(bucket_pairs).select(PAIR_COLUMNS),
            sequences_from_events(events, weights).select(_sequence_columns(sources)),
        )
        for parts, table in zip((pairs, sequences), pl.collect_all(tables), strict=True):
            parts.append(table)
    return build_interactions(pl.concat(pairs), pl.concat(sequences), moment)


def read_interactions(run: Run, sources: Sources) -> Interactions:
    """Read the interactions at the run's `as_of`, as the features step wrote them."""
    features = run.directory / FEATURES
    pairs = pl.read_parquet(features / "interactions" / "*.parquet", columns=PAIR_COLUMNS, hive_partitioning=False)
    sequences = pl.scan_parquet(features / "sequences" / "*.parquet", hive_partitioning=False)
    events = sequences.select(_sequence_columns(sources)).collect()
    return build_interactions(pairs, events, run.as_of)
