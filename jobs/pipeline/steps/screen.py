"""The screen step: flag bots by detectors, online flags and labels, and exclude them from training."""

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
from jobs.lake.lake import Lake
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
"""Days for which an online flag excludes a user from training."""
REPORTED_SCORE: Final = 50.0
"""Score from which users are reported although they are not flagged."""
FLAG_HOURS: Final = 36.0
"""Hours for which a user flagged by a run gets popular lists: until the next nightly run, and its delay."""
MAX_REPORTED: Final = 10_000
LABELED_REASON: Final = "an analyst calls the user a bot"

# The origin of a flag; the first of several origins counts.
Origin = Literal["label", "online", "nightly"]
ORIGINS: Final[tuple[Origin, ...]] = ("label", "online", "nightly")


@dataclass(frozen=True)
class ScreenSummary:
    """The numbers that the screen step reports."""

    mode: Literal["screen", "shadow"]
    users: int
    """Users with events before the run's `as_of`."""
    events: int
    screened_users: int
    screened_events: int
    by_origin: dict[Origin, int]
    """Flagged users by origin."""
    bots: int
    """Labels of analysts that say bot."""
    fine: int
    """Labels of analysts that say fine."""


def screen(context: RunContext) -> RunContext:
    """Flag users who behave like bots by the events before `as_of`; later steps read the lake without them."""
    mode = context.settings.anomalies.nightly
    if mode == "off":
        return context
    run = context.run
    context.write_outputs({SCREEN: partial(_screen, context=context)})
    flagged = screened_users(run)
    if mode == "shadow":
        return context
    context = replace(context, unscreened_lake=context.lake, flagged_users={run.as_of: flagged})
    return replace(context, lake=context.lake_as_of(run.as_of))


def read_screen_summary(run: Run) -> ScreenSummary:
    """Read the summary of a run's screen step."""
    return TypeAdapter(ScreenSummary).validate_python(read_json(run.directory / SCREEN / SUMMARY_FILE))


def read_screened(run: Run) -> pl.DataFrame:
    """Read the reported users: user, score, flagged, source, reasons, events; flagged users come first."""
    return pl.read_parquet(run.directory / SCREEN / USERS_FILE)


def screened_users(run: Run) -> pl.Series:
    """Read the ids, in the lake, of the flagged users."""
    return read_screened(run).filter(FLAGGED)[USER_ID]


def build_nightly_flags(run: Run, settings: Settings, now: datetime) -> list[Flag]:
    """Build the flags to publish, from `now` on; none in shadow mode or without screening."""
    if settings.anomalies.nightly != "screen":
        return []
    rows = read_screened(run).filter(FLAGGED).select(USER_ID, SCORE, REASONS).rows()
    until = now + timedelta(hours=FLAG_HOURS)
    return [Flag(user, score, tuple(reasons), "nightly", now, until) for user, score, reasons in rows]


def find_latest_screening(directory: Path) -> Run | None:
    """Return the latest run under the data directory with a screen step; None without any."""
    return next((run for run in list_runs(directory) if SCREEN in run.manifest()["steps"]), None)


def read_latest_screened_users(directory: Path) -> pl.Series | None:
    """Read the users excluded by the latest run with a screen step; None without such a run, or in shadow mode."""
    run = find_latest_screening(directory)
    return None if run is None or read_screen_summary(run).mode == "shadow" else screened_users(run)


def _screen(directory: Path, context: RunContext) -> None:
    lake, settings = context.lake, context.settings
    with context.progress.task("screen users", 2 * lake.buckets) as task:
        users, verdicts, labels = judge_users(lake, settings, context.run.as_of, task)
        _select_reported(verdicts).write_parquet(directory / USERS_FILE)
        write_json(directory / SUMMARY_FILE, asdict(_summarize(users, verdicts, labels, settings.anomalies)))


