"""The search step: choose models and their settings within the limits of memory and time."""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from pydantic import TypeAdapter

from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import EvaluationWindow, rank_items
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import SEARCH
from jobs.pipeline.steps.plan_measurement import unmeasured_winner
from jobs.pipeline.steps.windows import prepare_screened_window
from jobs.progress import Progress
from recsys.data.splits import time_split
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

MAX_TUNING_USERS: Final = 2_000
MIN_TUNING_SHARE: Final = 0.5
"""Share of the best model's metric below which a model is not tuned."""
TUNING_TIME_SHARE: Final = 0.6
"""Share of the remaining time in which other models are tuned; neural models then use all of the rest."""
RESULT_FILE: Final = "search.json"

Lists = dict[str, Rows]


@dataclass(frozen=True)
class Trial:
    """One set of values for a model's settings, and its metric."""

    values: dict[str, float]
    metric: float
    """The metric on the users that settings are tuned on."""


@dataclass(frozen=True)
class CandidateResult:
    """The result of the search for one model."""

    name: str
    metric: float | None = None
    """The metric on all users of the validation window; None if the model was left out."""
    seconds: float = 0.0
    """The time of fitting and ranking once."""
    values: dict[str, Any] | None = None
    """The best settings found, which override the configured ones; None if those stay."""
    trials: tuple[Trial, ...] = ()
    left_out: str | None = None
    """The reason why the model was left out; None if it was not."""


@dataclass(frozen=True)
class SearchResult:
    """The results of all models, in the order of the settings."""

    seconds: float
    tried: tuple[CandidateResult, ...]


def search_models(context: RunContext) -> RunContext:
    """Search on the validation window; later steps get the best settings found.

    A run that measures nothing has no search, and the model of `unmeasured_winner` as its only one.
    """
    if not context.is_measured:
        winner = unmeasured_winner(context.settings)
        return replace(context, settings=replace(context.settings, models=(winner,)))
    context.write_outputs({SEARCH: partial(_write, context=context)})
    return replace(context, settings=apply_search(context.settings, read_search_result(context.run)))


def read_search_result(run: Run) -> SearchResult:
    """Read the result of a run's search."""
    return TypeAdapter(SearchResult).validate_python(read_json(run.directory / SEARCH / RESULT_FILE))


def apply_search(settings: Settings, result: SearchResult) -> Settings:
    """Keep the models that were not left out, each with the values found for it."""
    kept = [candidate for candidate in result.tried if candidate.left_out is None]
    for candidate in kept:
        settings = _with_values(settings, candidate.name, candidate.values or {})
    return replace(settings, models=tuple(candidate.name for candidate in kept))


def search(window: EvaluationWindow, settings: Settings, progress: Progress) -> tuple[SearchResult, Lists]:
    """Fit every model on the window's interactions and tune the best; return the result and the kept models' lists.

    A model is left out if it needs more than `search.max_memory`, if `search.max_minutes` are over before its turn,
    or if its fit fails. Settings are tuned by the metric on at most `MAX_TUNING_USERS` of the window's users, with
    Optuna's sampler of Bergstra, Bardenet, Bengio, Kégl, "Algorithms for Hyper-Parameter Optimization" (NeurIPS
    2011). The time limits the number of trials: two runs find the same settings if it suffices for both. Raises
    `ModelError` if no model is kept.
    """
    clock = _Clock(60 * settings.search.max_minutes)
    results: dict[str, CandidateResult] = {}
    lists: Lists = {}
    with progress.task("choose models and their settings", len(settings.models)) as task:
        neural = [name for name in settings.models if issubclass(model_type(name), NeuralModel)]
        for name in settings.models:
            if name not in neural:
                results[name] = _try(name, window, settings, clock, lists)
                task.advance(1)
        _tune_best(results, lists, window, settings, _Clock(TUNING_TIME_SHARE * clock.left) if neural else clock)
        for name in neural:
            results[name] = _try(name, window, settings, clock, lists)
            task.advance(1)
    if not lists:
        raise ModelError(f"no candidate could be fitted: {results[settings.models[0]].left_out}")
    return SearchResult(round(clock.spent, 1), tuple(results[name] for name in settings.models)), lists


def _write(directory: Path, context: RunContext) -> None:
    settings = context.settings
    split = time_split(context.run.as_of, settings.evaluation)
    window = prepare_screened_window(context, split.train_end, split.validation_end)
    result, lists = search(window, settings, context.progress)
    for name, ranked in lists.items():
        np.save(directory / f"{name}.npy", ranked)
    write_json(directory / RESULT_FILE, asdict(result))


