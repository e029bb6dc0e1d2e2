"""The report step: what the run saw, chose and published, gathered for `recsys.evaluation.report.report`."""

from datetime import datetime
from pathlib import Path

import polars as pl

from features.events import events_before
from jobs.ingest.ingest import ingest_history
from jobs.ingest.schema_drift import schema_changes
from jobs.ingest.validation import read_quarantine
from jobs.lake import Lake
from jobs.pipeline.run import Run
from jobs.pipeline.steps.categories import CATEGORIES, read_categories
from jobs.pipeline.steps.compare_unscreened import UNSCREENED
from jobs.pipeline.steps.cross_validate import fold_step, read_folds
from jobs.pipeline.steps.evaluate import BLEND, SEARCH, TEST, VALIDATION, blend_choice, measurements
from jobs.pipeline.steps.example_lists import find_examples, find_new_example
from jobs.pipeline.steps.screen import SCREEN
from jobs.pipeline.steps.screening_summary import summarize_screening
from jobs.pipeline.steps.search import search_result
from recsys.data.quality import SourceCounts
from recsys.data.splits import fold_windows, windows
from recsys.evaluation.report.contents import (
    BlendMember,
    BlendSummary,
    DataSummary,
    Report,
    SearchedModel,
    StepUsage,
)
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Settings

REPORT = "report"
REPORT_FILE = "report.html"
EXAMPLES = 10
MAX_EVENTS = 0.8


def report(run: Run, lake: Lake, settings: Settings, winner: str) -> Path:
    """Write report.html, as one step; returns its path."""

    def write(directory: Path) -> None:
        from recsys.evaluation.report.report import (
            write_report,  # matplotlib takes a second, and only this step needs it
        )

        write_report(directory / REPORT_FILE, _gather(run, lake, settings, winner))

    return run.step(REPORT, write) / REPORT_FILE


def _gather(run: Run, lake: Lake, settings: Settings, winner: str) -> Report:
    data = _summarize(events_before(lake.events(), run.as_of))
    return Report(
        title="Recommendations report",
        windows=windows(run.as_of, settings.evaluation),
        evaluation=settings.evaluation,
        repeat=settings.repeat,
        winner=winner,
        validation=measurements(run, settings, VALIDATION),
        test=measurements(run, settings, TEST),
        data=data,
        sources=_sources(lake),
        steps=_steps(run, settings, data),
        examples=(find_new_example(run, lake), *find_examples(run, lake, settings, EXAMPLES - 1)),
        settings=_shown_settings(settings),
        quarantine=read_quarantine(lake, data.first_day, data.last_day),
        folds=read_folds(run, settings),
        blend=_blend(run, winner),
        search=_search(run),
        schema_changes=tuple(schema_changes(lake)),
        categories=read_categories(run),
        screening=summarize_screening(run, settings),
    )


def _blend(run: Run, winner: str) -> BlendSummary | None:
    """What the blend is made of; None where no blend is better than a single model."""
    if winner != BLEND:
        return None
    choice = blend_choice(run)
    members = [
        BlendMember(
            name, weights, -choice.cost_of_leaving_out[name] if name in choice.cost_of_leaving_out else None
        )
        for name, weights in choice.weights.items()
    ]
    return BlendSummary(tuple(members), chosen=True)


def _search(run: Run) -> tuple[SearchedModel, ...]:
    return tuple(
        SearchedModel(
            one.name,
            one.metric,
            one.seconds,
            len(one.trials),
            max(trial.metric for trial in one.trials) - one.trials[0].metric if one.trials else 0.0,
            one.values or {},
            one.left_out,
        )
        for one in search_result(run).tried
    )


def _summarize(events: pl.LazyFrame) -> DataSummary:
    day = pl.col(TIMESTAMP).dt.date().alias("day")
    per_day = events.group_by(day).len().sort("day").collect()
    per_type = events.group_by(EVENT).len().sort("len", EVENT, descending=[True, False]).collect()
    per_user = events.group_by(USER_ID).len().collect()["len"]
    per_item = events.group_by(ITEM_ID).len().collect()["len"].sort(descending=True)
    total = int(per_user.sum())
    most = int((per_item.cum_sum() < MAX_EVENTS * total).sum()) + 1
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
        items_for_most_events=most / len(per_item),
    )


def _sources(lake: Lake) -> tuple[SourceCounts, ...]:
    return tuple(
        SourceCounts(
            name=f"{count.table} ({count.file})",
            rows_read=count.rows,
            accepted=count.accepted,
            duplicates=count.duplicates,
            quarantined=count.quarantined,
            rules=count.rules,
        )
        for count in ingest_history(lake)
    )


def _learned_until(run: Run, settings: Settings) -> dict[str, datetime]:
    """First part of a step's name -> the moment up to which the step reads events."""
    cuts = windows(run.as_of, settings.evaluation)
    folds = fold_windows(run.as_of, settings.evaluation)
    return {
        SCREEN: run.as_of,
        "features": run.as_of,
        "models/": run.as_of,
        CATEGORIES: run.as_of,
        SEARCH: cuts.train_end,
        f"evaluation/{VALIDATION}/": cuts.train_end,
        f"evaluation/{TEST}/": cuts.validation_end,
        UNSCREENED: cuts.validation_end,
        **{fold_step(number): start for number, (start, _) in enumerate(folds)},
    }


def _steps(run: Run, settings: Settings, data: DataSummary) -> tuple[StepUsage, ...]:
    until = _learned_until(run, settings)

    def events_of(name: str) -> int | None:
        moment = next((moment for prefix, moment in until.items() if name.startswith(prefix)), None)
        if moment is None:
            return None
        return sum(events for day, events in data.events_per_day if day < moment.date())

    return tuple(
        StepUsage(name, step["seconds"], step["peak_memory_bytes"], events_of(name))
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
