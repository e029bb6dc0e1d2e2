"""The windows step: what is known at the cuts of the windows: who was flagged by then, and who is a light user."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from features.events import without_empty_purchases
from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import EvaluationWindow, prepare_evaluation_window
from jobs.pipeline.run import run_id
from jobs.pipeline.step_names import WINDOWS
from jobs.pipeline.steps.screen import judge_users
from recsys.data.splits import TimeSplit, fold_windows, time_split
from recsys.evaluation.segments import find_light_user_events
from recsys.files import read_json, write_json
from recsys.schema import EVENT, FLAGGED, TIMESTAMP, USER_ID
from recsys.settings import Settings

SEGMENTS_FILE: Final = "segments.json"
LIGHT_USER_EVENTS: Final = "light_user_events"

_BEFORE: Final = "before"
_HAS_HIT: Final = "has_hit"


def prepare_windows(context: RunContext) -> RunContext:
    """Screen the users by the events before each cut, and find the number of events below which a user is light.

    What a window's models learn from must not depend on who was flagged later. `RunContext.lake_as_of` gives the
    lake of a cut to later steps. A run that measures nothing has no windows.
    """
    if not context.is_measured:
        return context
    context.write_outputs({WINDOWS: partial(_write, context=context)})
    directory = context.run.directory / WINDOWS
    context = replace(context, flagged_users={**context.flagged_users, **_read_flagged_users(directory, context)})
    number = int(read_json(directory / SEGMENTS_FILE)[LIGHT_USER_EVENTS])
    evaluation = replace(context.settings.evaluation, light_user_events=number)
    return replace(context, settings=replace(context.settings, evaluation=evaluation))


def prepare_screened_window(context: RunContext, start: datetime, end: datetime) -> EvaluationWindow:
    """Prepare a window whose models learn from the users who were not flagged by the events before its start.

    Users who were flagged by then, or by the events before its end, are not measured.
    """
    measured = context.lake_as_of(start, end)
    return prepare_evaluation_window(context.lake_as_of(start), context.settings, start, end, measured)


def window_cuts(as_of: datetime, settings: Settings) -> list[datetime]:
    """Return the moments at which a window of the run starts, ascending."""
    split = time_split(as_of, settings.evaluation)
    starts = [start for start, _ in fold_windows(as_of, settings.evaluation)]
    return sorted({split.train_end, split.validation_end, *starts})


def _write(directory: Path, context: RunContext) -> None:
    lake, settings = context.unscreened_lake, context.settings
    cuts = window_cuts(context.run.as_of, settings)
    if lake is not None:
        with context.progress.task("screen users as of the windows", 2 * lake.buckets * len(cuts)) as task:
            for cut in cuts:
                _, verdicts, _ = judge_users(lake.joining_guests(cut), settings, cut, task)
                flagged = verdicts.filter(FLAGGED).select(USER_ID).sort(USER_ID)
                flagged.write_parquet(_flagged_users_file(directory, cut))
    context = replace(context, flagged_users={**context.flagged_users, **_read_flagged_users(directory, context)})
    split = time_split(context.run.as_of, settings.evaluation)
    number = settings.evaluation.light_user_events or _find_light_user_events(
        context.lake_as_of(split.train_end, split.validation_end), settings, split
    )
    write_json(directory / SEGMENTS_FILE, {LIGHT_USER_EVENTS: number})


def _flagged_users_file(directory: Path, cut: datetime) -> Path:
    return directory / f"flagged-{run_id(cut)}.parquet"


def _read_flagged_users(directory: Path, context: RunContext) -> dict[datetime, pl.Series]:
    cuts = window_cuts(context.run.as_of, context.settings)
    files = {cut: _flagged_users_file(directory, cut) for cut in cuts}
    return {cut: pl.read_parquet(file)[USER_ID] for cut, file in files.items() if file.exists()}


def _find_light_user_events(lake: Lake, settings: Settings, split: TimeSplit) -> int:
    """Find the number of events that `light_user_share` of the users of the validation window stay below.

    They are users with events before the window and a hit in it; events count if their name has a weight.
    """
    weights = settings.sources.event_weights
    hits = settings.evaluation.relevant_events or [name for name, weight in weights.items() if weight > 0]
    time, event = pl.col(TIMESTAMP), pl.col(EVENT)
    is_before = (time < pl.lit(split.train_end)) & event.is_in(sorted(name for name in weights if weights[name]))
    is_in_window = time.is_between(pl.lit(split.train_end), pl.lit(split.validation_end), closed="left")
    has_hit = (is_in_window & event.is_in(sorted(hits))).any()
    lake = lake.joining_guests(split.validation_end)
    counts = [
        without_empty_purchases(lake.events(bucket))
        .group_by(USER_ID)
        .agg(is_before.sum().alias(_BEFORE), has_hit.alias(_HAS_HIT))
        .filter((pl.col(_BEFORE) > 0) & pl.col(_HAS_HIT))
        .select(_BEFORE)
        .collect(engine="streaming")
        for bucket in range(lake.buckets)
    ]
    return find_light_user_events(pl.concat(counts)[_BEFORE].to_numpy(), settings.evaluation.light_user_share)
