"""Interactions: one weighted row per user and item, and all events of each user in order of time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import load_events, pack_columns, weight, with_weights
from features.feature import Feature, columns
from features.pairs import FIRST_DAY, FIRST_WEIGHED_AT, LAST_DAY, PURCHASE_DAYS, WEIGHED, user_item_pairs
from recsys.schema import (
    CONFIDENCE,
    EVENT,
    EVENT_ID,
    EVENTS,
    FIRST_AT,
    ITEM_ID,
    LAST_AT,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
    WEIGHT,
)

FIRST_PURCHASE_DAY: Final = "first_purchase_day"
LAST_PURCHASE_DAY: Final = "last_purchase_day"

_PAIR: Final = (
    Feature(USER_ID, pl.String(), "id", "User", pl.col(USER_ID)),
    Feature(ITEM_ID, pl.String(), "id", "Item", pl.col(ITEM_ID)),
)

_INTEREST: Final = (
    Feature(
        CONFIDENCE,
        pl.Float64(),
        "weight",
        "Sum of weight * 0.5 ** (age / half-life) over the user's events with the item, without what was returned; "
        "dislikes have a negative weight, so the sum can be 0 or negative",
        pl.col(CONFIDENCE),
    ),
    Feature(
        EVENTS, pl.UInt32(), "events", "Number of events whose name has a weight other than 0", pl.col(WEIGHED)
    ),
    Feature(
        PURCHASE_DAYS,
        pl.UInt32(),
        "days",
        "Number of days, in the shop's time zone, on which the user bought the item",
        pl.col(PURCHASE_DAYS),
    ),
    Feature(
        FIRST_PURCHASE_DAY,
        pl.Date(),
        "day",
        "Day of the first purchase, in the shop's time zone, of which a unit was kept; null without one",
        pl.col(FIRST_DAY),
    ),
    Feature(
        LAST_PURCHASE_DAY,
        pl.Date(),
        "day",
        "Day of the last purchase, in the shop's time zone, of which a unit was kept; null without one",
        pl.col(LAST_DAY),
    ),
    Feature(
        FIRST_AT,
        TIMESTAMP_DTYPE,
        "UTC",
        "Time of the first event whose name has a weight other than 0",
        pl.col(FIRST_WEIGHED_AT),
    ),
    Feature(
        LAST_AT,
        TIMESTAMP_DTYPE,
        "UTC",
        "Time of the last event whose name has a weight other than 0",
        pl.col(LAST_AT),
    ),
)

INTERACTIONS: Final = _PAIR + _INTEREST

SEQUENCES: Final = (
    *_PAIR,
    Feature(EVENT, pl.String(), "name", "Event type", pl.col(EVENT)),
    Feature(TIMESTAMP, TIMESTAMP_DTYPE, "UTC", "Time of the event", pl.col(TIMESTAMP)),
    Feature(
        WEIGHT,
        pl.Float64(),
        "weight",
        "Weight of one unit of the event, not decayed: 0 for what says nothing good, below 0 for a dislike; events "
        "whose name has weight 0 have no row",
        pl.col(WEIGHT),
    ),
)


def interactions(
    events: pl.LazyFrame, as_of: datetime, weights: Mapping[str, float], half_life_days: float
) -> pl.LazyFrame:
    """Compute one row per user and item with an event of a weight other than 0, in the columns of `INTERACTIONS`.

    The weight is that of the event's name. Sorted by user and item.
    """
    return interactions_from_pairs(user_item_pairs(load_events(events, as_of), as_of, half_life_days, weights))


def interactions_from_pairs(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Compute `interactions` from the rows of `user_item_pairs`."""
    ordered = pairs.filter(pl.col(WEIGHED) > 0).sort(pack_columns(pl.col(USER_ID), pl.col(ITEM_ID), 32))
    return ordered.select(columns(INTERACTIONS))


def sequences(events: pl.LazyFrame, as_of: datetime, weights: Mapping[str, float]) -> pl.LazyFrame:
    """Select one row per event whose name has a weight other than 0, in the columns of `SEQUENCES`.

    Sorted by user, time and event id.
    """
    return sequences_from_events(load_events(events, as_of), weights)


def sequences_from_events(events: pl.LazyFrame, weights: Mapping[str, float]) -> pl.LazyFrame:
    """Compute `sequences` from events of `load_events` or `weigh_events`."""
    since_first = pl.col(TIMESTAMP) - pl.col(TIMESTAMP).min()
    return (
        with_weights(events, weights)
        .filter(weight(weights) != 0)
        .select(USER_ID, ITEM_ID, EVENT, TIMESTAMP, EVENT_ID, WEIGHT)
        .sort(pack_columns(pl.col(USER_ID), since_first, 64), EVENT_ID)
        .select(columns(SEQUENCES))
    )