class _Clock:
    """A stopwatch for a budget of seconds."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic()
        self._seconds = seconds

    @property
    def spent(self) -> float:
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        return max(0.0, self._seconds - self.spent)


def _try(name: str, window: EvaluationWindow, settings: Settings, clock: _Clock, lists: Lists) -> CandidateResult:
    """Fit and measure a model with the given settings, if memory and time suffice."""
    needed = build_configured_model(name, settings).bytes_needed(
        *window.interactions.shape, window.interactions.user_items.nnz
    )
    limit = settings.search.max_memory or available_bytes()
    if needed > limit:
        return _left_out(
            name, f"it needs {needed / 2**20:,.0f} MB of memory, and {limit / 2**20:,.0f} MB may be taken"
        )
    if not clock.left:
        return _left_out(
            name, f"search.max_minutes = {settings.search.max_minutes:g}: the time was over before its turn"
        )
    return _fit(name, window, settings, lists, clock.left)


def _fit(
    name: str, window: EvaluationWindow, settings: Settings, lists: Lists, seconds: float | None = None
) -> CandidateResult:
    """Fit and measure a model, and add its lists to `lists`; a fit that can end early ends after `seconds`."""
    started = time.monotonic()
    model = build_configured_model(name, settings)
    if isinstance(model, NeuralModel):
        model.training = TrainingOptions(seconds=seconds)
    try:
        ranked = rank_items(model, window, settings)
    except ModelError as error:
        return _left_out(name, str(error))
    lists[name] = ranked
    values = {"epochs": model.epochs} if isinstance(model, NeuralModel) else None
    return CandidateResult(name, _metric(ranked, window, settings), round(time.monotonic() - started, 1), values)


def _tune_best(
    results: dict[str, CandidateResult], lists: Lists, window: EvaluationWindow, settings: Settings, clock: _Clock
) -> None:
    """Tune the best models in equal shares of the time, and replace their `results` and `lists`."""
    metrics = {result.name: result.metric for result in results.values() if result.metric is not None}
    minimum = MIN_TUNING_SHARE * max(metrics.values(), default=0.0)
    names = [name for name in sorted(metrics, key=lambda name: (-metrics[name], name)) if metrics[name] >= minimum]
    names = [name for name in names if _space(name, settings)]
    sample = window.sample(MAX_TUNING_USERS, settings.seed)
    for place, name in enumerate(names):
        # The best values are fitted once more, on all users.
        seconds = clock.left / (len(names) - place) - results[name].seconds
        trials = _tune(name, sample, settings, seconds, results[name].seconds)
        best = max(range(len(trials)), key=lambda number: trials[number].metric, default=0)
        if best > 0:
            values = trials[best].values
            results[name] = replace(_fit(name, window, _with_values(settings, name, values), lists), values=values)
        results[name] = replace(results[name], trials=tuple(trials))


def _tune(
    name: str, window: EvaluationWindow, settings: Settings, seconds: float, fit_seconds: float
) -> list[Trial]:
    """Try values for a model's settings, the configured ones first; return no trials if time is too short."""
    if seconds < 3 * fit_seconds or not settings.search.max_trials:
        return []
    import optuna  # takes a second to import, and a run with fixed settings does not tune

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # below, it shows the traceback of a Ctrl-C
    space, trials = _space(name, settings), list[Trial]()

    def measure_trial(trial: optuna.Trial) -> float:
        values = {
            field: trial.suggest_float(field, limits.low, limits.high, log=limits.logarithmic)
            for field, limits in space.items()
        }
        try:
            ranked = rank_items(
                build_configured_model(name, _with_values(settings, name, values)), window, settings
            )
        except ModelError:
            raise optuna.TrialPruned from None
        trials.append(Trial(values, _metric(ranked, window, settings)))
        return trials[-1].metric

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    config = vars(build_configured_model(name, settings))["config"]
    study.enqueue_trial({field: getattr(config, field) for field in space})
    study.optimize(measure_trial, n_trials=settings.search.max_trials, timeout=seconds)
    return trials


def _space(name: str, settings: Settings) -> dict[str, Range]:
    """Return the fields of a model's config to tune and their limits, without fields that the settings fix."""
    fixed = settings.model_settings.get(name, {})
    return {field: limits for field, limits in model_type(name).search_space.items() if field not in fixed}


def _with_values(settings: Settings, name: str, values: dict[str, Any]) -> Settings:
    return replace(
        settings,
        model_settings={**settings.model_settings, name: {**settings.model_settings.get(name, {}), **values}},
    )


def _metric(lists: Rows, window: EvaluationWindow, settings: Settings) -> float:
    """Return the mean of the metric that models are chosen by."""
    relevance, evaluation = window.ground_truth.returning, settings.evaluation
    arrays = (relevance.relevant, relevance.relevant_counts)
    return float(evaluate_lists(lists, *arrays, (evaluation.cutoff,))[evaluation.metric].mean())


def _left_out(name: str, reason: str) -> CandidateResult:
    log.warning("model left out of the run", model=name, reason=reason)
    return CandidateResult(name, left_out=reason)
