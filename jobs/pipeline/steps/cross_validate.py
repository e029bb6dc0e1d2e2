"""Cross-validation in time: every candidate on several test windows in a row, each learned from what was before."""

from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from jobs.lake import Lake
from jobs.pipeline.run import Run
from jobs.pipeline.steps.evaluate import (
    MEASUREMENT,
    TEST,
    EvaluationWindow,
    examine,
    measurements,
    prepare_evaluation_window,
)
from jobs.progress import Progress
from recsys.data.splits import fold_windows, require_folds
from recsys.errors import NotEnoughDataError
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.report.contents import Fold
from recsys.files import read_json, write_json
from recsys.settings import Settings


def check_folds(run: Run, lake: Lake, settings: Settings) -> None:
    """Raise `NotEnoughDataError` now for windows without events rather than after hours of work."""
    if settings.evaluation.folds > 1:
        require_folds(lake.events(), fold_windows(run.as_of, settings.evaluation))


def cross_validate(run: Run, lake: Lake, settings: Settings, progress: Progress) -> None:
    """Measure every candidate on each window before the test window, which is measured already; a step each.

    Raises `NotEnoughDataError` for a window in which no user with history wanted anything.
    """
    for number, (start, end) in enumerate(fold_windows(run.as_of, settings.evaluation)):
        done = run.manifest()["steps"]
        missing = [name for name in settings.models if f"{fold_step(number)}{name}" not in done]
        if number == 0 or not missing:
            continue
        progress.start(f"measure {len(missing)} models on the window from {start:%Y-%m-%d}", len(missing))
        exam = _prepare(lake, settings, start, end)
        for name in missing:
            run.step(
                f"{fold_step(number)}{name}", partial(_write_measurement, name=name, exam=exam, settings=settings)
            )
            progress.advance(1)
        progress.done()


def read_folds(run: Run, settings: Settings) -> tuple[Fold, ...]:
    """How the candidates did on each window, the oldest first and the test window last; none for one window."""
    windows = fold_windows(run.as_of, settings.evaluation)
    if len(windows) == 1:
        return ()
    folds = [
        Fold(start, end, _read(run, settings, number) if number else measurements(run, settings, TEST))
        for number, (start, end) in enumerate(windows)
    ]
    return tuple(reversed(folds))


def fold_step(number: int) -> str:
    """What the names of the steps of one window begin with."""
    return f"evaluation/fold-{number}/"


def _prepare(lake: Lake, settings: Settings, start: datetime, end: datetime) -> EvaluationWindow:
    try:
        return prepare_evaluation_window(lake, settings, start, end)
    except NotEnoughDataError as error:
        raise NotEnoughDataError(
            f"evaluation.folds = {settings.evaluation.folds}: of the test window from {start:%Y-%m-%d %H:%M} "
            f"to {end:%Y-%m-%d %H:%M}, {error}"
        ) from None


def _read(run: Run, settings: Settings, number: int) -> tuple[ModelMeasurement, ...]:
    adapter = TypeAdapter(ModelMeasurement)
    files = [run.directory / fold_step(number) / name / MEASUREMENT for name in settings.models]
    return tuple(adapter.validate_python(read_json(file)) for file in files)


def _write_measurement(directory: Path, name: str, exam: EvaluationWindow, settings: Settings) -> None:
    write_json(directory / MEASUREMENT, asdict(examine(name, exam, settings)))
