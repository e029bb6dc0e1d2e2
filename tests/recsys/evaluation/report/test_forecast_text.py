"""Test the sentences about forecasts of customers."""

from dataclasses import replace

from recsys.evaluation.metrics.forecasts import ForecastScores
from recsys.evaluation.report.forecast_text import calibration_sentence, forecasts_sentence, scores_sentence
from tests.reports import make_forecasts

FORECASTS = make_forecasts()


def test_what_is_missing_is_stated_with_its_reason():
    assert forecasts_sentence(FORECASTS) == (
        "The forecasts are learned from 2,400 users with orders, as of earlier moments, and made for 2,469. A "
        "customer counts as lost after 28 days without an order: as long as 90% of the shop's gaps between orders "
        "last, and at least 28 days. Not all is forecast: spend, because no order has a price; categories, because "
        "orders go back 50 days, and 56 are needed."
    )
    nothing = replace(
        FORECASTS, reasons=dict.fromkeys(("next_order", "spend", "categories"), "there are no orders")
    )
    assert forecasts_sentence(nothing) == (
        "Nothing is forecast: the next order, spend and categories, because there are no orders."
    )


def test_scores_are_compared_with_baselines():
    assert "1 of 2 forecasts of a probability has a higher AUC" in scores_sentence(FORECASTS.scores)
    assert scores_sentence(ForecastScores()).startswith("The history is too short to measure forecasts")
    assert "that of “no order within 28 days”" in calibration_sentence(FORECASTS.scores)
