"""Significance of differences between models: paired tests over users, corrected for multiple comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from scipy.special import stdtr

from recsys.evaluation.comparison.bootstrap import confidence_interval
from recsys.evaluation.comparison.measurement import ModelMeasurement, rank_models, select_best
from recsys.evaluation.metrics.ranking import Values

SIGNIFICANCE_LEVEL: Final = 0.05


@dataclass(frozen=True)
class Lead:
    """The difference between the winner and the next best model, with its 95 % confidence interval."""

    runner_up: str
    difference: float
    interval: tuple[float, float]
    relative: float
    """The difference over the runner-up's mean; infinite where that is 0."""


@dataclass(frozen=True)
class Difference:
    """The difference of two models in the mean of one metric, paired over users."""

    better: str
    worse: str
    difference: float
    """0 or more."""
    interval: tuple[float, float]
    """95 % confidence interval of the difference, not corrected for other pairs."""
    p_value: float
    """Two-sided p-value."""
    corrected_p_value: float
    """The p-value after Holm's correction for all compared pairs."""
    relative: float
    """The difference over the worse model's mean; infinite where that is 0."""

    @property
    def is_significant(self) -> bool:
        """Return whether the corrected p-value is below `SIGNIFICANCE_LEVEL`."""
        return self.corrected_p_value < SIGNIFICANCE_LEVEL


def find_lead(measurements: Sequence[ModelMeasurement], winner: str, metric: str) -> Lead | None:
    """Compare `winner` with the best other model in `metric`, the metric of the bootstrap means.

    Returns None without another model. Models of one window were resampled with the same users, so the interval is
    that of a paired difference. A negative difference means that the other model is better.
    """
    models = {model.name: model for model in measurements}
    first = models.pop(winner)
    if not models:
        return None
    second = models[select_best(list(models.values()), metric)]
    differences = np.array(first.resampled) - np.array(second.resampled)
    difference = first.metrics[metric] - second.metrics[metric]
    relative = _relative(difference, second.metrics[metric])
    return Lead(second.name, difference, confidence_interval(differences), relative)


def compare_pairs(measurements: Sequence[ModelMeasurement], metric: str) -> tuple[Difference, ...]:
    """Compare all pairs of models of one window in `metric`, the metric of the bootstrap means, best first."""
    ordered = rank_models(measurements, metric)
    pairs = list(combinations(ordered, 2))
    resampled = [np.array(better.resampled) - np.array(worse.resampled) for better, worse in pairs]
    differences = [better.metrics[metric] - worse.metrics[metric] for better, worse in pairs]
    p_values = [
        paired_p_value(difference, means, pair[0].users)
        for pair, difference, means in zip(pairs, differences, resampled, strict=True)
    ]
    return tuple(
        Difference(
            better.name,
            worse.name,
            difference,
            confidence_interval(means),
            p_value,
            corrected,
            _relative(difference, worse.metrics[metric]),
        )
        for (better, worse), difference, means, p_value, corrected in zip(
            pairs, differences, resampled, p_values, apply_holm_correction(p_values), strict=True
        )
    )


def _relative(difference: float, mean: float) -> float:
    """Divide a difference by the mean that it is a gain over."""
    return difference / mean if mean else float(np.sign(difference)) * np.inf if difference else 0.0


def paired_p_value(difference: float, resampled: Values, users: int) -> float:
    """Compute the two-sided p-value of a mean difference over `users` from its bootstrap means (resamples,).

    Student's paired t-test with the standard error of the bootstrap means, because the values of each user are not
    stored. With 500 resamples, the error is within about 3 % of the exact one. Counting the resamples beyond 0 has
    a resolution of 1 in 500, which is too coarse for a correction over many pairs.
    """
    if users < 2:
        return 1.0
    error = float(np.std(resampled, ddof=1)) * (users / (users - 1)) ** 0.5
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stdtr(users - 1, -abs(difference) / error))  # pyright: ignore[reportUnknownArgumentType]


def apply_holm_correction(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple comparisons; corrected values are at most 1.

    Rejecting corrected p-values below alpha keeps the family-wise error rate at alpha, whatever the dependence
    between the tests. Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected
