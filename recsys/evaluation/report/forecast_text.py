"""The report's sentences about forecasts of customers."""

from recsys.evaluation.metrics.forecasts import ForecastScores
from recsys.evaluation.report.forecast_contents import ForecastSummary
from recsys.evaluation.report.formatting import count_noun, format_integer, format_percent, join_words

MODEL_NAMES = {
    "next_order": "the next order",
    "spend": "spend",
    "categories": "categories",
    "churn": "churn",
}


def forecasts_sentence(summary: ForecastSummary) -> str:
    """State for how many users there are forecasts, what they are learned from, and when a customer is lost."""
    if len(summary.reasons) and not _has_any(summary):
        return f"Nothing is forecast: {_reasons(summary)}."
    learned = (
        f"The forecasts are learned from {count_noun(summary.learned_from, 'user')} with orders, as of earlier "
        f"moments, and made for {format_integer(summary.users)}."
    )
    churn = (
        f" A customer counts as lost after {summary.churn_days} days without an order: as long as 90% of the "
        "shop's gaps between orders last, and at least 28 days."
        if summary.churn_days is not None
        else ""
    )
    missing = f" Not all is forecast: {_reasons(summary)}." if summary.reasons else ""
    return f"{learned}{churn}{missing}"


def scores_sentence(scores: ForecastScores) -> str:
    """State what the forecasts were compared with, and how they did beside their baselines."""
    if not scores.probabilities and not scores.amounts:
        return "The history is too short to measure forecasts: they need as much time after a moment as they span."
    better = sum(score.auc > score.baseline_auc for score in scores.probabilities)
    sentence = (
        "Forecasts learned from the time before were compared with what users then did. "
        f"{better} of {count_noun(len(scores.probabilities), 'forecast')} of a probability "
        f"{'has' if better == 1 else 'have'} a higher AUC than a simple baseline."
    )
    if scores.interval_coverage is None:
        return sentence
    return (
        f"{sentence} {format_percent(scores.interval_coverage)} of the next orders that are known came between the "
        "10% and the 90% quantile of their forecast."
    )


def calibration_sentence(scores: ForecastScores) -> str:
    """Name the forecast of a probability whose calibration is the worst."""
    worst = max(scores.probabilities, key=lambda score: score.calibration_error)
    return (
        "Each dot is a tenth of the forecasts: on the line, as many come true as were forecast. The largest mean "
        f"difference, {format_percent(worst.calibration_error)}, is that of “{worst.name}”."
    )


def _has_any(summary: ForecastSummary) -> bool:
    return not {"next_order", "spend", "categories"} <= set(summary.reasons)


def _reasons(summary: ForecastSummary) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in summary.reasons.items():
        by_reason.setdefault(reason, []).append(MODEL_NAMES.get(name, name))
    return "; ".join(f"{join_words(names)}, because {reason}" for reason, names in by_reason.items())
