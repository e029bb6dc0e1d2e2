"""The plan step: fit the windows that models are measured on to the history, or say why nothing can be measured."""

from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
import structlog
from pydantic import TypeAdapter

from features.events import events_before, without_empty_purchases
from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.event_rules import weighed_windows
from jobs.pipeline.models import ITEM_KNN, POPULARITY
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import PLAN, TEST, VALIDATION
from recsys.data.measurement_plan import MeasurementPlan, WindowLengths, count_days, fit_windows
from recsys.data.splits import (
    TimeSplit,
    count_returning_users,
    fold_windows,
    require_events,
    require_folds,
    time_split,
)
from recsys.errors import NotEnoughDataError
from recsys.evaluation.report.plan_text import (
    describe_short_history,
    published_sentence,
    shortened_sentence,
    unmeasured_sentence,
)
from recsys.files import read_json, write_json
from recsys.schema import EVENT, ITEM_ID, PURCHASE, TIMESTAMP, USER_ID
from recsys.settings import Settings

log = structlog.get_logger(__name__)

PLAN_FILE: Final = "plan.json"
MIN_USERS: Final = 3
"""Users with history and a relevant item that a window needs: with fewer, one user would choose the model."""


def plan_measurement(context: RunContext) -> RunContext:
    """Choose the windows of the run, and the events that are hits; later steps get both, or measure nothing.

    Raises `NotEnoughDataError` if there are no events, or if windows have their configured lengths and one of them
    has no events.
    """
    context.write_outputs({PLAN: partial(_write, context=context)})
    plan = read_plan(context.run)
    unmeasured = None if plan.obstacle is None else unmeasured_sentence(plan)
    context.run.update(unmeasured=unmeasured, relevant_events=list(plan.relevant_events))
    if unmeasured is not None:
        log.warning("nothing is measured", run=context.run.id, reason=unmeasured)
    elif plan.is_shortened:
        log.warning("windows shortened", run=context.run.id, reason=shortened_sentence(plan))
    settings = context.settings
    evaluation = replace(plan.used.apply(settings.evaluation), relevant_events=plan.relevant_events)
    return replace(context, settings=replace(settings, evaluation=evaluation), is_measured=unmeasured is None)


def read_plan(run: Run) -> MeasurementPlan:
    """Read the windows of a run."""
    return TypeAdapter(MeasurementPlan).validate_python(read_json(run.directory / PLAN / PLAN_FILE))


def describe_plan(run: Run, winner: str) -> tuple[str, ...]:
    """Return what is to be told of the windows; nothing if they have their configured lengths."""
    if PLAN not in run.manifest()["steps"]:
        return ()
    plan = read_plan(run)
    if plan.obstacle is not None:
        return (unmeasured_sentence(plan), published_sentence(winner))
    return (shortened_sentence(plan),) if plan.is_shortened else ()


def unmeasured_winner(settings: Settings) -> str:
    """Return the model that users get their lists from if nothing is measured.

    It is `item_knn`, which needs no tuning and few events, if `models` names it, otherwise `popularity`.
    """
    return ITEM_KNN if ITEM_KNN in settings.models else POPULARITY


def _write(directory: Path, context: RunContext) -> None:
    lake, settings, as_of = context.lake, context.settings, context.run.as_of
    first = _first_event(lake, as_of)
    names = find_relevant_events(lake, settings, as_of)
    settings = replace(settings, evaluation=replace(settings.evaluation, relevant_events=names))
    write_json(directory / PLAN_FILE, asdict(_make_plan(lake, settings, first, as_of)))


def find_relevant_events(lake: Lake, settings: Settings, as_of: datetime) -> tuple[str, ...]:
    """Return the names of the events that are hits: those of the settings, else purchases if there are any.

    Without purchases, or if these have no positive weight, none are named: every event of positive weight is a hit.
    """
    names = settings.evaluation.relevant_events
    if names or settings.sources.event_weights[PURCHASE] <= 0:
        return names
    purchases = without_empty_purchases(events_before(lake.events(), as_of)).filter(pl.col(EVENT) == PURCHASE)
    return () if purchases.select(EVENT).head(1).collect().is_empty() else (PURCHASE,)


