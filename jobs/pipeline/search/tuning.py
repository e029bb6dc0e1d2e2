"""Tuning of a model's settings with Optuna, starting from trials of earlier nights."""

from collections.abc import Callable, Mapping, Sequence

from jobs.pipeline.search.result import Trial
from recsys.models.config import Range, SearchSpace
from recsys.models.registry import model_type
from recsys.settings import Settings

Values = Mapping[str, float]


def tunable_fields(name: str, settings: Settings) -> SearchSpace:
    """Return the fields of a model's config to tune and their limits, without fields that the settings fix."""
    fixed = settings.model_settings.get(name, {})
    return {field: limits for field, limits in model_type(name).search_space.items() if field not in fixed}


def is_in_space(values: Values, space: SearchSpace) -> bool:
    """Return whether values are of exactly the fields to tune, and within their limits."""
    return set(values) == set(space) and all(_is_within(values[field], limits) for field, limits in space.items())


def tune(
    measure: Callable[[Values], float | None],
    space: SearchSpace,
    start: Trial,
    history: Sequence[Trial],
    trials: int,
    seed: int,
) -> tuple[Trial, ...]:
    """Try `trials` sets of values beside `start`, whose metric is known; return `start` and what was tried.

    `measure` returns the metric of values, on the scale of `start` and of `history`, or None if no model can be
    fitted with them. Values are proposed by the tree-structured Parzen estimator of Bergstra, Bardenet, Bengio,
    Kégl, "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011), from all trials before.
    """
    import optuna  # takes a second to import, and a run with fixed settings does not tune

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # below, it shows the traceback of a Ctrl-C
    tried = [start]
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        field: optuna.distributions.FloatDistribution(limits.low, limits.high, log=limits.logarithmic)
        for field, limits in space.items()
    }

    def measure_trial(trial: optuna.Trial) -> float:
        values = {
            field: trial.suggest_float(field, limits.low, limits.high, log=limits.logarithmic)
            for field, limits in space.items()
        }
        metric = measure(values)
        if metric is None:
            raise optuna.TrialPruned
        tried.append(Trial(values, metric))
        return metric

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.add_trials(
        [
            optuna.trial.create_trial(params=dict(trial.values), distributions=distributions, value=trial.metric)
            for trial in (*history, start)
            if is_in_space(trial.values, space)
        ]
    )
    study.optimize(measure_trial, n_trials=trials)
    return tuple(tried)


def _is_within(value: float, limits: Range) -> bool:
    return limits.low <= value <= limits.high
