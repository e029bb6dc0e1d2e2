"""Quality of forecasts of customers: of probabilities, and of amounts, each beside a simple baseline."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

THRESHOLD: Final = 0.5
BINS: Final = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Forecasts of about the same probability."""

    forecasts: int
    probability: float
    """Mean forecast."""
    share: float
    """Share of the forecasts that came true."""


@dataclass(frozen=True)
class ProbabilityScore:
    """The quality of the probabilities of one event, and of a baseline that orders the same users or pairs."""

    name: str
    baseline: str
    """What the baseline orders by."""
    forecasts: int
    share: float
    """Share of the forecasts whose event came true."""
    auc: float
    baseline_auc: float
    threshold: float
    """Probability from which a forecast counts as a yes."""
    precision: float | None
    """Share of the yes that came true; None without a yes."""
    recall: float
    f1: float
    baseline_f1: float
    """F1 of the baseline when it says yes as often, to those it puts first."""
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]
    """By ascending probability."""


@dataclass(frozen=True)
class AmountScore:
    """The error of one forecast amount or time, and of baselines on the same users."""

    name: str
    unit: str
    users: int
    error: float
    """Mean absolute error."""
    baseline_errors: dict[str, float]
    """Baseline -> mean absolute error."""
    mean_forecast: float
    mean_actual: float


@dataclass(frozen=True)
class ForecastScores:
    """The quality of forecasts on users whose orders after the cut are known."""

    probabilities: tuple[ProbabilityScore, ...] = ()
    amounts: tuple[AmountScore, ...] = ()
    interval_coverage: float | None = None
    """Share of the known next orders that came from the 10 % to the 90 % quantile; None if not measured."""


def area_under_roc(scores: Values, is_true: Mask) -> float:
    """Return the share of pairs of a true and a false case that the scores put in order; equal scores count half.

    0.5 if all cases are true or none is.

    >>> area_under_roc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True]))
    0.875
    """
    true = int(is_true.sum())
    false = len(is_true) - true
    if true == 0 or false == 0:
        return 0.5
    ranks = np.asarray(rankdata(scores), np.float64)
    return float((ranks[is_true].sum() - true * (true + 1) / 2) / (true * false))


def calibration_bins(probabilities: Values, is_true: Mask, bins: int = BINS) -> tuple[CalibrationBin, ...]:
    """Split forecasts by probability into at most `bins` bins of about equal size, equal probabilities in one."""
    order = np.argsort(probabilities, kind="stable")
    ordered = probabilities[order]
    starts = np.searchsorted(ordered, ordered[np.arange(bins) * len(ordered) // bins], "left")
    parts = [part for part in np.split(order, np.unique(starts)) if len(part)]
    return tuple(
        CalibrationBin(len(part), float(probabilities[part].mean()), float(is_true[part].mean())) for part in parts
    )


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Return the mean difference between probability and share, weighted by the forecasts of the bins."""
    total = sum(each.forecasts for each in bins)
    return sum(each.forecasts * abs(each.probability - each.share) for each in bins) / total


def measure_probabilities(
    name: str, probabilities: Values, is_true: Mask, baseline: str, baseline_scores: Values
) -> ProbabilityScore:
    """Measure forecasts, (N,), of whether something happened, (N,), and a baseline that orders the same cases."""
    is_yes = probabilities >= THRESHOLD
    precision, recall, f1 = _precision_recall_f1(is_yes, is_true)
    first = np.zeros(len(is_true), bool)
    first[np.argsort(-baseline_scores, kind="stable")[: int(is_yes.sum())]] = True
    bins = calibration_bins(probabilities, is_true)
    return ProbabilityScore(
        name=name,
        baseline=baseline,
        forecasts=len(is_true),
        share=float(is_true.mean()),
        auc=area_under_roc(probabilities, is_true),
        baseline_auc=area_under_roc(baseline_scores, is_true),
        threshold=THRESHOLD,
        precision=precision,
        recall=recall,
        f1=f1,
        baseline_f1=_precision_recall_f1(first, is_true)[2],
        calibration_error=calibration_error(bins),
        calibration=bins,
    )


def measure_amounts(
    name: str, unit: str, forecasts: Values, actual: Values, baselines: dict[str, Values]
) -> AmountScore:
    """Measure forecasts, (N,), of amounts, (N,), and baselines of the same shape."""
    return AmountScore(
        name=name,
        unit=unit,
        users=len(actual),
        error=float(np.abs(forecasts - actual).mean()),
        baseline_errors={key: float(np.abs(values - actual).mean()) for key, values in baselines.items()},
        mean_forecast=float(forecasts.mean()),
        mean_actual=float(actual.mean()),
    )


def _precision_recall_f1(is_yes: Mask, is_true: Mask) -> tuple[float | None, float, float]:
    hits, yes, true = int((is_yes & is_true).sum()), int(is_yes.sum()), int(is_true.sum())
    return hits / yes if yes else None, hits / true if true else 0.0, 2 * hits / (yes + true) if yes + true else 0.0
