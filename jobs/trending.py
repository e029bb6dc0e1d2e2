"""The trending list as of now, from the lake's latest days, in place of the live version's."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import polars as pl

from features.events import before, days_since, decay, exact_sum
from jobs.candidates import build_candidate
from jobs.lake import Lake, lake_of
from jobs.lists import trending_list, unavailable_items
from jobs.progress import Progress
from jobs.screening import last_screened
from recsys.ids import IdMap
from recsys.models.trending import Trending
from recsys.schema import EARLIEST, EVENT, ITEM_ID, TIMESTAMP
from recsys.settings import Settings
from recsys.store.connection import connect
from recsys.store.keys import Keys
from recsys.store.trending import replace_trending

# An event counts a thirty-second after so many half-lives: what is older would hardly change a list.
USUAL_HALF_LIVES = 5


@dataclass(frozen=True)
class Renewed:
    """The trending list that is live now."""

    version: str
    items: int
    seconds: float


def renew_trending(settings: Settings, as_of: datetime, progress: Progress) -> Renewed:
    """Compute the trending list of `as_of` and put it in place of the live version's; where nothing rises there
    is none."""
    started = time.perf_counter()
    progress.start("renew the trending list")
    lake = lake_of(settings)
    screened = last_screened(settings.directory)
    items = trending_items(lake if screened is None else lake.without(screened), settings, as_of)
    client = connect(settings.redis, settings.directory)
    version = replace_trending(client, Keys(settings.redis.namespace), items)
    progress.done()
    return Renewed(version, len(items), time.perf_counter() - started)


def trending_items(lake: Lake, settings: Settings, as_of: datetime) -> list[str]:
    """The items on the rise at `as_of` that may be shown, best first."""
    model = cast(Trending, build_candidate("trending", settings))
    recent_days, usual_days = model.config.recent_days, model.config.usual_days
    days = min(USUAL_HALF_LIVES * max(recent_days, usual_days), (as_of - EARLIEST).days)
    wanted = [name for name, weight in settings.sources.event_weights.items() if weight > 0]
    age = days_since(pl.col(TIMESTAMP), as_of)
    rates = (
        before(lake.events(since=as_of - timedelta(days=days)), as_of)
        .filter(pl.col(EVENT).is_in(sorted(wanted)))
        .group_by(ITEM_ID)
        .agg(recent=exact_sum(decay(age, recent_days)), usual=exact_sum(decay(age, usual_days)))
        .sort(ITEM_ID)
        .with_columns(pl.col("recent", "usual").cast(pl.Float64))
        .collect(engine="streaming")
    )
    if rates.is_empty():
        return []
    known = IdMap.of(rates[ITEM_ID])
    trend = model.fit_rates(rates["recent"].to_numpy(), rates["usual"].to_numpy()).item_trend
    unavailable = unavailable_items(known, lake.items().collect())
    return trending_list(trend, known, unavailable, settings.lists.popular_items)
