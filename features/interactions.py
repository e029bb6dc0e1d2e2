"""Who wanted what, and how much: one row a user and item, and every event in order of time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import load_events, packed, weight
from features.feature import Feature, columns
from features.pairs import FIRST_WEIGHED_AT, PURCHASE_DAYS, WEIGHED, user_item_pairs
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

_PAIR: Final = (
    Feature(USER_ID, pl.String(), "id", "The user", pl.col(USER_ID)),
    Feature(ITEM_ID, pl.String(), "id", "The item", pl.col(ITEM_ID)),
)

_INTEREST: Final = (
    Feature(
        CONFIDENCE,
        pl.Float64(),
        "weight",
        "Sum of weight * 0.5 ** (age / half-life) over the user's events with the item; refunds take from it, "
        "so it may be 0 or less",
        pl.col(CONFIDENCE),
    ),
    Feature(EVENTS, pl.UInt32(), "events", "Events whose weight is not 0", pl.col(WEIGHED)),
    Feature(
        "purchase_days",
        pl.UInt32(),
        "days",
        "Distinct UTC days on which the user bought the item",
        pl.col(PURCHASE_DAYS),
    ),
    Feature(FIRST_AT, TIMESTAMP_DTYPE, "UTC", "First event whose weight is not 0", pl.col(FIRST_WEIGHED_AT)),
    Feature(LAST_AT, TIMESTAMP_DTYPE, "UTC", "Last event whose weight is not 0", pl.col(LAST_AT)),
)

INTERACTIONS: Final = _PAIR + _INTEREST

SEQUENCES: Final = (
    *_PAIR,
    Feature(EVENT, pl.String(), "name", "The event", pl.col(EVENT)),
    Feature(TIMESTAMP, TIMESTAMP_DTYPE, "UTC", "When it happened", pl.col(TIMESTAMP)),
    Feature(WEIGHT, pl.Float64(), "weight", "What the event is worth, not 0 and not decayed", pl.col(WEIGHT)),
)


def interactions(
    events: pl.LazyFrame, as_of: datetime, weights: Mapping[str, float], half_life_days: float
) -> pl.LazyFrame:
    """One row a user and item with an event of weight other than 0, with the columns of `INTERACTIONS`.

    In order of user, then item.
    """
    return interactions_from_pairs(user_item_pairs(load_events(events, as_of), as_of, half_life_days, weights))


def interactions_from_pairs(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """`interactions` from the rows of `user_item_pairs`."""
    ordered = pairs.filter(pl.col(WEIGHED) > 0).sort(packed(pl.col(USER_ID), pl.col(ITEM_ID), 32))
    return ordered.select(columns(INTERACTIONS))


def sequences(events: pl.LazyFrame, as_of: datetime, weights: Mapping[str, float]) -> pl.LazyFrame:
    """One row an event of weight other than 0, with the columns of `SEQUENCES`.

    In order of user, then time, then event id.
    """
    return sequences_from_events(load_events(events, as_of), weights)


def sequences_from_events(events: pl.LazyFrame, weights: Mapping[str, float]) -> pl.LazyFrame:
    """`sequences` from events `load_events`."""
    since_first = pl.col(TIMESTAMP) - pl.col(TIMESTAMP).min()
    return (
        events.select(USER_ID, ITEM_ID, EVENT, TIMESTAMP, EVENT_ID, weight(weights).alias(WEIGHT))
        .filter(pl.col(WEIGHT) != 0)
        .sort(packed(pl.col(USER_ID), since_first, 64), EVENT_ID)
        .select(columns(SEQUENCES))
    )
