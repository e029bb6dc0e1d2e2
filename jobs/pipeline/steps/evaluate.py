"""The evaluation: every candidate and their blend, on the window where weights are chosen and on the next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from jobs.lake import Lake
from jobs.pipeline.candidates import build_candidate
from jobs.pipeline.run import Run
from jobs.pipeline.windows import known_at
from jobs.progress import Progress
from recsys.data.interactions import Interactions
from recsys.data.splits import Windows, relevant_pairs, require_events, sample_users, windows
from recsys.evaluation.comparison.blend_search import BlendChoice, choose_blend
from recsys.evaluation.comparison.ground_truth import GroundTruth, build_ground_truth
from recsys.evaluation.comparison.measurement import ModelMeasurement, measure_model
from recsys.evaluation.comparison.segments import HEAVY, LIGHT
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.models.base import Model
from recsys.models.blend import BlendConfig, member_weights, merge_lists
from recsys.models.popularity import Popularity
from recsys.ranking.top_k import Exclusion
from recsys.settings import Evaluation, Settings

VALIDATION, TEST = "validation", "test"
MEASUREMENT = "measurement.json"
LISTS = "lists.npy"
SEARCH = "evaluation/search"  # the step that fitted every candidate on the validation window
CHOICE = "choice.json"
BLEND = "blend"
LIST_DEPTH = 200  # places of each list that are kept, and that a blend counts
NOBODY = np.array([0], np.int32)


@dataclass(frozen=True)
class EvaluationWindow:
    """One window to measure models on: what was known before it, and what users wanted in it."""

    known: Interactions
    ground_truth: GroundTruth
    exclude: Exclusion
    fallback: Rows  # the list of users without history

    @classmethod
    def of(cls, known: Interactions, ground_truth: GroundTruth, settings: Settings) -> "EvaluationWindow":
        """The exam that `repeat` asks for."""
        exclude = Exclusion(known.user_items if settings.repeat == "exclude" else None)
        popular = Popularity().fit(known).recommend(NOBODY, max(settings.evaluation.cutoffs))[0][0]
        return cls(known, ground_truth, exclude, popular)

    def sample(self, most: int, seed: int) -> "EvaluationWindow":
        """The same for at most so many of its users, drawn at random."""
        return replace(self, ground_truth=self.ground_truth.sample(most, seed))


def evaluate(run: Run, lake: Lake, settings: Settings, progress: Progress) -> str:
    """Measure every candidate and their blend on both windows, each as a step of its own.

    Returns `BLEND`, or the name of a candidate that no blend is better than. Nothing is chosen on the test window.
    """
    cuts = windows(run.as_of, settings.evaluation)
    require_events(lake.events(), cuts)
    for window in (VALIDATION, TEST):
        _measure_window(run, lake, settings, window, cuts, progress)
    return winner_of(blend_choice(run))


def measurements(run: Run, settings: Settings, window: str) -> tuple[ModelMeasurement, ...]:
    """How the candidates, and the blend where there is one, did on a window, as far as they were measured."""
    adapter = TypeAdapter(ModelMeasurement)
    files = [run.directory / _step(window, name) / MEASUREMENT for name in (*settings.models, BLEND)]
    return tuple(adapter.validate_python(read_json(file)) for file in files if file.exists())


def blend_choice(run: Run) -> BlendChoice:
    """The weights that were chosen on the validation window."""
    file = run.directory / _step(VALIDATION, BLEND) / CHOICE
    return TypeAdapter(BlendChoice).validate_python(read_json(file))


def winner_of(choice: BlendChoice) -> str:
    """The name of what is published: `BLEND`, or the only model with a weight."""
    return BLEND if len(choice.weights) > 1 else next(iter(choice.weights))


def blend_config(choice: BlendChoice, evaluation: Evaluation) -> BlendConfig:
    """The config of the blend with the chosen weights."""
    members = tuple(choice.weights)
    light, heavy = (tuple(choice.weights[name][segment] for name in members) for segment in (LIGHT, HEAVY))
    return BlendConfig(members, light, heavy, evaluation.light_user_events, LIST_DEPTH)


def _measure_window(
    run: Run, lake: Lake, settings: Settings, window: str, cuts: Windows, progress: Progress
) -> None:
    done = run.manifest()["steps"]
    missing = [name for name in (*settings.models, BLEND) if _step(window, name) not in done]
    if not missing:
        return
    start, end = (
        (cuts.train_end, cuts.validation_end) if window == VALIDATION else (cuts.validation_end, cuts.as_of)
    )
    progress.start(f"measure {len(missing)} models on the {window} window", len(missing))
    exam = prepare_evaluation_window(lake, settings, start, end)
    for name in missing:
        work = _measure_blend if name == BLEND else partial(_measure, name=name)
        run.step(_step(window, name), partial(work, run=run, window=window, exam=exam, settings=settings))
        progress.advance(1)
    progress.done()


def prepare_evaluation_window(
    lake: Lake, settings: Settings, start: datetime, end: datetime, wanted_by: Lake | None = None
) -> EvaluationWindow:
    """What was known at `start`, and what users wanted from then to `end`, of at most `evaluation.max_users`.

    What was wanted is read from `wanted_by`, where it is another lake, as one with fewer users.
    """
    known = known_at(lake, settings.sources, start)
    weights = settings.sources.event_weights
    events = (wanted_by or lake).events()
    pairs = relevant_pairs(events, start, end, settings.evaluation.relevant_events, weights)
    pairs = sample_users(pairs, settings.evaluation.max_users, settings.seed)
    history = known.user_items if settings.repeat == "exclude" else None
    return EvaluationWindow.of(
        known, build_ground_truth(pairs, known, settings.evaluation, history, lake.items()), settings
    )


def rank(model: Model, exam: EvaluationWindow, settings: Settings) -> Rows:
    """Fit a model on what was known; the lists it gives, (U, `LIST_DEPTH` at least)."""
    depth = max(LIST_DEPTH, *settings.evaluation.cutoffs)
    return model.fit(exam.known).recommend(exam.ground_truth.user_rows, depth, exam.exclude)[0]


def measure_lists(name: str, recommended: Rows, exam: EvaluationWindow, settings: Settings) -> ModelMeasurement:
    """Measure the lists of the model called `name`."""
    return measure_model(name, recommended, exam.ground_truth, settings.evaluation, settings.seed, exam.fallback)


def examine(name: str, exam: EvaluationWindow, settings: Settings) -> ModelMeasurement:
    """Fit the model called `name` on what was known, and measure the lists it gives."""
    return measure_lists(name, rank(build_candidate(name, settings), exam, settings), exam, settings)


def choose(lists: Mapping[str, Rows], exam: EvaluationWindow, settings: Settings) -> BlendChoice:
    """The weights of the blend of the candidates' lists on the exam of the validation window."""
    return choose_blend(lists, exam.ground_truth, settings.evaluation.cutoff, settings.seed)


