"""The report step: gather the data, measurements and choices of the run for `recsys.evaluation.report`."""

from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl
from pydantic import TypeAdapter

from features.events import events_before
from jobs.ingest.schema_drift import schema_changes
from jobs.ingest.source_records import count_sources
from jobs.ingest.validation import read_quarantine
from jobs.lake.lake import Lake
from jobs.lake.not_recommendable import LeftOut
from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import BLEND
from jobs.pipeline.list_parts import part_lengths
from jobs.pipeline.new_users import NewUsersResult, read_choice, read_result
from jobs.pipeline.run import Run
from jobs.pipeline.search.result import SearchResult, read_search_result
from jobs.pipeline.step_names import (
    CATEGORIES,
    FEATURES,
    FORECASTS,
    REPORT,
    SCREEN,
    SEARCH,
    TEST,
    UNSCREENED,
    VALIDATION,
    WINDOWS,
    fold_step,
    model_step,
    window_step,
)
from jobs.pipeline.steps.categories import read_categories
from jobs.pipeline.steps.cross_validate import read_folds
from jobs.pipeline.steps.evaluate import read_blend_choice, read_measurements
from jobs.pipeline.steps.example_lists import find_examples, find_new_example
from jobs.pipeline.steps.forecast import read_forecasts
from jobs.pipeline.steps.list_parts import read_part_choice, read_part_measurements
from jobs.pipeline.steps.plan_measurement import read_plan
from jobs.pipeline.steps.rank import read_trial
from jobs.pipeline.steps.screening_summary import summarize_screening
from jobs.pipeline.variety import read_variety
from recsys.data.splits import fold_windows, time_split
from recsys.evaluation.report.contents import (
    BlendMember,
    BlendSummary,
    DataSummary,
    RankerFeature,
    RankerSummary,
    Report,
    SearchBudget,
    SearchedModel,
    StepUsage,
)
from recsys.evaluation.report.list_contents import ListPart, NewUsers
from recsys.schema import EVENT, GROUP_ID, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Settings

REPORT_FILE = "report.html"
EXAMPLES = 10
MOST_EVENTS_SHARE = 0.8
"""The report shows the share of items that have this share of the events."""


def write_report_page(context: RunContext) -> RunContext:
    """Write report.html."""
    context.write_outputs({REPORT: partial(_write, context=context)})
    return context


def report_file(run: Run) -> Path:
    """Return the path of a run's report."""
    return run.directory / REPORT / REPORT_FILE


def _write(directory: Path, context: RunContext) -> None:
    from recsys.evaluation.report.report import write_report  # matplotlib takes a second to import

    write_report(directory / REPORT_FILE, _gather(context))


def _gather(context: RunContext) -> Report:
    run, lake, settings, winner = context.run, context.lake, context.settings, str(context.winner)
    left_out = TypeAdapter(LeftOut).validate_python(run.manifest()["left_out"])
    data = _count_variants(lake, _summarize(events_before(lake.events(), run.as_of)))
    searched = read_search_result(run) if SEARCH in run.manifest()["steps"] else None
    data = replace(
        data,
        uncatalogued_items=left_out.uncatalogued_items,
        uncatalogued_events=left_out.uncatalogued_events,
        empty_purchases=left_out.empty_purchases,
    )
    return Report(
        title="Recommendations report",
        windows=time_split(run.as_of, settings.evaluation),
        evaluation=settings.evaluation,
        repeat=settings.repeat,
        winner=winner,
        validation=read_measurements(run, settings, VALIDATION),
        test=read_measurements(run, settings, TEST),
        data=data,
        sources=count_sources(lake),
        steps=_steps(run, settings, data),
        examples=(find_new_example(run, lake), *find_examples(run, lake, settings, EXAMPLES - 1)),
        settings=_shown_settings(settings),
        quarantine=read_quarantine(lake, data.first_day, data.last_day),
        folds=read_folds(run, settings),
        blend=_blend(run, winner),
        ranker=_ranker(run),
        list_parts=_list_parts(run, settings) if context.is_measured else (),
        new_users=_new_users(run) if context.is_measured else None,
        search=_search(searched),
        search_budget=_search_budget(searched),
        schema_changes=tuple(schema_changes(lake)),
        categories=read_categories(run),
        screening=summarize_screening(run, settings),
        plan=read_plan(run),
        variety=read_variety(run, settings.lists.max_per_type),
        forecasts=read_forecasts(run),
    )


def _blend(run: Run, winner: str) -> BlendSummary | None:
    """Return the blend's members and weights; None if no blend is better than a single model."""
    if winner != BLEND:
        return None
    choice = read_blend_choice(run)
    members = [
        BlendMember(
            name, weights, -choice.cost_of_leaving_out[name] if name in choice.cost_of_leaving_out else None
        )
        for name, weights in choice.weights.items()
    ]
    return BlendSummary(tuple(members), chosen=True, gain=choice.gain)


