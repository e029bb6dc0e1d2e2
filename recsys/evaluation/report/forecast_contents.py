"""The contents of the report about what customers will do next, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.evaluation.metrics.forecasts import ForecastScores


@dataclass(frozen=True)
class ForecastSummary:
    """The forecasts of what customers do next, and how good they were."""

    users: int
    """Users with an event."""
    learned_from: int
    """Users with an order that the models were learned from."""
    churn_days: int | None
    """Days without an order after which a customer counts as lost; None if none can be told."""
    reasons: Mapping[str, str]
    """Forecast -> why there is none."""
    scores: ForecastScores
