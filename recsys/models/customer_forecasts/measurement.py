"""How good forecasts are: learned from what was known at an earlier cut, and compared with what followed."""

from typing import Final

import numpy as np
import polars as pl

from recsys.evaluation.metrics.forecasts import (
    AmountScore,
    ForecastScores,
    ProbabilityScore,
    measure_amounts,
    measure_probabilities,
)
from recsys.models.customer_forecasts.category_propensity import PAST_SHARE, ordered_after, pair_features
from recsys.models.customer_forecasts.cuts import whole_weeks
from recsys.models.customer_forecasts.forecasts import (
    CATEGORIES,
    LONG_DAYS,
    NEXT_ORDER,
    SHORT_DAYS,
    SPEND,
    SPEND_DAYS,
    CustomerForecasts,
    ForecastConfig,
    OrderHistory,
    learn_forecasts,
)
from recsys.models.customer_forecasts.next_order import days_to_order
from recsys.models.customer_forecasts.order_features import (
    AMOUNT,
    GAP_MEAN,
    GAP_MEDIAN,
    RECENCY,
    order_features,
    orders_in,
    spent_in,
)
from recsys.models.customer_forecasts.spend import mean_spend, spend_after
from recsys.models.customer_forecasts.survival import EDGES, Values, quantile, survival_at
from recsys.schema import USER_ID

RECENT_ORDERS: Final = "orders in the last 90 days"
RECENT_SPEND: Final = "spend of the last 90 days"
PAST_SPEND: Final = "mean spend of the past"
MEDIAN_GAP: Final = "last order + median gap, not in the past"
MEAN_GAP: Final = "last order + mean gap"


def measure_forecasts(history: OrderHistory, config: ForecastConfig, test_days: float) -> ForecastScores:
    """Measure forecasts on the latest `test_days` days, and longer ones on the days that they reach.

    Models are learned only from orders before the cut. What the history is too short for is left out.
    """
    short_cut, long_cut = (whole_weeks(max(test_days, days)) for days in (LONG_DAYS, SPEND_DAYS))
    past = history.before(short_cut)
    learned = learn_forecasts(past, config, models=(NEXT_ORDER, CATEGORIES))
    timed = _measure_next_order(history, past, short_cut, learned)
    probabilities = (*timed.probabilities, *_measure_categories(history, past, short_cut, learned))
    churn = learned.churn_days
    if churn is not None and churn > short_cut:
        probabilities = (*probabilities, *_measure_churn(history, whole_weeks(churn), config))
    amounts = (*timed.amounts, *_measure_spend(history, long_cut, config))
    return ForecastScores(probabilities, amounts, timed.interval_coverage)


def _measure_next_order(
    history: OrderHistory, past: OrderHistory, cut: int, learned: CustomerForecasts
) -> ForecastScores:
    if learned.next_order is None:
        return ForecastScores()
    features = order_features(past.orders)
    curve = learned.next_order.survival(features)
    days = days_to_order(history.orders, features[USER_ID], cut)
    recent = features[orders_in(90)].cast(pl.Float64).to_numpy()
    scores = [
        measure_probabilities(
            f"an order within {horizon} days",
            1 - survival_at(curve, horizon),
            days < horizon,
            RECENT_ORDERS,
            recent,
        )
        for horizon in (SHORT_DAYS, LONG_DAYS)
    ]
    if learned.churn_days is not None and learned.churn_days <= cut:
        scores.append(_churn_score(curve, days, learned.churn_days, recent))
    return ForecastScores(
        tuple(scores),
        _measure_time(features, curve, days, cut),
        _interval_coverage(curve, days) if np.isfinite(days).any() else None,
    )


