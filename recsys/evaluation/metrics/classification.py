"""Accuracy and calibration of a classifier with several category levels."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.ids import UNKNOWN, Rows

Numbers = NDArray[np.floating]
Mask = NDArray[np.bool_]

BINS: Final = 15
CONFIDENCES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class LevelMeasurement:
    """The accuracy of the classifier of one category level on held-out labeled items."""

    level: int
    """1 is the root level."""
    classes: int
    """The number of categories it can propose; the others have too few training items."""
    accuracy: float
    """Top-1 accuracy; an item of a category that the classifier cannot propose counts as an error."""
    macro_f1: float
    """Unweighted mean of the F1 of the items' categories."""
    calibration_error: float
    """Expected calibration error."""
    uncalibrated_error: float
    """Expected calibration error before temperature scaling."""
    most_frequent_accuracy: float
    """Accuracy of the most frequent category as the prediction for all items."""
    propagation_accuracy: float
    """Accuracy of label propagation over the graph."""


@dataclass(frozen=True)
class ProposalsAtThreshold:
    """Coverage and accuracy of the proposals at one confidence threshold, on held-out labeled items."""

    confidence: float
    coverage: float
    """Share of the items that get a proposal."""
    accuracy: float | None
    """Share of the proposals that are correct down to their level; None without proposals."""
    mean_level: float | None
    """Mean category level of the proposals; None without proposals."""


@dataclass(frozen=True)
class CategoryMeasurement:
    """The accuracy of the proposed categories on held-out labeled items."""

    learned_from: int
    calibrated_on: int
    measured_on: int
    levels: tuple[LevelMeasurement, ...]
    proposals: tuple[ProposalsAtThreshold, ...]
    """By ascending confidence threshold; each item gets the deepest level that reaches the threshold."""


def macro_f1(labels: Rows, proposed: Rows) -> float:
    """Average the F1 over the classes in `labels`: 2 x hits / (items of the class + items proposed for it)."""
    classes = int(max(labels.max(), proposed.max())) + 1
    hits, items, predictions = (
        np.bincount(rows, minlength=classes) for rows in (labels[labels == proposed], labels, proposed)
    )
    has_items = items > 0
    return float(np.mean(2 * hits[has_items] / (items + predictions)[has_items]))


def calibration_error(confidence: Numbers, is_correct: Mask, bins: int = BINS) -> float:
    """Compute the expected calibration error: |accuracy - mean confidence| per bin, weighted by the bin's items.

    Bins have equal width. Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning" (AAAI 2015).
    """
    bin_rows = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_rows, is_correct.astype(np.float64) - confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))


def deepest_confident_level(confidence: Numbers, threshold: float) -> Rows:
    """Find the deepest level whose `confidence` (levels, items) is at least `threshold`, or `UNKNOWN`, (items,).

    >>> deepest_confident_level(np.array([[0.9, 0.9, 0.4], [0.2, 0.6, 0.1]]), 0.5).tolist()
    [0, 1, -1]
    """
    levels = np.arange(len(confidence), dtype=np.int32)[:, None]
    return np.where(confidence >= threshold, levels, np.int32(UNKNOWN)).max(axis=0)


def measure_proposals(
    confidence: Numbers, is_correct: Mask, depths: Rows, threshold: float
) -> ProposalsAtThreshold:
    """Measure coverage and accuracy of proposals of the deepest level whose confidence is at least `threshold`.

    All arrays are (levels, items): the confidence of each level's proposal, its correctness and its level.
    """
    deepest = deepest_confident_level(confidence, threshold)
    items = np.flatnonzero(deepest != UNKNOWN)
    if len(items) == 0:
        return ProposalsAtThreshold(threshold, 0, None, None)
    proposed = deepest[items], items
    return ProposalsAtThreshold(
        threshold, len(items) / len(deepest), float(is_correct[proposed].mean()), float(depths[proposed].mean())
    )