def blend_lists(choice: BlendChoice, lists: Mapping[str, Rows], exam: EvaluationWindow, settings: Settings) -> Rows:
    """The lists of what is published, from those of its members."""
    if winner_of(choice) != BLEND:
        return lists[winner_of(choice)]
    config = blend_config(choice, settings.evaluation)
    weights = member_weights(config, exam.ground_truth.segments[LIGHT])
    members = [lists[name] for name in config.members]
    return merge_lists(members, weights, max(settings.evaluation.cutoffs))[0]


def lists_of(run: Run, window: str, name: str) -> Rows:
    """The lists of the model called `name` on a window, as they were kept."""
    searched = run.directory / SEARCH / f"{name}.npy"
    return np.load(searched if window == VALIDATION else run.directory / _step(window, name) / LISTS)


def _measure(directory: Path, name: str, run: Run, window: str, exam: EvaluationWindow, settings: Settings) -> None:
    """On the validation window by the lists of the search; on the test window they are made, and kept."""
    if window == TEST:
        lists = rank(build_candidate(name, settings), exam, settings)
        np.save(directory / LISTS, lists)
    else:
        lists = lists_of(run, window, name)
    write_json(directory / MEASUREMENT, asdict(measure_lists(name, lists, exam, settings)))


def _measure_blend(directory: Path, run: Run, window: str, exam: EvaluationWindow, settings: Settings) -> None:
    """Choose the weights where it is their turn, and measure the blend unless it is a single model."""
    if window == VALIDATION:
        lists = {name: lists_of(run, window, name) for name in settings.models}
        choice = choose(lists, exam, settings)
        write_json(directory / CHOICE, asdict(choice))
    else:
        choice = blend_choice(run)
    if winner_of(choice) == BLEND:
        merged = blend_lists(choice, {name: lists_of(run, window, name) for name in choice.weights}, exam, settings)
        write_json(directory / MEASUREMENT, asdict(measure_lists(BLEND, merged, exam, settings)))


def _step(window: str, name: str) -> str:
    return f"evaluation/{window}/{name}"
