"""How good a classifier is, and how far its confidence can be believed."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.ids import UNKNOWN, Rows

Numbers = NDArray[np.floating]
Flags = NDArray[np.bool_]

BINS: Final = 15
CONFIDENCES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class LevelMeasurement:
    """The classifier of one level of the categories on labelled items that it did not learn from."""

    level: int
    """1 is the root."""
    classes: int
    """How many categories it may propose; the others have too few items to learn from."""
    accuracy: float
    """Share of the items whose category it names first; an item of a category that it cannot propose is missed."""
    macro_f1: float
    """Mean over the categories of these items, each counting the same."""
    calibration_error: float
    """Expected difference between confidence and accuracy."""
    uncalibrated_error: float
    """The same before the temperature was applied."""
    most_frequent_accuracy: float
    """Accuracy of always naming the most frequent category."""
    propagation_accuracy: float
    """Accuracy of the category that most of the labels name that reach an item over the graph."""


@dataclass(frozen=True)
class ProposalsAtThreshold:
    """Coverage and accuracy of the proposals at one confidence threshold, on held-out labeled items."""

    confidence: float
    coverage: float
    """Share of the items that get a proposal."""
    accuracy: float | None
    """Share of the proposals that are right, as far as they go; None without any."""
    mean_level: float | None
    """How deep they go on average."""


@dataclass(frozen=True)
class CategoryMeasurement:
    """The proposed categories on labelled items that nothing was learned from."""

    learned_from: int
    calibrated_on: int
    measured_on: int
    levels: tuple[LevelMeasurement, ...]
    proposals: tuple[ProposalsAtThreshold, ...]
    """Of the deepest level that is sure enough, by rising confidence."""


def macro_f1(labels: Rows, proposed: Rows) -> float:
    """Average 2 x hits / (items of the class + items it was proposed for) over the classes in `labels`."""
    classes = int(max(labels.max(), proposed.max())) + 1
    hits, items, named = (
        np.bincount(rows, minlength=classes) for rows in (labels[labels == proposed], labels, proposed)
    )
    there = items > 0
    return float(np.mean(2 * hits[there] / (items + named)[there]))


def calibration_error(confidence: Numbers, right: Flags, bins: int = BINS) -> float:
    """The expected calibration error: |accuracy - mean confidence| of bins of equal width, weighed by their items.

    Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (AAAI 2015).
    """
    places = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, right.astype(np.float64) - confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))


def deepest_confident_level(confidence: Numbers, threshold: float) -> Rows:
    """The last row of `confidence` (levels, items) that is at least `threshold`, `UNKNOWN` where none is, (items,).

    >>> deepest_confident_level(np.array([[0.9, 0.9, 0.4], [0.2, 0.6, 0.1]]), 0.5).tolist()
    [0, 1, -1]
    """
    levels = np.arange(len(confidence), dtype=np.int32)[:, None]
    return np.where(confidence >= threshold, levels, np.int32(UNKNOWN)).max(axis=0)


def measure_proposals(confidence: Numbers, right: Flags, depths: Rows, threshold: float) -> ProposalsAtThreshold:
    """Coverage and accuracy of the deepest level whose confidence is at least `threshold`.

    All are (levels, items): the confidence of each level's proposal, whether it is right, how deep it goes.
    """
    deepest = deepest_confident_level(confidence, threshold)
    items = np.flatnonzero(deepest != UNKNOWN)
    if len(items) == 0:
        return ProposalsAtThreshold(threshold, 0, None, None)
    made = deepest[items], items
    return ProposalsAtThreshold(
        threshold, len(items) / len(deepest), float(right[made].mean()), float(depths[made].mean())
    )
