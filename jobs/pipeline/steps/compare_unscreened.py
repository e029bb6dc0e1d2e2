"""The effect of screening: the published models fitted with and without flagged users, on the same test users."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import (
    EvaluationWindow,
    prepare_evaluation_window,
    rank_items,
)
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import TEST, UNSCREENED
from jobs.pipeline.steps.evaluate import read_lists
from jobs.pipeline.steps.rank import combine_lists, winning_models
from jobs.pipeline.steps.windows import prepare_screened_window
from recsys.data.splits import time_split
from recsys.evaluation.comparison.bootstrap import confidence_interval
from recsys.evaluation.comparison.measurement import measure_model
from recsys.evaluation.report.contents import ScreenComparison, ScreenedMetric
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.settings import Settings

COMPARISON_FILE: Final = "comparison.json"
METRICS: Final = ("ndcg", "recall")


def compare_unscreened(context: RunContext) -> RunContext:
    """Fit the published models on the events of flagged users too, and compare them with the models as published.

    Both are measured on the test window by the relevant items of unflagged users. There is no output if no user was
    flagged by the events before the window, and none if the run measures nothing.
    """
    if context.is_measured and context.unscreened_lake is not None:
        start = time_split(context.run.as_of, context.settings.evaluation).validation_end
        if len(context.flagged_users[start]):
            write = partial(_write, context=context, unscreened=context.unscreened_lake)
            context.write_outputs({UNSCREENED: write})
    return context


def _write(directory: Path, context: RunContext, unscreened: Lake) -> None:
    run, settings = context.run, context.settings
    members = winning_models(context)
    with context.progress.task("measure the effect of screening", len(members)) as task:
        split = time_split(run.as_of, settings.evaluation)
        start, end = split.validation_end, split.as_of
        clean = prepare_screened_window(context, start, end)
        published = {name: read_lists(run, TEST, name) for name in members}
        clean_lists = combine_lists(context, published, clean, TEST)
        mixed = prepare_evaluation_window(
            unscreened, settings, start, end, relevance_lake=context.lake_as_of(start, end)
        )
        refitted: dict[str, Rows] = {}
        for name in members:
            refitted[name] = rank_items(build_configured_model(name, settings), mixed, settings)
            task.advance(1)
        mixed_lists = combine_lists(context, refitted, mixed, TEST)
        write_json(
            directory / COMPARISON_FILE, asdict(compare_rankings(clean, clean_lists, mixed, mixed_lists, settings))
        )


def compare_rankings(
    clean: EvaluationWindow, clean_lists: Rows, mixed: EvaluationWindow, mixed_lists: Rows, settings: Settings
) -> ScreenComparison:
    """Compare lists of models fitted on unflagged users, `clean_lists`, with those of models fitted on all users.

    Each window has item rows of its own. The test users are the same in the same order, so both are resampled
    together.
    """
    metrics: list[ScreenedMetric] = []
    for metric in (f"{name}@{settings.evaluation.cutoff}" for name in METRICS):
        evaluation = replace(settings.evaluation, metric=metric)
        without, with_all = (
            measure_model(metric, window.publish(lists, settings), window.ground_truth, evaluation, settings.seed)
            for lists, window in ((clean_lists, clean), (mixed_lists, mixed))
        )
        resampled = np.array(without.resampled) - np.array(with_all.resampled)
        metrics.append(
            ScreenedMetric(
                metric, without.metrics[metric], with_all.metrics[metric], confidence_interval(resampled)
            )
        )
    return ScreenComparison(len(clean.ground_truth.user_rows), tuple(metrics))


def read_comparison(run: Run) -> ScreenComparison | None:
    """Read the comparison of a run; None if no user was flagged."""
    file = run.directory / UNSCREENED / COMPARISON_FILE
    return TypeAdapter(ScreenComparison).validate_python(read_json(file)) if file.exists() else None
