"""What events say by the settings, and the events of a lake with the weights that follow."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

import polars as pl

from features.event_weights import EventRules, sum_ratings, summarize_ratings, weigh_events
from features.events import events_before, load_events
from jobs.lake.lake import Lake
from recsys.schema import EVENT, EVENT_ID, ITEM_ID, QUANTITY, TIMESTAMP, USER_ID, VALUE
from recsys.settings import Sources

EVENT_COLUMNS: Final = (EVENT_ID, USER_ID, ITEM_ID, EVENT, TIMESTAMP, VALUE, QUANTITY)
"""The columns that decide the weight of an event."""


def event_rules(lake: Lake, sources: Sources, moment: datetime, since: datetime | None = None) -> EventRules:
    """Return what events before `moment` say, by the settings and the shop's ratings from `since` to then."""
    rules = EventRules(
        weights=sources.event_weights,
        quantity_weight=sources.quantity_weight,
        value_weights=sources.value_weights,
        rating_events=sources.rating_events,
        negative_events=sources.negative_events,
        matches_returns=True,
    )
    if not sources.rating_events:
        return rules
    sums = [
        sum_ratings(events_before(lake.events(bucket, since), moment), sources.rating_events).collect(
            engine="streaming"
        )
        for bucket in range(lake.buckets)
    ]
    return replace(rules, shop_ratings=summarize_ratings(pl.concat(sums)))


def weighed_buckets(
    lake: Lake, sources: Sources, moment: datetime, since: datetime | None = None
) -> Iterator[pl.LazyFrame]:
    """Yield the events of each bucket before `moment`, from the UTC day of `since` on, as of `weigh_events`.

    Events of guests who were known as users by then are those of the users.
    """
    lake = lake.joining_guests(moment)
    rules = event_rules(lake, sources, moment, since)
    for bucket in range(lake.buckets):
        yield _weigh_bucket(lake, bucket, rules, moment, since)


def weighed_windows(lake: Lake, sources: Sources, start: datetime, end: datetime) -> Iterator[pl.LazyFrame]:
    """Yield events of each bucket before `end`, as of `weigh_events`: all from `start` on, and maybe earlier ones.

    Returns take the latest purchases first, so that earlier events change nothing; for ratings, they do.
    """
    lake = lake.joining_guests(end)
    rules = event_rules(lake, sources, end)
    since = start if rules.shop_ratings.is_empty() else None
    for bucket in range(lake.buckets):
        yield _weigh_bucket(lake, bucket, rules, end, since)


def _weigh_bucket(
    lake: Lake, bucket: int, rules: EventRules, moment: datetime, since: datetime | None
) -> pl.LazyFrame:
    return weigh_events(load_events(lake.events(bucket, since).select(EVENT_COLUMNS), moment), rules)
