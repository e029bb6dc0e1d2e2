"""Renew the trending list of the live version from the lake's latest days."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

import polars as pl

from features.events import days_since, decay, exact_sum, with_weights
from jobs.lake.lake import Lake
from jobs.lake.not_recommendable import mark_never_shown, open_recommendable_lake
from jobs.pipeline.evaluation_window import read_list_limits
from jobs.pipeline.event_rules import weighed_buckets
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.steps.popular_lists import trending_list, unlisted_items
from jobs.pipeline.steps.screen import read_latest_screened_users
from jobs.pipeline.variants import read_variants
from jobs.progress import Progress
from recsys.data.trust import trust_from_active_days, trusted_counts
from recsys.ids import IdMap
from recsys.models.trending import Trending, TrendingConfig
from recsys.schema import ITEM_ID, MIN_TIMESTAMP, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID, WEIGHT
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.flags import flagged_users
from recsys.store.keys import Keys
from recsys.store.publish.trending import replace_trending

# After five half-lives an event counts a thirty-second. Older events would hardly change a list, nor the trust in a
# user, because a user with few days in that time has few events that count.
USUAL_HALF_LIVES = 5

NO_USERS: Final = IdMap.from_ids(pl.Series(dtype=pl.String))
AGE: Final = "age_days"
DAY: Final = "day"
TRUST: Final = "trust"
RATES: Final = ("recent", "usual")
SUMS: Final = (*RATES, *(f"trusted_{name}" for name in RATES))
MICROSECONDS_PER_DAY: Final = 86_400_000_000


@dataclass(frozen=True)
class TrendingRenewal:
    """The trending list that was renewed."""

    version: str
    items: int
    seconds: float


def renew_trending(settings: Settings, as_of: datetime, progress: Progress) -> TrendingRenewal:
    """Compute the trending list of `as_of` and replace the live version's with it; empty if no item trends.

    Events of users who are flagged now, or whom the last nightly run screened out, do not count.
    """
    started = time.perf_counter()
    with progress.task("renew the trending list"):
        client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
        flagged = pl.Series(flagged_users(client, keys, as_of), dtype=pl.String)
        screened = read_latest_screened_users(settings.directory)
        excluded = flagged if screened is None else pl.concat([flagged, screened])
        lake = open_recommendable_lake(settings, as_of).by_group().excluding(excluded)
        items = trending_items(lake, settings, as_of)
        version = replace_trending(client, keys, items)
    return TrendingRenewal(version, len(items), time.perf_counter() - started)


def trending_items(lake: Lake, settings: Settings, as_of: datetime) -> list[str]:
    """Rank the available items that trend at `as_of`."""
    model = cast(Trending, build_configured_model("trending", settings))
    buckets = weighed_buckets(lake, settings.sources, as_of, since=_first_day(model.config, as_of))
    rates = pl.concat([bucket_rates(events, settings, model.config, as_of) for events in buckets])
    sums = rates.group_by(ITEM_ID).agg(pl.col(*SUMS).sum()).sort(ITEM_ID)
    if sums.is_empty():
        return []
    item_ids = IdMap.from_ids(sums[ITEM_ID])
    recent, usual, trusted_recent, trusted_usual = sums.select(pl.col(*SUMS).cast(pl.Float64)).to_numpy().T
    trend = model.fit_rates(trusted_counts(recent, trusted_recent), trusted_counts(usual, trusted_usual)).item_trend
    lists, since = settings.lists, _first_day(model.config, as_of)
    variants = read_variants(lake, item_ids, NO_USERS, as_of, since=since, never_show=lists.never_show)
    shown = mark_never_shown(lake.items().collect(), item_ids.values, lists.never_show)
    unavailable = variants.unlisted if variants else unlisted_items(item_ids, shown, as_of)
    limits = read_list_limits(lake, item_ids, lists)
    return trending_list(trend, item_ids, unavailable, lists.popular_items, variants, limits)


def bucket_rates(events: pl.LazyFrame, settings: Settings, config: TrendingConfig, as_of: datetime) -> pl.DataFrame:
    """Sum the rates of each item over a bucket's events of `weigh_events`: exact `SUMS`, which add up over buckets.

    Only events with a positive weight count, and a user counts once per item and day, as in
    `recsys.models.trending`; trusted sums weigh a user by trust.
    """
    age = pl.lit(as_of, TIMESTAMP_DTYPE) - pl.col(TIMESTAMP)
    counted = (
        with_weights(events, settings.sources.event_weights)
        .filter(pl.col(WEIGHT) > 0)
        .select(
            USER_ID,
            pl.col(ITEM_ID).cast(pl.String),
            days_since(pl.col(TIMESTAMP), as_of).alias(AGE),
            ((age.dt.total_microseconds() - 1) // MICROSECONDS_PER_DAY).alias(DAY),
        )
        .group_by(USER_ID, ITEM_ID, DAY)
        .agg(pl.col(AGE).min())
        .collect(engine="streaming")
    )
    users = counted.group_by(USER_ID).agg(pl.col(DAY).n_unique())
    trust = users.select(USER_ID, pl.Series(TRUST, trust_from_active_days(users[DAY].to_numpy())))
    rates = [decay(pl.col(AGE), days) for days in (config.recent_days, config.usual_days)]
    sums = [*(exact_sum(rate) for rate in rates), *(exact_sum(rate * pl.col(TRUST)) for rate in rates)]
    named = [total.alias(name) for total, name in zip(sums, SUMS, strict=True)]
    return counted.lazy().join(trust.lazy(), on=USER_ID).group_by(ITEM_ID).agg(named).collect(engine="streaming")


def _first_day(config: TrendingConfig, as_of: datetime) -> datetime:
    days = USUAL_HALF_LIVES * max(config.recent_days, config.usual_days)
    return as_of - timedelta(days=min(days, (as_of - MIN_TIMESTAMP).days))
