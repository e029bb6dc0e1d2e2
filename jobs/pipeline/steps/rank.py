"""The rank step: train the second stage, and publish it if it is better than the models alone."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import TypeAdapter

from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import (
    BLEND,
    EvaluationWindow,
    measure_lists,
    merge_winner_lists,
)
from jobs.pipeline.models import load_fitted_model
from jobs.pipeline.run import Run
from jobs.pipeline.second_stage import RankerTrial, build_ranker, rerank, try_second_stage
from jobs.pipeline.step_names import TEST, VALIDATION, model_step, window_step
from jobs.pipeline.steps.evaluate import MEASUREMENT_FILE, read_blend_choice, read_lists
from jobs.pipeline.steps.windows import prepare_screened_window
from recsys.data.interactions import Interactions
from recsys.data.splits import time_split
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.models.ranker.item_facts import FACT_COLUMNS
from recsys.models.ranker.ranker import Ranker

RANKER: Final = Ranker.name
TRIAL_FILE: Final = "trial.json"


def rank_candidates(context: RunContext) -> RunContext:
    """Train a ranker before the validation window, measure it on both windows, and publish it if accepted."""
    settings = context.settings
    if not context.is_measured or not settings.search.ranker_windows:
        return context
    split = time_split(context.run.as_of, settings.evaluation)

    def window_of(start: datetime, end: datetime) -> Callable[[], EvaluationWindow]:
        return cache(partial(prepare_screened_window, context, start, end))

    windows = {
        VALIDATION: (_write_trial, window_of(split.train_end, split.validation_end)),
        TEST: (_write_test, window_of(split.validation_end, split.as_of)),
    }
    outputs = {
        window_step(name, RANKER): partial(write, context=context, window=window)
        for name, (write, window) in windows.items()
    }
    context.write_outputs(outputs, "train and measure the second stage")
    trial = read_trial(context.run)
    if trial is None or trial.rejected is not None:
        return context
    context.run.update(winner=RANKER)
    return replace(context, winner=RANKER)


def read_trial(run: Run) -> RankerTrial | None:
    """Read the result of the ranker on the validation window; None if none was tried."""
    file = run.directory / window_step(VALIDATION, RANKER) / TRIAL_FILE
    return TypeAdapter(RankerTrial).validate_python(read_json(file)) if file.exists() else None


def winning_models(context: RunContext) -> tuple[str, ...]:
    """Return the models that the winner is made of; a single model is its own."""
    if context.winner == BLEND:
        return tuple(read_blend_choice(context.run).weights)
    trial = read_trial(context.run) if context.winner == RANKER else None
    return (str(context.winner),) if trial is None else trial.members


def combine_lists(
    context: RunContext,
    lists: Mapping[str, Rows],
    window: EvaluationWindow,
    window_name: str,
    n: int | None = None,
) -> Rows:
    """Combine the lists of `winning_models` for the users of a window, `VALIDATION` or `TEST`, as the winner does.

    Combined lists have `n` items, as many as the largest cutoff if it is not given.
    """
    if context.winner != RANKER:
        return merge_winner_lists(read_blend_choice(context.run), lists, window, context.settings, n)
    return rerank(_assemble_ranker(context, window, window_name), lists, window, context.settings, n)


def write_final_ranker(directory: Path, context: RunContext, interactions: Interactions) -> None:
    """Write the published ranker with the features of all events, without its members."""
    _trained_ranker(context, context.run.as_of).assemble(interactions).save_without_members(directory)


def load_ranker(run: Run) -> Ranker:
    """Load the ranker and its members that the train step wrote."""
    return Ranker.load_with(run.directory / model_step(RANKER), partial(load_fitted_model, run))


def read_item_facts(lake: Lake, moment: datetime) -> pl.DataFrame:
    """Read the columns of the catalogue that the ranker uses, at the prices of the moment."""
    return lake.by_item().items(moment).select(FACT_COLUMNS).collect()


def _write_trial(directory: Path, context: RunContext, window: Callable[[], EvaluationWindow]) -> None:
    run, settings = context.run, context.settings
    start = time_split(run.as_of, settings.evaluation).train_end
    lists = {name: read_lists(run, VALIDATION, name) for name in settings.models}
    incumbent = merge_winner_lists(read_blend_choice(run), lists, window(), settings)
    tried = try_second_stage(lists, incumbent, window(), settings, read_item_facts(context.lake, start))
    write_json(directory / TRIAL_FILE, asdict(tried.trial))
    if tried.ranker is not None and tried.lists is not None:
        tried.ranker.save_trees(directory)
        write_json(directory / MEASUREMENT_FILE, asdict(measure_lists(RANKER, tried.lists, window(), settings)))


def _write_test(directory: Path, context: RunContext, window: Callable[[], EvaluationWindow]) -> None:
    """Measure the ranker of the validation window, with its trees, on the members' lists for the test window."""
    run, settings = context.run, context.settings
    trial = read_trial(run)
    if trial is None or not trial.windows:
        return
    lists = {name: read_lists(run, TEST, name) for name in trial.members}
    ranked = rerank(_assemble_ranker(context, window(), TEST), lists, window(), settings)
    write_json(directory / MEASUREMENT_FILE, asdict(measure_lists(RANKER, ranked, window(), settings)))


def _assemble_ranker(context: RunContext, window: EvaluationWindow, window_name: str) -> Ranker:
    """Return a ranker with the trees of the trial and the features at the start of a window."""
    split = time_split(context.run.as_of, context.settings.evaluation)
    start = split.train_end if window_name == VALIDATION else split.validation_end
    return _trained_ranker(context, start).assemble(window.interactions)


def _trained_ranker(context: RunContext, moment: datetime) -> Ranker:
    """Return a ranker with the trees of the trial and the catalogue of a moment, to be assembled at it."""
    trees = Ranker.load_trees(context.run.directory / window_step(VALIDATION, RANKER))
    trial = read_trial(context.run)
    assert trial is not None
    return build_ranker(trial.members, context.settings, read_item_facts(context.lake, moment), trees)
