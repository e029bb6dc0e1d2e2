"""Forecasts of what each user does after `as_of`: next order, churn, spend, categories."""

from typing import Final

import polars as pl

from features.feature import Feature, columns
from recsys.schema import TIMESTAMP_DTYPE, USER_ID

CATEGORY_PROPENSITY_DTYPE: Final = pl.List(pl.Struct({"path": pl.List(pl.String), "probability": pl.Float64}))


def _forecast(name: str, dtype: pl.DataType, unit: str, meaning: str) -> Feature:
    return Feature(name, dtype, unit, meaning, pl.col(name))


USER_FORECASTS: Final = (
    _forecast(USER_ID, pl.String(), "id", "User"),
    _forecast(
        "p_order_7d",
        pl.Float64(),
        "0..1",
        "Probability of an order within 7 days after `as_of`; null for users without orders, and in all forecasts "
        "where the shop has too little history to learn from",
    ),
    _forecast(
        "p_order_28d",
        pl.Float64(),
        "0..1",
        "Probability of an order within 28 days, never below that of 7 days: the user is active",
    ),
    _forecast(
        "churn_risk",
        pl.Float64(),
        "0..1",
        "Probability of no order for as long as 90 % of the shop's gaps between orders last, at least 28 days; the "
        "report names the days",
    ),
    _forecast(
        "expected_spend_90d",
        pl.Float64(),
        "currency",
        "Expected sum of price * quantity of the purchases of the next 90 days, before returns",
    ),
    _forecast(
        "next_order_at",
        TIMESTAMP_DTYPE,
        "UTC",
        "Median time of the next order: before it with probability 0.5; null if later than the history can tell",
    ),
    _forecast(
        "next_order_from", TIMESTAMP_DTYPE, "UTC", "Time before which the next order comes with probability 0.1"
    ),
    _forecast(
        "next_order_until", TIMESTAMP_DTYPE, "UTC", "Time before which the next order comes with probability 0.9"
    ),
    _forecast(
        "category_propensity",
        CATEGORY_PROPENSITY_DTYPE,
        "0..1",
        "Up to five category paths, cut at `forecasts.category_level` names, that the user most probably orders "
        "from within 28 days, with the probabilities",
    ),
)


def user_forecasts(forecasts: pl.LazyFrame) -> pl.LazyFrame:
    """Select the columns of `USER_FORECASTS`, null where there is no forecast, sorted by user."""
    given = forecasts.collect_schema().names()
    missing = [pl.lit(None).alias(feature.name) for feature in USER_FORECASTS if feature.name not in given]
    return forecasts.with_columns(missing).select(columns(USER_FORECASTS)).sort(USER_ID)