def judge_users(
    lake: Lake, settings: Settings, moment: datetime, task: Task
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Judge every user by the events and online flags before a moment; return users, verdicts and labels.

    `users` has the events of each user, verdicts are those of `combine_verdicts`. Analysts' labels count whenever
    they were given: they correct the data. Advances `task` twice for each bucket.
    """
    from recsys.anomaly.screening import screen_users  # its detectors take seconds to import

    anomalies = settings.anomalies
    table, pairs = _behavior_and_pairs(lake, settings, moment, task)
    labels = lake.labels().collect()
    screened = screen_users(pairs, table, labels, anomalies, settings.seed)
    users = table.select(USER_ID, EVENTS)
    allowed = [lake.stored_id(user) for user in anomalies.allowed_users]
    return users, combine_verdicts(users, screened, labels, read_online_flags(lake, moment), allowed), labels


def combine_verdicts(
    users: pl.DataFrame,
    screened: pl.DataFrame,
    labels: pl.DataFrame,
    online: pl.DataFrame,
    allowed: Sequence[str],
) -> pl.DataFrame:
    """Combine labels, online flags and nightly scores into one row per user that has any of them.

    `users` has the events of every user (user, events), `screened` has the nightly scores (user, score, flagged,
    reasons), `online` the same columns of online flags, all of them flagged. A user whom an analyst labels a bot is
    always flagged; users labeled fine, and `allowed` users, never are.
    """
    bots, fine = (labels.filter(pl.col(LABEL) == label).select(USER_ID) for label in (BOT, FINE))
    labeled = bots.with_columns(
        pl.lit(100.0).alias(SCORE), pl.lit(True).alias(FLAGGED), pl.lit([LABELED_REASON]).alias(REASONS)
    )
    columns = [USER_ID, SCORE, FLAGGED, REASONS]
    parts = [
        part.select(columns).with_columns(pl.lit(origin).alias(SOURCE))
        for origin, part in zip(ORIGINS, (labeled, online, screened), strict=True)
    ]
    never = pl.concat([fine[USER_ID], pl.Series(USER_ID, allowed, pl.String)])
    rank = pl.col(SOURCE).replace_strict({origin: place for place, origin in enumerate(ORIGINS)})
    # The source is the first origin that flags; the score is the highest of all.
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
        .join(users, on=USER_ID, maintain_order="left")
    )


def _select_reported(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Select the flagged users and the most suspicious of the others."""
    ordered = verdicts.sort(SCORE, USER_ID, descending=[True, False])
    others = ordered.filter(~pl.col(FLAGGED) & (pl.col(SCORE) >= REPORTED_SCORE)).head(MAX_REPORTED)
    return pl.concat([ordered.filter(FLAGGED), others])


def _summarize(
    users: pl.DataFrame, verdicts: pl.DataFrame, labels: pl.DataFrame, anomalies: Anomalies
) -> ScreenSummary:
    flagged = verdicts.filter(FLAGGED)
    counts: dict[str, int] = dict(flagged[SOURCE].value_counts().rows())
    return ScreenSummary(
        mode="shadow" if anomalies.nightly == "shadow" else "screen",
        users=users.height,
        events=int(users[EVENTS].sum()),
        screened_users=flagged.height,
        screened_events=int(flagged[EVENTS].sum()),
        by_origin={origin: counts.get(origin, 0) for origin in ORIGINS},
        bots=int((labels[LABEL] == BOT).sum()),
        fine=int((labels[LABEL] == FINE).sum()),
    )


def _behavior_and_pairs(
    lake: Lake, settings: Settings, as_of: datetime, task: Task
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compute the behavior of every user, and the events of each user and item, bucket by bucket."""
    buckets = [lake.events(bucket) for bucket in range(lake.buckets)]
    items: list[pl.DataFrame] = []
    ips: list[pl.DataFrame] = []
    for events in buckets:
        counts = pl.collect_all([item_counts(events, as_of), ip_counts(events, as_of)], engine="streaming")
        for parts, part in zip((items, ips), counts, strict=True):
            parts.append(part)
        task.advance(1)
    shop_items = add_item_counts(pl.concat(items).lazy()).collect()
    shop_ips = _exclude_allowed_ips(
        add_ip_counts(pl.concat(ips).lazy()).collect(), settings.anomalies.allowed_networks
    )
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
    """Count the positive events of each user and item, with the first and the last time."""
    positive = events.filter(weight(weights) > 0)
    return positive.group_by(USER_ID, ITEM_ID).agg(
        pl.len().alias(EVENTS), pl.col(TIMESTAMP).min().alias(FIRST_AT), pl.col(TIMESTAMP).max().alias(LAST_AT)
    )


def _exclude_allowed_ips(ips: pl.DataFrame, allowed: Sequence[str]) -> pl.DataFrame:
    """Remove the addresses in allowed networks."""
    networks = parse_networks(allowed)
    if not networks:
        return ips
    return ips.filter(pl.Series([not is_within(ip, networks) for ip in ips[IP]], dtype=pl.Boolean))


def read_online_flags(lake: Lake, as_of: datetime) -> pl.DataFrame:
    """Read the users flagged online in the last `ONLINE_DAYS`, each with the flag of the highest score."""
    since = as_of - timedelta(days=ONLINE_DAYS)
    recent = pl.col(TIMESTAMP).is_between(pl.lit(since), pl.lit(as_of), closed="left")
    flags = lake.flags().filter(recent & ~pl.col(SHADOW)).collect()
    return (
        flags.sort(SCORE, TIMESTAMP, descending=True)
        .unique(USER_ID, keep="first", maintain_order=True)
        .select(USER_ID, SCORE, pl.lit(True).alias(FLAGGED), REASONS)
    )
