"""The evaluation: every candidate on the validation and on the test window; the best on the first is chosen."""

from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from jobs.candidates import build_candidate
from jobs.lake import Lake
from jobs.progress import Progress
from jobs.run import Run
from jobs.windows import known_at
from recsys.data.interactions import Interactions
from recsys.data.splits import Windows, relevant_pairs, require_events, windows
from recsys.evaluation.comparison import ModelMeasurement, choose, measure
from recsys.evaluation.truth import Truth, build_truth
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.models.popularity import Popularity
from recsys.models.top_k import Exclude
from recsys.settings import Settings

VALIDATION, TEST = "validation", "test"
MEASUREMENT = "measurement.json"
NOBODY = np.array([0], np.int32)


@dataclass(frozen=True)
class Exam:
    """One window to measure models on: what was known before it, and what users wanted in it."""

    known: Interactions
    truth: Truth
    exclude: Exclude
    fallback: Rows  # the list of users without history

    @classmethod
    def of(cls, known: Interactions, truth: Truth, settings: Settings) -> "Exam":
        """The exam that `repeat` asks for."""
        exclude = Exclude(known.user_items if settings.repeat == "exclude" else None)
        popular = Popularity().fit(known).recommend(NOBODY, max(settings.evaluation.cutoffs))[0][0]
        return cls(known, truth, exclude, popular)


def evaluate(run: Run, lake: Lake, settings: Settings, progress: Progress) -> str:
    """Measure every candidate on both windows, each as a step of its own; returns the name of the best."""
    cuts = windows(run.as_of, settings.evaluation)
    require_events(lake.events(), cuts)
    for window in (VALIDATION, TEST):
        _measure_window(run, lake, settings, window, cuts, progress)
    return choose(measurements(run, settings, VALIDATION), settings.evaluation.metric)


def measurements(run: Run, settings: Settings, window: str) -> tuple[ModelMeasurement, ...]:
    """How the candidates did on a window, as far as they were measured."""
    adapter = TypeAdapter(ModelMeasurement)
    files = [run.directory / _step(window, name) / MEASUREMENT for name in settings.candidates]
    return tuple(adapter.validate_python(read_json(file)) for file in files if file.exists())


def _measure_window(
    run: Run, lake: Lake, settings: Settings, window: str, cuts: Windows, progress: Progress
) -> None:
    done = run.manifest()["steps"]
    missing = [name for name in settings.candidates if _step(window, name) not in done]
    if not missing:
        return
    start, end = (
        (cuts.train_end, cuts.validation_end) if window == VALIDATION else (cuts.validation_end, cuts.as_of)
    )
    progress.start(f"measure {len(missing)} models on the {window} window", len(missing))
    exam = prepare_exam(lake, settings, start, end)
    for name in missing:
        run.step(_step(window, name), partial(_write_measurement, name=name, exam=exam, settings=settings))
        progress.advance(1)
    progress.done()


def prepare_exam(lake: Lake, settings: Settings, start: datetime, end: datetime) -> Exam:
    """What was known at `start`, and what users wanted from then to `end`."""
    known = known_at(lake, settings.sources, start)
    weights = settings.sources.event_weights
    pairs = relevant_pairs(lake.events(), start, end, settings.evaluation.relevant_events, weights)
    history = known.user_items if settings.repeat == "exclude" else None
    return Exam.of(known, build_truth(pairs, known, settings.evaluation, history, lake.items()), settings)


def examine(name: str, exam: Exam, settings: Settings) -> ModelMeasurement:
    """Fit the model called `name` on what was known, and measure the lists it gives."""
    model = build_candidate(name, settings).fit(exam.known)
    n = max(settings.evaluation.cutoffs)
    recommended, _ = model.recommend(exam.truth.user_rows, n, exam.exclude)
    return measure(name, recommended, exam.truth, settings.evaluation, settings.seed, exam.fallback)


def _write_measurement(directory: Path, name: str, exam: Exam, settings: Settings) -> None:
    write_json(directory / MEASUREMENT, asdict(examine(name, exam, settings)))


def _step(window: str, name: str) -> str:
    return f"evaluation/{window}/{name}"
