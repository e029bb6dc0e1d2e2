"""Which differences between models are more than chance: paired over users, corrected for their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from scipy.special import stdtr

from recsys.evaluation.comparison.bootstrap import confidence_interval
from recsys.evaluation.comparison.measurement import ModelMeasurement, choose
from recsys.evaluation.metrics.ranking import Values

SIGNIFICANCE: Final = 0.05


@dataclass(frozen=True)
class Lead:
    """How far the winner is ahead of the next best model, with the 95 % interval of the difference."""

    runner_up: str
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """How far one model is ahead of another in the mean of one metric, over the same users."""

    better: str
    worse: str
    difference: float
    """0 or more."""
    interval: tuple[float, float]
    """95 % interval of the difference, of this pair alone."""
    p_value: float
    """How often chance alone would make so large a difference, either way."""
    corrected: float
    """The same, by Holm, for all the pairs that were compared."""

    @property
    def is_significant(self) -> bool:
        """Whether the difference stands after the correction, at 5 %."""
        return self.corrected < SIGNIFICANCE


def find_lead(measurements: Sequence[ModelMeasurement], winner: str, metric: str) -> Lead | None:
    """How far `winner` is ahead of the best other model in `metric`, which the models were resampled by.

    None when there is no other model. Models of one window were resampled with the same users, so the
    interval is that of a paired difference. A negative difference means that another model is ahead.
    """
    models = {model.name: model for model in measurements}
    first = models.pop(winner)
    if not models:
        return None
    second = models[choose(list(models.values()), metric)]
    differences = np.array(first.resampled) - np.array(second.resampled)
    return Lead(second.name, first.metrics[metric] - second.metrics[metric], confidence_interval(differences))


def compare_pairs(measurements: Sequence[ModelMeasurement], metric: str) -> tuple[Difference, ...]:
    """Every pair of models of one window in `metric`, which they were resampled by, the best models' first."""
    ordered = sorted(measurements, key=lambda model: (-model.metrics[metric], model.name))
    pairs = list(combinations(ordered, 2))
    resampled = [np.array(better.resampled) - np.array(worse.resampled) for better, worse in pairs]
    differences = [better.metrics[metric] - worse.metrics[metric] for better, worse in pairs]
    p_values = [
        paired_p_value(difference, means, pair[0].users)
        for pair, difference, means in zip(pairs, differences, resampled, strict=True)
    ]
    return tuple(
        Difference(better.name, worse.name, difference, confidence_interval(means), p_value, corrected)
        for (better, worse), difference, means, p_value, corrected in zip(
            pairs, differences, resampled, p_values, holm_correction(p_values), strict=True
        )
    )


def paired_p_value(difference: float, resampled: Values, users: int) -> float:
    """The two-sided p-value of a mean difference over `users`, from its bootstrap means (resamples,).

    Student's paired t-test, its standard error taken from the resamples, as only they are kept: both agree up
    to the resamples' own chance, 3 % of the error with 500 of them. Counting resamples on the far side of 0
    could not go below one in 500, which no correction for many pairs would let stand.
    """
    if users < 2:
        return 1.0
    error = float(np.std(resampled, ddof=1)) * (users / (users - 1)) ** 0.5
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stdtr(users - 1, -abs(difference) / error))  # pyright: ignore[reportUnknownArgumentType]


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Each p-value for all of them together, at most 1.

    Below a level alpha is, with a chance of at most alpha, any that only chance put there, however they depend
    on each other. (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.)
    """
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected
