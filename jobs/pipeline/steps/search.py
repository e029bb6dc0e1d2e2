"""The search: which candidates fit the data, the memory and the time there is, and with which settings."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from pydantic import TypeAdapter

from jobs.lake import Lake
from jobs.pipeline.candidates import build_candidate
from jobs.pipeline.run import Run
from jobs.pipeline.steps.evaluate import SEARCH, EvaluationWindow, prepare_evaluation_window, rank
from jobs.progress import Progress
from recsys.data.splits import require_events, windows
from recsys.errors import ModelError
from recsys.evaluation.metrics.ranking import evaluate_lists
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.memory import available_bytes
from recsys.models.base import NeuralModel, TrainingOptions
from recsys.models.config import Range
from recsys.models.registry import model_type
from recsys.settings import Settings

log = structlog.get_logger(__name__)

TUNING_USERS: Final = 2_000
# Of the best candidate's metric: a model below it is not worth tuning.
WORTH_TUNING: Final = 0.5
# Neural models use all the time that is left, so they come last; the others are tuned in this share of it before.
TUNING_SHARE: Final = 0.6
RESULT: Final = "search.json"

Lists = dict[str, Rows]


@dataclass(frozen=True)
class Trial:
    """One set of values for a model's settings, and what it was worth."""

    values: dict[str, float]
    metric: float
    """On the users that settings are tuned on."""


@dataclass(frozen=True)
class CandidateResult:
    """What became of one candidate."""

    name: str
    metric: float | None = None
    """On all users of the validation window; None where the candidate was left out."""
    seconds: float = 0.0
    """Of fitting and ranking once."""
    values: dict[str, Any] | None = None
    """Settings that were found, over those given; None where the given ones stay."""
    trials: tuple[Trial, ...] = ()
    left_out: str | None = None
    """Why the candidate is out."""


@dataclass(frozen=True)
class SearchResult:
    """Every candidate, in the order they were named."""

    seconds: float
    tried: tuple[CandidateResult, ...]


