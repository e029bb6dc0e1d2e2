"""The cross-validation step: measure models on consecutive test windows, fitted on the events before each one."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from pydantic import TypeAdapter

from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import (
    EvaluationWindow,
    measure_lists,
    rank_items,
)
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import TEST, fold_step
from jobs.pipeline.steps.evaluate import MEASUREMENT_FILE, read_measurements
from jobs.pipeline.steps.windows import prepare_screened_window
from recsys.data.splits import fold_windows
from recsys.errors import NotEnoughDataError
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.report.contents import Fold
from recsys.files import read_json, write_json
from recsys.settings import Settings


def cross_validate(context: RunContext) -> RunContext:
    """Measure every model on each window before the test window, one output for each measurement.

    The evaluate step measures the test window itself. Raises `NotEnoughDataError` for a window in which no user
    with history has relevant items.
    """
    if not context.is_measured:
        return context
    earlier_windows = list(enumerate(fold_windows(context.run.as_of, context.settings.evaluation)))[1:]
    for number, (start, end) in earlier_windows:
        window = cache(partial(_prepare, context, start, end))
        context.write_outputs(
            {
                fold_step(number, name): partial(_write, name=name, window=window, settings=context.settings)
                for name in context.settings.models
            },
            f"measure models on the window from {start:%Y-%m-%d}",
        )
    return context


def read_folds(run: Run, settings: Settings) -> tuple[Fold, ...]:
    """Read the measurements on each window, oldest first and the test window last; empty for a single window."""
    windows = fold_windows(run.as_of, settings.evaluation)
    if len(windows) == 1:
        return ()
    folds = [
        Fold(start, end, _read(run, settings, number) if number else read_measurements(run, settings, TEST))
        for number, (start, end) in enumerate(windows)
    ]
    return tuple(reversed(folds))


def _prepare(context: RunContext, start: datetime, end: datetime) -> EvaluationWindow:
    try:
        return prepare_screened_window(context, start, end)
    except NotEnoughDataError as error:
        raise NotEnoughDataError(
            f"evaluation.folds = {context.settings.evaluation.folds}: of the test window from "
            f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, {error}"
        ) from None


def _write(directory: Path, name: str, window: Callable[[], EvaluationWindow], settings: Settings) -> None:
    model = build_configured_model(name, settings)
    lists = rank_items(model, window(), settings)
    write_json(directory / MEASUREMENT_FILE, asdict(measure_lists(name, lists, window(), settings, model)))


def _read(run: Run, settings: Settings, number: int) -> tuple[ModelMeasurement, ...]:
    adapter = TypeAdapter(ModelMeasurement)
    files = [run.directory / fold_step(number, name) / MEASUREMENT_FILE for name in settings.models]
    return tuple(adapter.validate_python(read_json(file)) for file in files)
