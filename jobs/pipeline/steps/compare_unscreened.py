"""What screening changed: what is published, fitted with and without the screened users, on the same users."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from jobs.lake import Lake
from jobs.pipeline.candidates import build_candidate
from jobs.pipeline.run import Run
from jobs.pipeline.steps.evaluate import (
    TEST,
    EvaluationWindow,
    blend_choice,
    blend_lists,
    lists_of,
    prepare_evaluation_window,
    rank,
)
from jobs.progress import Progress
from recsys.data.splits import windows
from recsys.evaluation.comparison.bootstrap import confidence_interval
from recsys.evaluation.comparison.measurement import measure_model
from recsys.evaluation.report.contents import ScreenComparison, ScreenedMetric
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.settings import Settings

UNSCREENED: Final = "evaluation/unscreened"
COMPARISON_FILE: Final = "comparison.json"
METRICS: Final = ("ndcg", "recall")


def compare_unscreened(run: Run, lake: Lake, whole: Lake, settings: Settings, progress: Progress) -> None:
    """Fit what is published with the events of the users whom `lake` leaves out too, as a step.

    Both are measured on the test window by what the users who stay wanted. There is no such step where nobody was
    left out.
    """
    if lake.excluded_users is None or UNSCREENED in run.manifest()["steps"]:
        return

    def work(directory: Path) -> None:
        choice = blend_choice(run)
        progress.start("measure what screening changed", len(choice.weights))
        cuts = windows(run.as_of, settings.evaluation)
        start, end = cuts.validation_end, cuts.as_of
        clean = prepare_evaluation_window(lake, settings, start, end)
        kept = blend_lists(choice, {name: lists_of(run, TEST, name) for name in choice.weights}, clean, settings)
        mixed = prepare_evaluation_window(whole, settings, start, end, wanted_by=lake)
        refitted: dict[str, Rows] = {}
        for name in choice.weights:
            refitted[name] = rank(build_candidate(name, settings), mixed, settings)
            progress.advance(1)
        ranked = blend_lists(choice, refitted, mixed, settings)
        write_json(directory / COMPARISON_FILE, asdict(compare_rankings(clean, kept, mixed, ranked, settings)))
        progress.done()

    run.step(UNSCREENED, work)


def compare_rankings(
    clean: EvaluationWindow, kept: Rows, mixed: EvaluationWindow, ranked: Rows, settings: Settings
) -> ScreenComparison:
    """The lists `kept` of models that learned from clean users alone beside those `ranked` by models of all users.

    Each exam knows items by rows of its own; its users are the same in the same order, so that they are resampled
    together.
    """
    found: list[ScreenedMetric] = []
    for metric in (f"{name}@{settings.evaluation.cutoff}" for name in METRICS):
        evaluation = replace(settings.evaluation, metric=metric)
        without, with_all = (
            measure_model(metric, lists, exam.ground_truth, evaluation, settings.seed)
            for lists, exam in ((kept, clean), (ranked, mixed))
        )
        resampled = np.array(without.resampled) - np.array(with_all.resampled)
        found.append(
            ScreenedMetric(
                metric, without.metrics[metric], with_all.metrics[metric], confidence_interval(resampled)
            )
        )
    return ScreenComparison(len(clean.ground_truth.user_rows), tuple(found))


def read_comparison(run: Run) -> ScreenComparison | None:
    """What screening changed; None where nobody was screened out."""
    file = run.directory / UNSCREENED / COMPARISON_FILE
    return TypeAdapter(ScreenComparison).validate_python(read_json(file)) if file.exists() else None
