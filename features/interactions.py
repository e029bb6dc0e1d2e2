"""Who wanted what, and how much: one row a user and item, and every event in order of time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import before, days_since, decay, exact_sum, purchase_day, weight
from features.feature import Feature, columns
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

_DECAYED: Final = "decayed"

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
        exact_sum(pl.col(_DECAYED)),
    ),
    Feature(EVENTS, pl.UInt32(), "events", "Events whose weight is not 0", pl.len()),
    Feature(
        "purchase_days",
        pl.UInt32(),
        "days",
        "Distinct UTC days on which the user bought the item",
        purchase_day().drop_nulls().n_unique(),
    ),
    Feature(FIRST_AT, TIMESTAMP_DTYPE, "UTC", "First event whose weight is not 0", pl.col(TIMESTAMP).min()),
    Feature(LAST_AT, TIMESTAMP_DTYPE, "UTC", "Last event whose weight is not 0", pl.col(TIMESTAMP).max()),
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
    age = days_since(pl.col(TIMESTAMP), as_of)
    return (
        _weighted(events, as_of, weights)
        .with_columns((pl.col(WEIGHT) * decay(age, half_life_days)).alias(_DECAYED))
        .group_by(columns(_PAIR))
        .agg(columns(_INTEREST))
        .sort(USER_ID, ITEM_ID)
    )


def sequences(events: pl.LazyFrame, as_of: datetime, weights: Mapping[str, float]) -> pl.LazyFrame:
    """One row an event of weight other than 0, with the columns of `SEQUENCES`.

    In order of user, then time, then event id.
    """
    ordered = _weighted(events, as_of, weights).sort(USER_ID, TIMESTAMP, EVENT_ID)
    return ordered.select(columns(SEQUENCES))


def _weighted(events: pl.LazyFrame, as_of: datetime, weights: Mapping[str, float]) -> pl.LazyFrame:
    known = before(events, as_of).with_columns(weight(weights).alias(WEIGHT))
    return known.filter(pl.col(WEIGHT) != 0)
