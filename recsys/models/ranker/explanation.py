"""Explanation of a trained ranker: the importance of its features, and how the most important ones act."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.models._purchases.purchase_features import Table
from recsys.models.ranker.trees import RankingTrees

MAX_ROWS: Final = 2_000
"""Candidates over which the probability is averaged."""
GRID: Final = np.linspace(0.05, 0.95, 10)
"""Quantiles of a feature at which the probability is computed."""


@dataclass(frozen=True)
class FeatureEffect:
    """The importance of a feature, and the partial dependence of the probability of purchase on it."""

    name: str
    importance: float
    """Share of the gain of all splits."""
    values: tuple[float, ...]
    """Quantiles of the feature in training, ascending; empty for a feature without a plot."""
    probabilities: tuple[float, ...]
    """Mean probability of purchase of all candidates when the feature has each of `values`."""


def explain_trees(
    trees: RankingTrees, names: Sequence[str], features: Table, plotted: int, seed: int
) -> tuple[FeatureEffect, ...]:
    """Return all features, the most important first; `plotted` of them with their partial dependence.

    `features` are candidates of training, (N, len(names)), of which `MAX_ROWS` are drawn. Source of the partial
    dependence: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine" (Annals of Statistics, 2001).
    """
    importance = trees.importance()
    order = np.argsort(-importance, kind="stable")
    drawn = np.random.default_rng(seed).permutation(len(features))[:MAX_ROWS]
    sample = features[np.sort(drawn)]
    return tuple(
        _effect(trees, sample, str(names[column]), int(column), float(importance[column]), place < plotted)
        for place, column in enumerate(order)
    )


def _effect(
    trees: RankingTrees, sample: Table, name: str, column: int, importance: float, is_plotted: bool
) -> FeatureEffect:
    known = sample[~np.isnan(sample[:, column]), column]
    if not is_plotted or not len(known):
        return FeatureEffect(name, importance, (), ())
    values = np.unique(np.quantile(known, GRID, method="nearest"))
    probabilities: list[float] = []
    for value in values:
        changed = sample.copy()
        changed[:, column] = value
        probabilities.append(float(trees.probabilities(changed).mean()))
    return FeatureEffect(name, importance, tuple(values.tolist()), tuple(probabilities))
