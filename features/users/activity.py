"""User activity: event counts, sessions, and distribution over the hours and weekdays."""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import COUNT, WINDOW_DAYS, count_by, in_last, local_time
from features.feature import Feature, columns
from recsys.schema import (
    CART,
    CLICK,
    EVENT,
    EVENTS,
    FIRST_AT,
    LAST_AT,
    PURCHASE,
    RATING,
    REFUND,
    SESSION_ID,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
    VIEW,
)

_HOUR: Final = "hour"
_WEEKDAY: Final = "weekday"

NIGHT_HOURS: Final = 6

_PLURALS: Final = {
    VIEW: "views",
    CLICK: "clicks",
    CART: "carts",
    PURCHASE: "purchase_lines",
    RATING: "ratings",
    REFUND: "refund_lines",
}

_KEPT: Final = ", of which something was kept"

_SESSIONS: Final = pl.col(SESSION_ID).drop_nulls().n_unique()
_IN_SESSIONS: Final = pl.col(SESSION_ID).count()

_ACTIVITY: Final = (
    Feature(EVENTS, pl.UInt32(), "events", "Number of events except impressions", pl.len()),
    Feature(FIRST_AT, TIMESTAMP_DTYPE, "UTC", "Time of the first event", pl.col(TIMESTAMP).min()),
    Feature(LAST_AT, TIMESTAMP_DTYPE, "UTC", "Time of the last event", pl.col(TIMESTAMP).max()),
    Feature(
        "sessions",
        pl.UInt32(),
        "sessions",
        "Number of sessions; null if no event has a session id",
        pl.when(_IN_SESSIONS > 0).then(_SESSIONS),
    ),
    Feature(
        "events_per_session",
        pl.Float64(),
        "events",
        "Mean number of events per session; null if no event has a session id",
        pl.when(_IN_SESSIONS > 0).then(_IN_SESSIONS / _SESSIONS),
    ),
)

_COUNTS: Final = tuple(
    Feature(
        f"{plural}_{days}d",
        pl.UInt32(),
        "events",
        f"Number of {event} events in the last {days} x 24 hours{_KEPT if event == PURCHASE else ''}",
        pl.when(pl.col(EVENT) == event).then(pl.col(f"{days}")).sum(),
    )
    for event, plural in _PLURALS.items()
    for days in WINDOW_DAYS
)


def _shares(key: str, values: range) -> pl.Expr:
    counts = (pl.when(pl.col(key) == value).then(pl.col(COUNT)).sum() for value in values)
    return pl.concat_list([count / pl.col(COUNT).sum() for count in counts])


_HOURS: Final = (
    Feature(
        "hour_shares",
        pl.List(pl.Float64()),
        "share",
        "Share of the user's events in each of the 24 hours of the day from midnight, in the shop's time zone",
        _shares(_HOUR, range(24)),
    ),
    Feature(
        "night_share",
        pl.Float64(),
        "share",
        f"Share of the user's events before {NIGHT_HOURS} in the morning, in the shop's time zone",
        pl.when(pl.col(_HOUR) < NIGHT_HOURS).then(pl.col(COUNT)).sum() / pl.col(COUNT).sum(),
    ),
)

_WEEKDAYS: Final = (
    Feature(
        "weekday_shares",
        pl.List(pl.Float64()),
        "share",
        "Share of the user's events on each of the 7 days of the week from Monday, in the shop's time zone",
        _shares(_WEEKDAY, range(1, 8)),
    ),
)

USER_ACTIVITY: Final = _ACTIVITY + _COUNTS + _HOURS + _WEEKDAYS


def user_activity(events: pl.LazyFrame, as_of: datetime, time_zone: str = "UTC") -> pl.LazyFrame:
    """Compute one row per user of `events`, all before `as_of`, in the columns of `USER_ACTIVITY`."""
    time = local_time(time_zone)
    in_windows = [in_last(days, as_of).sum().alias(f"{days}") for days in WINDOW_DAYS]
    counts = events.group_by(USER_ID, EVENT).agg(in_windows)
    hours = count_by(events, time.dt.hour().alias(_HOUR))
    weekdays = count_by(events, time.dt.weekday().alias(_WEEKDAY))
    return (
        events.group_by(USER_ID)
        .agg(columns(_ACTIVITY))
        .join(counts.group_by(USER_ID).agg(columns(_COUNTS)), on=USER_ID)
        .join(hours.group_by(USER_ID).agg(columns(_HOURS)), on=USER_ID)
        .join(weekdays.group_by(USER_ID).agg(columns(_WEEKDAYS)), on=USER_ID)
    )
