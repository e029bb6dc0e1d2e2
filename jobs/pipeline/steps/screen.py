"""The screen step: who is no shopper, by detectors, flags and labels, so that no model learns from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal

import polars as pl
from pydantic import TypeAdapter

from features.behavior import behavior
from features.behavior_partials import add_ip_counts, add_item_counts, ip_counts, item_counts
from features.events import events_before, weight
from jobs.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.run import Run, list_runs
from jobs.pipeline.step_names import SCREEN
from jobs.progress import Task
from recsys.anomaly.networks import is_within, parse_networks
from recsys.files import read_json, write_json
from recsys.schema import (
    BOT,
    EVENTS,
    FINE,
    FIRST_AT,
    FLAGGED,
    IP,
    ITEM_ID,
    LABEL,
    LAST_AT,
    REASONS,
    SCORE,
    SHADOW,
    SOURCE,
    TIMESTAMP,
    USER_ID,
)
from recsys.settings import Settings
from recsys.settings.anomalies import Anomalies
from recsys.store.flags import Flag

USERS_FILE: Final = "users.parquet"
SUMMARY_FILE: Final = "summary.json"
ONLINE_DAYS: Final = 90
"""So long a flag of the online half keeps a user out of training."""
REPORTED_SCORE: Final = 50.0
"""From it on users are written down though they are not screened out."""
FLAG_HOURS: Final = 36.0
"""So long after publishing a screened user gets popular lists: until the next night's run, and its delay."""
MAX_REPORTED: Final = 10_000
LABELLED: Final = "an analyst calls the user a bot"

# Who found a user: what is named first counts where several did.
Origin = Literal["label", "online", "nightly"]
ORIGINS: Final[tuple[Origin, ...]] = ("label", "online", "nightly")


@dataclass(frozen=True)
class ScreenSummary:
    """What the screen step found."""

    mode: Literal["screen", "shadow"]
    users: int
    """Users with events before the run's `as_of`."""
    events: int
    screened_users: int
    screened_events: int
    by_origin: dict[Origin, int]
    """Screened users by who found them."""
    bots: int
    """Labels of analysts that call a user a bot."""
    fine: int
    """Labels of analysts that call a user fine."""


def screen(context: RunContext) -> RunContext:
    """Flag users whose behavior is not a customer's; later steps read the lake without them."""
    mode = context.settings.anomalies.nightly
    if mode == "off":
        return context
    context.write_outputs({SCREEN: partial(_screen, context=context)})
    flagged = screened_users(context.run)
    if mode == "shadow" or not len(flagged):
        return context
    return replace(context, lake=context.lake.excluding(flagged), unscreened_lake=context.lake)


def read_screen_summary(run: Run) -> ScreenSummary:
    """What the screen step of a run found."""
    return TypeAdapter(ScreenSummary).validate_python(read_json(run.directory / SCREEN / SUMMARY_FILE))


def read_screened(run: Run) -> pl.DataFrame:
    """Everyone who was written down: user, score, whether flagged, who found the user, reasons, events; those
    flagged first, then by score.
    """
    return pl.read_parquet(run.directory / SCREEN / USERS_FILE)


def screened_users(run: Run) -> pl.Series:
    """The users who were flagged, by their ids in the lake."""
    return read_screened(run).filter(FLAGGED)[USER_ID]


def build_nightly_flags(run: Run, settings: Settings, now: datetime) -> list[Flag]:
    """The flags of the users whom the run screened out, from `now` on; none where it only looks, or does not."""
    if settings.anomalies.nightly != "screen":
        return []
    rows = read_screened(run).filter(FLAGGED).select(USER_ID, SCORE, REASONS).rows()
    until = now + timedelta(hours=FLAG_HOURS)
    return [Flag(user, score, tuple(reasons), "nightly", now, until) for user, score, reasons in rows]


def find_latest_screening(directory: Path) -> Run | None:
    """The latest run under the data directory that looked for users who are no shoppers; None where none did."""
    return next((run for run in list_runs(directory) if SCREEN in run.manifest()["steps"]), None)


def read_latest_screened_users(directory: Path) -> pl.Series | None:
    """The users whom the latest run under the data directory screened out; None where none looked for any."""
    run = find_latest_screening(directory)
    return None if run is None or read_screen_summary(run).mode == "shadow" else screened_users(run)


def _screen(directory: Path, context: RunContext) -> None:
    from recsys.anomaly.screening import screen_users  # its detectors take seconds to import

    run, lake, settings = context.run, context.lake, context.settings
    anomalies = settings.anomalies
    with context.progress.task("screen users", 2 * lake.buckets) as task:
        table, pairs = _tables(lake, settings, run.as_of, task)
        labels = lake.labels().collect()
        found = screen_users(pairs, table, labels, anomalies, settings.seed)
        known = table.select(USER_ID, EVENTS)
        allowed = [lake.stored_id(user) for user in anomalies.allowed_users]
        verdicts = combine_verdicts(known, found, labels, read_online_flags(lake, run.as_of), allowed)
        _reported(verdicts).write_parquet(directory / USERS_FILE)
        write_json(directory / SUMMARY_FILE, asdict(_summarize(known, verdicts, labels, anomalies)))


