"""Statistics of each user and item pair, from which interactions, tastes and item features are computed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from features.events import (
    UNIT_FACTOR,
    WINDOW_DAYS,
    days_since,
    decay,
    exact_sum,
    in_last,
    purchase_day,
    weight,
    with_weights,
)
from recsys.growth import RECENT_DAYS, USUAL_DAYS
from recsys.schema import (
    CART,
    CONFIDENCE,
    EVENT,
    EVENTS,
    FIRST_AT,
    IMPRESSION,
    ITEM_ID,
    LAST_AT,
    PURCHASE,
    REFUND,
    RETURNED_PURCHASE,
    TIMESTAMP,
    USER_ID,
    VIEW,
    WEIGHT,
)

ACTS: Final = "acts"
WEIGHED: Final = "weighed"
LIKED: Final = "liked"
AFFINITY: Final = "affinity"
RECENT: Final = "recent"
USUAL: Final = "usual"
PURCHASE_DAYS: Final = "purchase_days"
FIRST_DAY: Final = "first_day"
LAST_DAY: Final = "last_day"
FIRST_WEIGHED_AT: Final = "first_weighed_at"

_AGE: Final = "age_days"
_COUNTED: Final = (VIEW, CART, PURCHASE, RETURNED_PURCHASE, REFUND)


def events_column(days: int) -> str:
    """Return the name of the column that counts events of positive weight in the last `days`."""
    return f"{EVENTS}_{days}d"


def user_item_pairs(
    events: pl.LazyFrame,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float],
    time_zone: str = "UTC",
) -> pl.LazyFrame:
    """Compute one row per user and item from events of `load_events`, in no defined order.

    `acts` counts the events except impressions, `weighed` those whose name has a weight other than 0, `events`
    those with a positive weight, and `liked` those with a positive weight except impressions. Columns named after
    an event type count it. `confidence` is the decayed weight of all events, `affinity` that of the events except
    impressions. The weights are those of `weigh_events`, else those of the names. Days begin in `time_zone`.
    """
    impressions_have_weight = bool(weights.get(IMPRESSION))
    weighed = with_weights(events, weights)
    age, event_weight = pl.col(_AGE), pl.col(WEIGHT)
    is_act = pl.col(EVENT) != IMPRESSION
    has_weight, is_positive = weight(weights) != 0, event_weight > 0
    if UNIT_FACTOR in weighed.collect_schema().names():
        event_weight *= pl.col(UNIT_FACTOR)
    decayed = event_weight * decay(age, half_life_days)
    return (
        weighed.with_columns(days_since(pl.col(TIMESTAMP), as_of).alias(_AGE))
        .group_by(USER_ID, ITEM_ID)
        .agg(
            is_act.sum().alias(ACTS),
            has_weight.sum().alias(WEIGHED),
            is_positive.sum().alias(EVENTS),
            (is_positive & is_act).sum().alias(LIKED),
            *((is_positive & in_last(days, as_of)).sum().alias(events_column(days)) for days in WINDOW_DAYS),
            *((pl.col(EVENT) == name).sum().alias(name) for name in _COUNTED),
            exact_sum(decayed).alias(CONFIDENCE),
            *([exact_sum(pl.when(is_act).then(decayed)).alias(AFFINITY)] if impressions_have_weight else []),
            exact_sum(is_positive * decay(age, RECENT_DAYS)).alias(RECENT),
            exact_sum(is_positive * decay(age, USUAL_DAYS)).alias(USUAL),
            purchase_day(time_zone).drop_nulls().n_unique().alias(PURCHASE_DAYS),
            purchase_day(time_zone).min().alias(FIRST_DAY),
            purchase_day(time_zone).max().alias(LAST_DAY),
            pl.col(TIMESTAMP).min().alias(FIRST_AT),
            pl.when(has_weight).then(pl.col(TIMESTAMP)).min().alias(FIRST_WEIGHED_AT),
            pl.when(has_weight).then(pl.col(TIMESTAMP)).max().alias(LAST_AT),
        )
        .with_columns([] if impressions_have_weight else pl.col(CONFIDENCE).alias(AFFINITY))
    )