def _make_plan(lake: Lake, settings: Settings, first: datetime, as_of: datetime) -> MeasurementPlan:
    configured = WindowLengths.of(settings.evaluation)
    used = fit_windows(configured, count_days(first, as_of))
    relevant_events = settings.evaluation.relevant_events
    plan = MeasurementPlan(first, as_of, configured, used or configured, relevant_events=relevant_events)
    unmeasured = replace(plan, used=replace(configured, folds=1))
    if used is None:
        return replace(unmeasured, obstacle=describe_short_history(plan))
    split = time_split(as_of, used.apply(settings.evaluation))
    if used == configured:  # a shop with history whose events stop keeps its lists
        require_events(lake.events(), split)
    obstacle = _find_obstacle(lake, settings, split)
    if obstacle is not None:
        return replace(unmeasured, obstacle=obstacle)
    if used == configured:
        if configured.folds > 1:
            require_folds(lake.events(), fold_windows(as_of, settings.evaluation))
        return plan
    return replace(plan, used=replace(used, folds=_count_folds(lake, settings, as_of, used)))


def _first_event(lake: Lake, as_of: datetime) -> datetime:
    """Return the time of the first event, which is before `as_of`."""
    first = lake.events().select(pl.col(TIMESTAMP).min()).collect().item()
    if not isinstance(first, datetime):
        raise NotEnoughDataError("there are no events to recommend from: ingest events first")
    if first >= as_of:
        raise NotEnoughDataError(
            f"no event is before {as_of:%Y-%m-%d %H:%M}; the first is at {first:%Y-%m-%d %H:%M}: "
            "give a later --as-of, or wait for the next night"
        )
    return first


def _find_obstacle(lake: Lake, settings: Settings, split: TimeSplit) -> str | None:
    """Return why models cannot be measured on the windows; None if they can."""
    try:
        require_events(lake.events(), split)
    except NotEnoughDataError as error:
        return str(error)
    windows = {VALIDATION: (split.train_end, split.validation_end), TEST: (split.validation_end, split.as_of)}
    for name, (start, end) in windows.items():
        users = _count_returning_users(lake, settings, start, end)
        if users < MIN_USERS:
            return _describe_missing_users(users, name, start, end, settings)
    return None


def _describe_missing_users(users: int, name: str, start: datetime, end: datetime, settings: Settings) -> str:
    events = " or ".join(settings.evaluation.relevant_events) or "any event of positive weight"
    is_new = " that the user did not have before" if settings.repeat == "exclude" else ""
    return (
        f"of the users with events before the {name} window, from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, "
        f"{users or 'none'} {'have' if users > 1 else 'has'} a relevant item in it (an item{is_new}, by {events}), "
        f"and a measurement needs {MIN_USERS} such users"
    )


def _count_returning_users(lake: Lake, settings: Settings, start: datetime, end: datetime) -> int:
    """Count the users whom models can be measured on, bucket by bucket, until there are `MIN_USERS`."""
    users = 0
    for bucket, window in enumerate(weighed_windows(lake, settings.sources, start, end)):
        users += count_returning_users(
            lake.events(bucket),
            start,
            end,
            settings.evaluation.relevant_events,
            settings.sources.event_weights,
            settings.sources.exclude_events if settings.repeat == "exclude" else None,
            window.with_columns(pl.col(USER_ID, ITEM_ID).cast(pl.String)),
        )
        if users >= MIN_USERS:
            break
    return users


def _count_folds(lake: Lake, settings: Settings, as_of: datetime, lengths: WindowLengths) -> int:
    """Count the latest consecutive test windows that models can be measured on, at least the test window itself."""
    earlier = fold_windows(as_of, lengths.apply(settings.evaluation))[1:]
    for number, (start, end) in enumerate(earlier, start=1):
        if _count_returning_users(lake, settings, start, end) < MIN_USERS:
            return number
    return lengths.folds