class _Clock:
    """Seconds of a budget that are left."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic()
        self._seconds = seconds

    @property
    def spent(self) -> float:
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        return max(0.0, self._seconds - self.spent)


def search(exam: EvaluationWindow, settings: Settings, progress: Progress) -> tuple[SearchResult, Lists]:
    """Fit every candidate on the validation exam's history, tune the best; the lists of each that stays.

    A candidate is left out when it needs more than `search.max_memory`, when it comes after `search.max_minutes`,
    or when its fit fails. Settings are tuned by the metric on at most `TUNING_USERS` of the exam's users, with
    Optuna's sampler of Bergstra, Bardenet, Bengio, Kégl, "Algorithms for Hyper-Parameter Optimization" (NeurIPS
    2011). The time decides how much is tried: two runs find the same where it sufficed for both. Raises
    `ModelError` when no candidate stays.
    """
    clock = _Clock(60 * settings.search.max_minutes)
    progress.start("choose models and their settings", len(settings.models))
    tried: dict[str, CandidateResult] = {}
    lists: Lists = {}
    neural = [name for name in settings.models if issubclass(model_type(name), NeuralModel)]
    for name in settings.models:
        if name not in neural:
            tried[name] = _try(name, exam, settings, clock, lists)
            progress.advance(1)
    _tune_best(tried, lists, exam, settings, _Clock(TUNING_SHARE * clock.left) if neural else clock)
    for name in neural:
        tried[name] = _try(name, exam, settings, clock, lists)
        progress.advance(1)
    progress.done()
    if not lists:
        raise ModelError(f"no candidate could be fitted: {tried[settings.models[0]].left_out}")
    return SearchResult(round(clock.spent, 1), tuple(tried[name] for name in settings.models)), lists


def search_in_run(run: Run, lake: Lake, settings: Settings, progress: Progress) -> Settings:
    """Search on the validation window, as a step of the run; the settings as the search leaves them."""

    def work(directory: Path) -> None:
        cuts = windows(run.as_of, settings.evaluation)
        require_events(lake.events(), cuts)
        exam = prepare_evaluation_window(lake, settings, cuts.train_end, cuts.validation_end)
        result, lists = search(exam, settings, progress)
        for name, ranked in lists.items():
            np.save(directory / f"{name}.npy", ranked)
        write_json(directory / RESULT, asdict(result))

    run.step(SEARCH, work)
    return searched(settings, search_result(run))


def search_result(run: Run) -> SearchResult:
    """What the search of a run found."""
    return TypeAdapter(SearchResult).validate_python(read_json(run.directory / SEARCH / RESULT))


def searched(settings: Settings, result: SearchResult) -> Settings:
    """The settings with what was found: the candidates that stay, each with its values."""
    kept = [one for one in result.tried if one.left_out is None]
    for one in kept:
        settings = _with_values(settings, one.name, one.values or {})
    return replace(settings, models=tuple(one.name for one in kept))


def _try(name: str, exam: EvaluationWindow, settings: Settings, clock: _Clock, lists: Lists) -> CandidateResult:
    """Fit and measure a candidate with its settings as they are."""
    needed = build_candidate(name, settings).bytes_needed(*exam.known.shape, exam.known.user_items.nnz)
    most = settings.search.max_memory or available_bytes()
    if needed > most:
        return _left_out(
            name, f"it needs {needed / 2**20:,.0f} MB of memory, and {most / 2**20:,.0f} MB may be taken"
        )
    if not clock.left:
        return _left_out(
            name, f"search.max_minutes = {settings.search.max_minutes:g}: the time was over before its turn came"
        )
    return _fit(name, exam, settings, lists, clock.left)


def _fit(
    name: str, exam: EvaluationWindow, settings: Settings, lists: Lists, seconds: float | None = None
) -> CandidateResult:
    """Fit and measure; the lists join the others. What can end early does after so many seconds, for good."""
    started = time.monotonic()
    model = build_candidate(name, settings)
    if isinstance(model, NeuralModel):
        model.training = TrainingOptions(seconds=seconds)
    try:
        ranked = rank(model, exam, settings)
    except ModelError as error:
        return _left_out(name, str(error))
    lists[name] = ranked
    values = {"epochs": model.epochs} if isinstance(model, NeuralModel) else None
    return CandidateResult(name, _metric(ranked, exam, settings), round(time.monotonic() - started, 1), values)


def _tune_best(
    tried: dict[str, CandidateResult], lists: Lists, exam: EvaluationWindow, settings: Settings, clock: _Clock
) -> None:
    """Tune the models worth it, the best first, each in its share of the time; `tried` and `lists` change."""
    measured = {one.name: one.metric for one in tried.values() if one.metric is not None}
    least = WORTH_TUNING * max(measured.values(), default=0.0)
    names = [name for name in sorted(measured, key=lambda name: (-measured[name], name)) if measured[name] >= least]
    names = [name for name in names if _space(name, settings)]
    sample = exam.sample(TUNING_USERS, settings.seed)
    for place, name in enumerate(names):
        # What is found is fitted once more, on all users.
        seconds = clock.left / (len(names) - place) - tried[name].seconds
        trials = _tune(name, sample, settings, seconds, tried[name].seconds)
        best = max(range(len(trials)), key=lambda number: trials[number].metric, default=0)
        if best > 0:
            values = trials[best].values
            tried[name] = replace(_fit(name, exam, _with_values(settings, name, values), lists), values=values)
        tried[name] = replace(tried[name], trials=tuple(trials))


def _tune(
    name: str, exam: EvaluationWindow, settings: Settings, seconds: float, seconds_of_fit: float
) -> list[Trial]:
    """What was tried, the given settings first; nothing where there is no time for a few."""
    if seconds < 3 * seconds_of_fit or not settings.search.max_trials:
        return []
    import optuna  # takes a second, which a command that tunes nothing shall not wait

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, trials = _space(name, settings), list[Trial]()

    def worth(trial: optuna.Trial) -> float:
        values = {
            field: trial.suggest_float(field, limits.low, limits.high, log=limits.logarithmic)
            for field, limits in space.items()
        }
        try:
            ranked = rank(build_candidate(name, _with_values(settings, name, values)), exam, settings)
        except ModelError:
            raise optuna.TrialPruned from None
        trials.append(Trial(values, _metric(ranked, exam, settings)))
        return trials[-1].metric

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    config = vars(build_candidate(name, settings))["config"]
    study.enqueue_trial({field: getattr(config, field) for field in space})
    study.optimize(worth, n_trials=settings.search.max_trials, timeout=seconds)
    return trials


def _space(name: str, settings: Settings) -> dict[str, Range]:
    """What may be tuned of a model: nothing that the settings fix."""
    fixed = settings.model_settings.get(name, {})
    return {field: limits for field, limits in model_type(name).search_space.items() if field not in fixed}


def _with_values(settings: Settings, name: str, values: dict[str, Any]) -> Settings:
    return replace(
        settings,
        model_settings={**settings.model_settings, name: {**settings.model_settings.get(name, {}), **values}},
    )


def _metric(lists: Rows, exam: EvaluationWindow, settings: Settings) -> float:
    """Mean of the metric that models are chosen by."""
    wanted, evaluation = exam.ground_truth.returning, settings.evaluation
    arrays = (wanted.relevant, wanted.relevant_counts, wanted.candidate_counts)
    return float(evaluate_lists(lists, *arrays, (evaluation.cutoff,))[evaluation.metric].mean())


def _left_out(name: str, reason: str) -> CandidateResult:
    log.warning("a candidate is left out", model=name, reason=reason)
    return CandidateResult(name, left_out=reason)
