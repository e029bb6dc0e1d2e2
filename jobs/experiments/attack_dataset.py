"""The real data that simulated attacks are injected into, and the events of the fake accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from features.interactions import interactions, sequences
from jobs.experiments.benchmark import read_split
from jobs.lake.lake import Lake
from jobs.pipeline.steps.plan_measurement import find_relevant_events
from recsys.anomaly.attacks import Attack
from recsys.contract import Events
from recsys.data.interactions import Interactions, build_interactions
from recsys.data.splits import relevant_pairs, time_split
from recsys.errors import NotEnoughDataError
from recsys.schema import (
    EVENT,
    EVENT_ID,
    IP,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SESSION_ID,
    TIMESTAMP,
    USER_AGENT,
    USER_ID,
    VALUE,
)
from recsys.settings import Settings

ACCOUNT: Final = "fake-account"
"""Prefix of the ids of fake accounts."""
_ONE_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class AttackDataset:
    """Events to attack, and the test data after them."""

    events: pl.DataFrame
    """Events of positive weight before `as_of`, in the columns of `Events`."""
    test: pl.DataFrame
    """Relevant pairs of user and item after `as_of`."""
    as_of: datetime
    has_times: bool
    """Whether times are real; otherwise all events, those of the attack included, have the same time."""

    @cached_property
    def most_common_event(self) -> str:
        """Return the most common event name, which fake accounts use."""
        return self.events[EVENT].mode().sort()[0]


def read_split_dataset(directory: Path, settings: Settings) -> AttackDataset:
    """Read the split in a directory, as `recsys benchmark` does."""
    split = read_split(directory, "holdout", settings)
    has_times = TIMESTAMP in pl.read_parquet_schema(directory / "train.parquet")
    history = split.history
    last = history[TIMESTAMP].max()
    assert isinstance(last, datetime)
    if not has_times:
        history = history.with_columns(pl.lit(last).alias(TIMESTAMP))
    return AttackDataset(_complete_columns(history), split.test, last + _ONE_TICK, has_times)


def read_lake_dataset(lake: Lake, settings: Settings, as_of: datetime) -> AttackDataset:
    """Read the lake's events before the test window, and the relevant pairs in it.

    Raises `NotEnoughDataError` if there are no events before the window.
    """
    split = time_split(as_of, settings.evaluation)
    weights = settings.sources.event_weights
    is_positive = pl.col(EVENT).is_in(sorted(name for name, weight in weights.items() if weight > 0))
    events = lake.events().filter(pl.col(TIMESTAMP) < pl.lit(split.validation_end)).filter(is_positive).collect()
    if events.is_empty():
        raise NotEnoughDataError("no events before the test window: ingest events first")
    names = find_relevant_events(lake, settings, as_of)
    pairs = relevant_pairs(lake.events(), split.validation_end, as_of, names, weights)
    return AttackDataset(_complete_columns(events), pairs, split.validation_end, True)


def build_dataset_interactions(dataset: AttackDataset, settings: Settings) -> Interactions:
    """Build the interactions of the dataset's events."""
    events, weights = dataset.events.lazy(), settings.sources.event_weights
    pairs = interactions(events, dataset.as_of, weights, settings.sources.half_life_days).collect()
    return build_interactions(pairs, sequences(events, dataset.as_of, weights).collect(), dataset.as_of)


def attack_account_ids(attack: Attack) -> Sequence[str]:
    """Return the user ids of an attack's accounts, in order of account."""
    return [f"{ACCOUNT}-{number}" for number in range(attack.accounts)]


def build_attack_events(attack: Attack, dataset: AttackDataset, clean: Interactions) -> pl.DataFrame:
    """Build the events of an attack on clean data; each has its item's last price and quantity."""
    last_moment = pl.lit(dataset.as_of - _ONE_TICK)
    age = pl.duration(microseconds=(pl.col("age") * 86_400_000_000).cast(pl.Int64))
    last_values = dataset.events.group_by(ITEM_ID).agg(pl.col(VALUE, PRICE, QUANTITY).last())
    items = clean.items.ids(attack.item_rows)
    return (
        pl.DataFrame({"account": attack.account_rows, ITEM_ID: items, "age": attack.age_days})
        .with_row_index("number")
        .with_columns(
            pl.format("{}-{}", pl.lit("fake"), pl.col("number")).alias(EVENT_ID),
            pl.format("{}-{}", pl.lit(ACCOUNT), pl.col("account")).alias(USER_ID),
            pl.lit(dataset.most_common_event).alias(EVENT),
            (last_moment - age if dataset.has_times else last_moment).alias(TIMESTAMP),
            pl.lit(None, pl.String).alias(IP),
            pl.lit(None, pl.String).alias(USER_AGENT),
        )
        .join(last_values, on=ITEM_ID, how="left", maintain_order="left")
        .with_columns(pl.format("{}-{}", pl.col(USER_ID), pl.col(TIMESTAMP).dt.date()).alias(SESSION_ID))
        .select(dataset.events.columns)
        .cast(dataset.events.schema)
    )


def _complete_columns(events: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of `Events`; columns that the data lacks are null."""
    schema = pl.Schema(Events)
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in events.columns]
    return events.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
