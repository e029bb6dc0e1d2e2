"""Stability of the models' ranking over consecutive windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.evaluation.metrics.ranking import Values


@dataclass(frozen=True)
class FoldStatistics:
    """Statistics of one model's metric over several windows."""

    name: str
    mean: float
    spread: float
    """Sample standard deviation over the windows."""
    lowest: float
    highest: float
    wins: int
    """The number of windows on which no other model is better."""


def summarize_folds(folds: Sequence[Mapping[str, float]]) -> tuple[FoldStatistics, ...]:
    """Summarize each model over two or more folds, the best mean first; a fold maps model names to the metric."""
    best = [max(fold.values()) for fold in folds]
    models = [
        FoldStatistics(
            name=name,
            mean=float(np.mean(values)),
            spread=float(np.std(values, ddof=1)),
            lowest=min(values),
            highest=max(values),
            wins=sum(value == highest for value, highest in zip(values, best, strict=True)),
        )
        for name in folds[0]
        for values in ([fold[name] for fold in folds],)
    ]
    return tuple(sorted(models, key=lambda model: (-model.mean, model.name)))


def concordance(folds: Sequence[Mapping[str, float]]) -> float:
    """Compute Kendall's W of the folds' rankings: 1 for identical rankings, near 0 for unrelated ones.

    Tied models share a mean rank, without the correction for ties. W is 1 for a single model.
    Source: Kendall and Babington Smith, "The Problem of m Rankings" (1939).
    """
    names = sorted(folds[0])
    models = len(names)
    if models < 2:
        return 1.0
    ranks = np.array([_ranks(np.array([fold[name] for name in names])) for fold in folds])
    deviations = ranks.sum(axis=0) - len(folds) * (models + 1) / 2
    return float(12 * (deviations**2).sum() / (len(folds) ** 2 * (models**3 - models)))


def _ranks(values: Values) -> Values:
    """Rank values from 1 for the highest; ties share their mean rank."""
    above = (values[None, :] > values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return above + (equal + 1) / 2