def _measure_churn(history: OrderHistory, cut: int, config: ForecastConfig) -> tuple[ProbabilityScore, ...]:
    """Measure the churn risk of a shop whose cycles are longer than its test window, as of an earlier cut."""
    past = history.before(cut)
    learned = learn_forecasts(past, config, models=(NEXT_ORDER,))
    if learned.next_order is None or learned.churn_days is None or learned.churn_days > cut:
        return ()
    features = order_features(past.orders)
    days = days_to_order(history.orders, features[USER_ID], cut)
    recent = features[orders_in(90)].cast(pl.Float64).to_numpy()
    return (_churn_score(learned.next_order.survival(features), days, learned.churn_days, recent),)


def _churn_score(curve: Values, days: Values, churn_days: int, recent_orders: Values) -> ProbabilityScore:
    is_lost = days >= churn_days
    name = f"no order within {churn_days} days"
    return measure_probabilities(name, survival_at(curve, churn_days), is_lost, RECENT_ORDERS, -recent_orders)


def _measure_time(features: pl.DataFrame, curve: Values, days: Values, cut: int) -> tuple[AmountScore, ...]:
    """Measure the median on users with two orders before the cut: on all, up to the cut's days, and on those back.

    Those who came back within the known days are the early ones, which favors forecasts that are too early.
    """
    median_gap, mean_gap, recency = (
        features[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in (GAP_MEDIAN, GAP_MEAN, RECENCY)
    )
    returned = np.isfinite(days) & np.isfinite(median_gap)
    if not returned.any():
        return ()
    forecast = _within_curve(curve, 0.5)
    baselines = {MEDIAN_GAP: np.maximum(median_gap - recency, 0), MEAN_GAP: mean_gap - recency}
    known = np.isfinite(median_gap)
    ended = {name: np.clip(values[known], 0, cut) for name, values in baselines.items()}
    capped = measure_amounts(
        f"time to the next order, at most {cut} days",
        "days",
        np.minimum(forecast[known], cut),
        np.minimum(days[known], cut),
        ended,
    )
    chosen = {name: values[returned] for name, values in baselines.items()}
    timed = measure_amounts("time to the next order", "days", forecast[returned], days[returned], chosen)
    return capped, timed


def _interval_coverage(curve: Values, days: Values) -> float:
    has_order = np.isfinite(days)
    low, high = (_within_curve(curve, probability) for probability in (0.1, 0.9))
    return float(((days >= low) & (days <= high))[has_order].mean())


def _within_curve(curve: Values, probability: float) -> Values:
    """Return the quantile; the end of the curve where it is later."""
    return np.nan_to_num(quantile(curve, probability), nan=float(EDGES[curve.shape[1] - 1]))


def _measure_categories(
    history: OrderHistory, past: OrderHistory, cut: int, learned: CustomerForecasts
) -> tuple[ProbabilityScore, ...]:
    if learned.categories is None or learned.rates is None:
        return ()
    probabilities = learned.categories.predict(past.orders, past.lines, learned.rates)
    pairs = pair_features(order_features(past.orders), past.lines, learned.rates)
    ordered = ordered_after(pairs, history.lines, cut, LONG_DAYS)
    name = f"an order from a category within {LONG_DAYS} days"
    share = pairs[PAST_SHARE].to_numpy()
    return (measure_probabilities(name, probabilities.ravel(), ordered, "share of the past orders", share),)


def _measure_spend(history: OrderHistory, cut: int, config: ForecastConfig) -> tuple[AmountScore, ...]:
    past = history.before(cut)
    model = learn_forecasts(past, config, models=(SPEND,)).spend
    if model is None or history.orders[AMOUNT].count() == 0:
        return ()
    features = order_features(past.orders)
    actual = spend_after(history.orders, features[USER_ID], cut, SPEND_DAYS)
    recent = features[spent_in(90)].cast(pl.Float64).to_numpy()
    baselines = {PAST_SPEND: mean_spend(features, SPEND_DAYS), RECENT_SPEND: recent}
    name = f"spend in {SPEND_DAYS} days"
    return (measure_amounts(name, "currency", model.predict(features), actual, baselines),)
