"""Metrics of detectors: F1 of the flagged users, and the area under the ROC curve of scores."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Flags = NDArray[np.bool_]


def f1_score(flagged: Flags, positive: Flags) -> float:
    """Compute the harmonic mean of precision and recall of `flagged`, (users,), for the users in `positive`.

    >>> f1_score(np.array([True, True, False, False]), np.array([True, False, True, False]))
    0.5
    """
    return float(2 * (flagged & positive).sum() / (flagged.sum() + positive.sum()))


def area_under_roc(scores: NDArray[np.float64], positive: Flags) -> float:
    """Compute the probability that a positive user scores above a negative one, (users,) each; ties count half.

    >>> area_under_roc(np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False]))
    0.875
    """
    positives = int(positive.sum())
    wins = float(rankdata(scores)[positive].sum()) - positives * (positives + 1) / 2
    return wins / (positives * (len(positive) - positives))