def _ranker(run: Run) -> RankerSummary | None:
    """Return the second stage; None if none was tried."""
    trial = read_trial(run)
    if trial is None:
        return None
    features = tuple(RankerFeature(**asdict(effect)) for effect in trial.effects)
    return RankerSummary(trial.members, trial.windows, trial.rejected, trial.gain, features)


def _list_parts(run: Run, settings: Settings) -> tuple[ListPart, ...]:
    """Return what the lists to buy again and of new items are made by, and their measurements."""

    def summarize(part: str) -> ListPart:
        choice = read_part_choice(run, part)
        models = () if choice.own is None else tuple(choice.own.weights)
        measurements = {str(role): measured for role, measured in read_part_measurements(run, part).items()}
        return ListPart(part, models, choice.users, choice.gain, measurements)

    return tuple(summarize(part) for part in part_lengths(settings))


def _new_users(run: Run) -> NewUsers:
    """Return the popular lists that users without history could get."""
    choice, test = read_choice(run), read_result(run, TEST) or NewUsersResult()
    return NewUsers(choice.chosen, choice.users, test.users, choice.metrics, test.metrics)


def _search(result: SearchResult | None) -> tuple[SearchedModel, ...]:
    if result is None:
        return ()
    return tuple(
        SearchedModel(
            model.name,
            model.metric,
            model.seconds,
            len(model.trials),
            model.score - 1,
            model.values or {},
            model.left_out,
            model.work,
        )
        for model in result.tried
    )


def _search_budget(result: SearchResult | None) -> SearchBudget | None:
    if result is None:
        return None
    return SearchBudget(result.budget, result.work, result.refit_work, result.seconds, result.stopped)


def _summarize(events: pl.LazyFrame) -> DataSummary:
    day = pl.col(TIMESTAMP).dt.date().alias("day")
    per_day = events.group_by(day).len().sort("day").collect()
    per_type = events.group_by(EVENT).len().sort("len", EVENT, descending=[True, False]).collect()
    per_user = events.group_by(USER_ID).len().collect()["len"]
    per_item = events.group_by(ITEM_ID).len().collect()["len"].sort(descending=True)
    total = int(per_user.sum())
    item_count = int((per_item.cum_sum() < MOST_EVENTS_SHARE * total).sum()) + 1
    median = per_user.median()
    assert isinstance(median, float)
    return DataSummary(
        users=len(per_user),
        items=len(per_item),
        events=total,
        first_day=per_day["day"][0],
        last_day=per_day["day"][-1],
        events_per_day=tuple(per_day.rows()),
        events_per_type=dict(per_type.rows()),
        median_events_per_user=median,
        items_for_most_events=item_count / len(per_item),
    )


def _count_variants(lake: Lake, data: DataSummary) -> DataSummary:
    """Add the numbers of variants and groups."""
    if lake.group_items is None:
        return data
    group_ids = lake.by_item().items().select(pl.col(GROUP_ID).drop_nulls()).collect().to_series()
    return replace(data, variants=len(group_ids), groups=group_ids.n_unique())


def _learned_until(run: Run, settings: Settings) -> dict[str, datetime]:
    """Map the first part of an output's name to the moment up to which its step reads events."""
    split = time_split(run.as_of, settings.evaluation)
    folds = fold_windows(run.as_of, settings.evaluation)
    return {
        SCREEN: run.as_of,
        FEATURES: run.as_of,
        model_step(""): run.as_of,
        CATEGORIES: run.as_of,
        FORECASTS: run.as_of,
        WINDOWS: split.validation_end,
        SEARCH: split.train_end,
        window_step(VALIDATION, ""): split.train_end,
        window_step(TEST, ""): split.validation_end,
        UNSCREENED: split.validation_end,
        **{fold_step(number, ""): start for number, (start, _) in enumerate(folds)},
    }


def _steps(run: Run, settings: Settings, data: DataSummary) -> tuple[StepUsage, ...]:
    until = _learned_until(run, settings)

    def count_events(name: str) -> int | None:
        moment = next((moment for prefix, moment in until.items() if name.startswith(prefix)), None)
        if moment is None:
            return None
        return sum(events for day, events in data.events_per_day if day < moment.date())

    return tuple(
        StepUsage(name, step["seconds"], step["peak_memory_bytes"], count_events(name))
        for name, step in run.manifest()["steps"].items()
    )


def _shown_settings(settings: Settings) -> dict[str, str]:
    return {
        "repeat": settings.repeat,
        "half_life_days": f"{settings.sources.half_life_days:g}",
        "weights": ", ".join(f"{name} {weight:g}" for name, weight in settings.sources.event_weights.items()),
        "models": ", ".join(settings.models),
        "seed": str(settings.seed),
    }
