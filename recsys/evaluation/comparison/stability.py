"""Whether the ranking of models lasts from one window in time to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.evaluation.metrics.ranking import Values


@dataclass(frozen=True)
class FoldStatistics:
    """One model over several windows."""

    name: str
    mean: float
    spread: float
    """Standard deviation from window to window."""
    lowest: float
    highest: float
    wins: int
    """Windows on which no other model was better."""


def summarize_folds(folds: Sequence[Mapping[str, float]]) -> tuple[FoldStatistics, ...]:
    """Every model over two folds or more, each a model's name -> its metric, the best mean first."""
    best = [max(fold.values()) for fold in folds]
    models = [
        FoldStatistics(
            name=name,
            mean=float(np.mean(values)),
            spread=float(np.std(values, ddof=1)),
            lowest=min(values),
            highest=max(values),
            wins=sum(found == highest for found, highest in zip(values, best, strict=True)),
        )
        for name in folds[0]
        for values in ([fold[name] for fold in folds],)
    ]
    return tuple(sorted(models, key=lambda model: (-model.mean, model.name)))


def concordance(folds: Sequence[Mapping[str, float]]) -> float:
    """Kendall's W of the folds' rankings: 1 when all are the same, near 0 when they have nothing in common.

    Equal models share a rank; the formula is the one without ties. 1 for a single model. (Kendall and Babington
    Smith, "The Problem of m Rankings", 1939.)
    """
    names = sorted(folds[0])
    models = len(names)
    if models < 2:
        return 1.0
    ranks = np.array([_ranks(np.array([fold[name] for name in names])) for fold in folds])
    deviations = ranks.sum(axis=0) - len(folds) * (models + 1) / 2
    return float(12 * (deviations**2).sum() / (len(folds) ** 2 * (models**3 - models)))


def _ranks(values: Values) -> Values:
    """1 for the highest; equal values share the mean of their ranks."""
    above = (values[None, :] > values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return above + (equal + 1) / 2
