"""The evaluate step: measure every model and their blend on the validation and the test window."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import (
    BLEND,
    EvaluationWindow,
    choose_weights,
    measure_lists,
    merge_winner_lists,
    new_items_name,
    rank_items,
    rank_new_items,
    winner_name,
)
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.new_users import (
    describe_choice,
    measure_new_users,
    rank_for_new_users,
    read_choice,
    score_items,
)
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import SEARCH, TEST, VALIDATION, window_step
from jobs.pipeline.steps.windows import prepare_screened_window
from recsys.data.splits import time_split
from recsys.evaluation.comparison.blend_search import BlendChoice
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.models.ranker.ranker import Ranker
from recsys.settings import Settings

MEASUREMENT_FILE = "measurement.json"
LISTS_FILE = "lists.npy"
NEW_LISTS_FILE = "new_lists.npy"
CHOICE_FILE = "choice.json"


def evaluate_models(context: RunContext) -> RunContext:
    """Measure every model and their blend on both windows, one output for each, and set the winner.

    The blend's weights are chosen on the validation window; nothing is chosen on the test window. A run that
    measures nothing publishes its only model.
    """
    if not context.is_measured:
        (winner,) = context.settings.models
        context.run.update(winner=winner)
        return replace(context, winner=winner)
    split = time_split(context.run.as_of, context.settings.evaluation)
    for name, start, end in (
        (VALIDATION, split.train_end, split.validation_end),
        (TEST, split.validation_end, split.as_of),
    ):
        prepared = cache(partial(prepare_screened_window, context, start, end))
        measure_new_users(context, name, prepared)
        window = cache(partial(_with_list_of_new_users, context, prepared))
        _measure_on_window(context, name, window)
    context.run.update(new_users=describe_choice(context.run, context.settings))
    winner = winner_name(read_blend_choice(context.run))
    context.run.update(winner=winner)
    return replace(context, winner=winner)


def read_measurements(run: Run, settings: Settings, window_name: str) -> tuple[ModelMeasurement, ...]:
    """Read the measurements on a window of the models, and of the blend and the ranker, as far as they exist."""
    adapter = TypeAdapter(ModelMeasurement)
    names = (*settings.models, BLEND, Ranker.name)
    files = [run.directory / window_step(window_name, name) / MEASUREMENT_FILE for name in names]
    return tuple(adapter.validate_python(read_json(file)) for file in files if file.exists())


def read_blend_choice(run: Run) -> BlendChoice:
    """Read the weights that were chosen on the validation window."""
    file = run.directory / window_step(VALIDATION, BLEND) / CHOICE_FILE
    return TypeAdapter(BlendChoice).validate_python(read_json(file))


def read_lists(run: Run, window_name: str, name: str) -> Rows:
    """Read the lists of the model called `name` on a window; the search wrote those of the validation window."""
    if window_name == VALIDATION:
        return np.load(run.directory / SEARCH / f"{name}.npy")
    return np.load(run.directory / window_step(window_name, name) / LISTS_FILE)


def read_new_lists(run: Run, window_name: str, name: str) -> Rows:
    """Read the lists of items that users do not have of the model called `name` on a window."""
    if window_name == VALIDATION:
        return np.load(run.directory / SEARCH / f"{new_items_name(name)}.npy")
    return np.load(run.directory / window_step(window_name, name) / NEW_LISTS_FILE)


def _with_list_of_new_users(context: RunContext, prepared: Callable[[], EvaluationWindow]) -> EvaluationWindow:
    """Return a window whose users without history get the list that was chosen for them."""
    window, chosen = prepared(), read_choice(context.run).chosen
    scores = score_items(chosen, window.interactions, context.settings)
    return replace(window, fallback=rank_for_new_users(scores, context.settings))


def _measure_on_window(context: RunContext, window_name: str, window: Callable[[], EvaluationWindow]) -> None:
    writers = {
        name: partial(_write_measurement, context=context, name=name, window_name=window_name, window=window)
        for name in context.settings.models
    }
    writers[BLEND] = partial(_write_blend_measurement, context=context, window_name=window_name, window=window)
    context.write_outputs(
        {window_step(window_name, name): write for name, write in writers.items()},
        f"measure models on the {window_name} window",
    )


def _write_measurement(
    directory: Path, context: RunContext, name: str, window_name: str, window: Callable[[], EvaluationWindow]
) -> None:
    """Measure one model: the search's lists on the validation window, a new fit with its AUC on the test window."""
    settings = context.settings
    if window_name == TEST:
        model = build_configured_model(name, settings)
        lists = rank_items(model, window(), settings)
        np.save(directory / LISTS_FILE, lists)
        new_lists = rank_new_items(model, window(), settings)
        if new_lists is not None:
            np.save(directory / NEW_LISTS_FILE, new_lists)
        measured = measure_lists(name, lists, window(), settings, model)
    else:
        measured = measure_lists(name, read_lists(context.run, window_name, name), window(), settings)
    write_json(directory / MEASUREMENT_FILE, asdict(measured))


def _write_blend_measurement(
    directory: Path, context: RunContext, window_name: str, window: Callable[[], EvaluationWindow]
) -> None:
    """Choose the weights on the validation window, and measure the blend unless a single model is better."""
    run, settings = context.run, context.settings
    if window_name == VALIDATION:
        lists = {name: read_lists(run, window_name, name) for name in settings.models}
        choice = choose_weights(lists, window(), settings)
        write_json(directory / CHOICE_FILE, asdict(choice))
    else:
        choice = read_blend_choice(run)
    if winner_name(choice) == BLEND:
        members = {name: read_lists(run, window_name, name) for name in choice.weights}
        merged = merge_winner_lists(choice, members, window(), settings)
        write_json(directory / MEASUREMENT_FILE, asdict(measure_lists(BLEND, merged, window(), settings)))
