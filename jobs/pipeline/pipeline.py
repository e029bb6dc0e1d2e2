"""The nightly run: its steps in order, from screening to publishing."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from jobs.lake.not_recommendable import count_left_out, open_recommendable_lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.models import check_models
from jobs.pipeline.run import COMPLETE, Run, open_run
from jobs.pipeline.step_names import Until
from jobs.pipeline.steps.categories import propose_categories
from jobs.pipeline.steps.compare_unscreened import compare_unscreened
from jobs.pipeline.steps.cross_validate import cross_validate
from jobs.pipeline.steps.evaluate import evaluate_models
from jobs.pipeline.steps.features import write_features
from jobs.pipeline.steps.forecast import forecast_customers
from jobs.pipeline.steps.list_parts import choose_list_parts
from jobs.pipeline.steps.lists import write_lists
from jobs.pipeline.steps.plan_measurement import plan_measurement
from jobs.pipeline.steps.publish import publish
from jobs.pipeline.steps.rank import rank_candidates
from jobs.pipeline.steps.remember import remember_search
from jobs.pipeline.steps.report import report_file, write_report_page
from jobs.pipeline.steps.screen import screen
from jobs.pipeline.steps.search import search_models
from jobs.pipeline.steps.train import train_models
from jobs.pipeline.steps.windows import prepare_windows
from jobs.progress import Progress
from recsys.evaluation.comparison.measurement import check_metric
from recsys.settings import Settings
from recsys.store.publish.publish import PublishResult


@dataclass(frozen=True)
class Step:
    """One step of a run."""

    name: str
    until: Until
    """The shortest run that includes the step."""
    work: Callable[[RunContext], RunContext]
    """Writes the outputs that the run lacks; returns the context of the steps after it."""


STEPS: Final = (
    Step("screen", Until.FEATURES, screen),
    Step("features", Until.FEATURES, write_features),
    Step("plan", Until.TRAIN, plan_measurement),
    Step("windows", Until.TRAIN, prepare_windows),
    Step("search", Until.TRAIN, search_models),
    Step("evaluate", Until.TRAIN, evaluate_models),
    Step("rank", Until.TRAIN, rank_candidates),
    Step("list_parts", Until.TRAIN, choose_list_parts),
    Step("remember", Until.TRAIN, remember_search),
    Step("train", Until.TRAIN, train_models),
    Step("categories", Until.TRAIN, propose_categories),
    Step("forecast", Until.EVALUATE, forecast_customers),
    Step("lists", Until.EVALUATE, write_lists),
    Step("cross_validate", Until.EVALUATE, cross_validate),
    Step("compare_unscreened", Until.EVALUATE, compare_unscreened),
    Step("report", Until.EVALUATE, write_report_page),
    Step("publish", Until.PUBLISH, publish),
)


@dataclass(frozen=True)
class RunResult:
    """A run and its results so far."""

    run: Run
    winner: str | None = None
    report: Path | None = None
    published: PublishResult | None = None
    """None for a run that was complete already."""


def advance_run(settings: Settings, as_of: datetime, until: Until, progress: Progress) -> RunResult:
    """Take the run of `as_of` through the steps to `until`; a complete run is only read.

    No event at or after `as_of` changes its output. Raises `RunError` if another process is working on it.
    """
    check_models(settings.models, settings)
    check_metric(settings.evaluation)
    lake = open_recommendable_lake(settings, as_of).by_group().joining_guests(as_of)
    with open_run(settings, lake, as_of) as run:
        if run.manifest()["status"] == COMPLETE:
            return RunResult(run, run.manifest()["winner"], report_file(run))
        run.update(left_out=asdict(count_left_out(lake, as_of)))
        context = RunContext(run, lake, settings, progress)
        for step in STEPS:
            if step.until <= until:
                context = step.work(context)
        if until == Until.PUBLISH:
            run.update(status=COMPLETE)
        report = report_file(run) if until >= Until.EVALUATE else None
        return RunResult(run, context.winner, report, context.published)