def combine_verdicts(
    known: pl.DataFrame,
    found: pl.DataFrame,
    labels: pl.DataFrame,
    online: pl.DataFrame,
    allowed: Sequence[str],
) -> pl.DataFrame:
    """Who is screened out, one row a user of `known` (user, events) of whom anything is said.

    `found` is what the nightly detectors say (user, score, flagged, reasons), `online` the same of the online half,
    all of it flagged. Whom an analyst calls a bot is flagged whatever they say; whom an analyst calls fine, and who
    is `allowed`, never.
    """
    bots, fine = (labels.filter(pl.col(LABEL) == label).select(USER_ID) for label in (BOT, FINE))
    said = bots.with_columns(
        pl.lit(100.0).alias(SCORE), pl.lit(True).alias(FLAGGED), pl.lit([LABELLED]).alias(REASONS)
    )
    columns = [USER_ID, SCORE, FLAGGED, REASONS]
    parts = [
        part.select(columns).with_columns(pl.lit(origin).alias(SOURCE))
        for origin, part in zip(ORIGINS, (said, online, found), strict=True)
    ]
    never = pl.concat([fine[USER_ID], pl.Series(USER_ID, allowed, pl.String)])
    rank = pl.col(SOURCE).replace_strict({origin: place for place, origin in enumerate(ORIGINS)})
    # The one who flags is named, and of several the first; a score is the highest of all.
    return (
        pl.concat(parts)
        .sort(USER_ID, ~pl.col(FLAGGED), rank, maintain_order=True)
        .group_by(USER_ID, maintain_order=True)
        .agg(
            pl.col(SCORE).max(),
            pl.col(FLAGGED).first(),
            pl.col(SOURCE).first(),
            pl.col(REASONS).explode().drop_nulls(),
        )
        .with_columns(pl.col(REASONS).list.unique(maintain_order=True))
        .with_columns((pl.col(FLAGGED) & ~pl.col(USER_ID).is_in(never.implode())).alias(FLAGGED))
        .join(known, on=USER_ID, maintain_order="left")
    )


def _reported(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Those flagged and, of the others, the most suspicious."""
    ordered = verdicts.sort(SCORE, USER_ID, descending=[True, False])
    others = ordered.filter(~pl.col(FLAGGED) & (pl.col(SCORE) >= REPORTED_SCORE)).head(MAX_REPORTED)
    return pl.concat([ordered.filter(FLAGGED), others])


def _summarize(
    known: pl.DataFrame, verdicts: pl.DataFrame, labels: pl.DataFrame, anomalies: Anomalies
) -> ScreenSummary:
    flagged = verdicts.filter(FLAGGED)
    counts: dict[str, int] = dict(flagged[SOURCE].value_counts().rows())
    return ScreenSummary(
        mode="shadow" if anomalies.nightly == "shadow" else "screen",
        users=known.height,
        events=int(known[EVENTS].sum()),
        screened_users=flagged.height,
        screened_events=int(flagged[EVENTS].sum()),
        by_origin={origin: counts.get(origin, 0) for origin in ORIGINS},
        bots=int((labels[LABEL] == BOT).sum()),
        fine=int((labels[LABEL] == FINE).sum()),
    )


def _tables(lake: Lake, settings: Settings, as_of: datetime, task: Task) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The behaviour of every user, and what each did with each item, put together bucket by bucket."""
    buckets = [lake.events(bucket) for bucket in range(lake.buckets)]
    items: list[pl.DataFrame] = []
    ips: list[pl.DataFrame] = []
    for events in buckets:
        counts = pl.collect_all([item_counts(events, as_of), ip_counts(events, as_of)], engine="streaming")
        for parts, part in zip((items, ips), counts, strict=True):
            parts.append(part)
        task.advance(1)
    shop_items = add_item_counts(pl.concat(items).lazy()).collect()
    shop_ips = _counted_ips(add_ip_counts(pl.concat(ips).lazy()).collect(), settings.anomalies.allowed_networks)
    tables: list[pl.DataFrame] = []
    pairs: list[pl.DataFrame] = []
    for events in buckets:
        tables.append(behavior(events, as_of, shop_items.lazy(), shop_ips.lazy()).collect())
        pairs.append(
            count_user_item_events(events_before(events, as_of), settings.sources.event_weights).collect(
                engine="streaming"
            )
        )
        task.advance(1)
    return pl.concat(tables).sort(USER_ID), pl.concat(pairs).sort(USER_ID, ITEM_ID)


def count_user_item_events(events: pl.LazyFrame, weights: Mapping[str, float]) -> pl.LazyFrame:
    """One row a user and item: how many events say that the user wants the item, the first and the last of them."""
    wanted = events.filter(weight(weights) > 0)
    return wanted.group_by(USER_ID, ITEM_ID).agg(
        pl.len().alias(EVENTS), pl.col(TIMESTAMP).min().alias(FIRST_AT), pl.col(TIMESTAMP).max().alias(LAST_AT)
    )


def _counted_ips(ips: pl.DataFrame, allowed: Sequence[str]) -> pl.DataFrame:
    """The addresses that lie in no allowed network."""
    networks = parse_networks(allowed)
    if not networks:
        return ips
    return ips.filter(pl.Series([not is_within(ip, networks) for ip in ips[IP]], dtype=pl.Boolean))


def read_online_flags(lake: Lake, as_of: datetime) -> pl.DataFrame:
    """Users whom the online half held back in the last days, each with the flag of the highest score."""
    since = as_of - timedelta(days=ONLINE_DAYS)
    recent = pl.col(TIMESTAMP).is_between(pl.lit(since), pl.lit(as_of), closed="left")
    flags = lake.flags().filter(recent & ~pl.col(SHADOW)).collect()
    return (
        flags.sort(SCORE, TIMESTAMP, descending=True)
        .unique(USER_ID, keep="first", maintain_order=True)
        .select(USER_ID, SCORE, pl.lit(True).alias(FLAGGED), REASONS)
    )
