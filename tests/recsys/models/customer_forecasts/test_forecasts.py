"""Test forecasts on a simulated shop whose customers order at random, at rates that are known."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.models.customer_forecasts.forecasts import (
    CustomerForecasts,
    ForecastConfig,
    OrderHistory,
    learn_forecasts,
)
from recsys.models.customer_forecasts.measurement import measure_forecasts

AS_OF = datetime(2026, 4, 11, tzinfo=UTC)
USERS = 240
DAYS = 260.0
CONFIG = ForecastConfig(cuts=4, trees=25, leaves=7, learning_rate=0.15, category_examples=4_000)


@cache
def make_history() -> OrderHistory:
    """Half of the users order every four days on average, the others every forty; each buys of one category."""
    generator = np.random.default_rng(0)
    orders: list[tuple[str, float, float, int]] = []
    lines: list[tuple[str, float, str]] = []
    for user in range(USERS):
        ages = DAYS - np.cumsum(generator.exponential(4 if user % 2 else 40, size=200))
        for age in ages[ages > 0]:
            orders.append((f"u{user:03d}", age, 10.0 * (1 + user % 3), 1))
            lines.append((f"u{user:03d}", age, "tea>green" if user % 5 else "jam"))
    order_schema = {"user_id": pl.String, "age_days": pl.Float64, "amount": pl.Float64, "items": pl.UInt32}
    line_schema = {"user_id": pl.String, "age_days": pl.Float64, "category": pl.String}
    return OrderHistory(
        pl.DataFrame(orders, schema=order_schema, orient="row"),
        pl.DataFrame(lines, schema=line_schema, orient="row"),
        DAYS,
    )


@cache
def learn() -> CustomerForecasts:
    return learn_forecasts(make_history(), CONFIG)


def forecast() -> pl.DataFrame:
    history = make_history()
    return learn().forecast(history.orders, history.lines, AS_OF)


def test_probabilities_are_those_of_the_process():
    table = forecast().with_columns(is_frequent=pl.col("user_id").str.tail(1).cast(pl.Int32) % 2 == 1)
    means = (
        table.group_by("is_frequent")
        .agg(pl.col("p_order_7d", "p_order_28d", "churn_risk").mean())
        .sort("is_frequent")
    )
    rare, frequent = means.rows(named=True)
    for row, mean_gap in ((rare, 40), (frequent, 4)):
        assert row["p_order_7d"] == pytest.approx(1 - np.exp(-7 / mean_gap), abs=0.06)
        assert row["p_order_28d"] == pytest.approx(1 - np.exp(-28 / mean_gap), abs=0.06)


def test_horizons_are_monotone_and_times_in_order_and_not_in_the_past():
    table = forecast()
    assert (table["p_order_7d"] <= table["p_order_28d"]).all()
    assert (table["next_order_from"] >= AS_OF).all()
    assert (table["next_order_from"] <= table["next_order_at"]).all()
    ended = table.drop_nulls("next_order_until")
    assert (ended["next_order_at"] <= ended["next_order_until"]).all()
    median = (table["next_order_at"].drop_nulls() - AS_OF).dt.total_seconds() / 86_400
    assert median.min() == pytest.approx(4 * np.log(2), abs=1.5)


def test_categories_and_spend_follow_the_user():
    table = forecast()
    best = table["category_propensity"].list.first().struct.unnest()
    is_jam = table["user_id"].str.tail(3).cast(pl.Int32) % 5 == 0
    assert (best["path"].list.join(">") == "jam").equals(is_jam, null_equal=False)
    assert table["category_propensity"].list.len().unique().to_list() == [2]
    frequent = table.filter(pl.col("user_id").is_in(["u001", "u003", "u005"]))
    assert frequent["expected_spend_90d"].to_numpy() == pytest.approx(np.array([20, 10, 30]) * 90 / 4, rel=0.35)


def test_the_same_history_gives_the_same_files(tmp_path: Path):
    for name, learned in (("one", learn()), ("two", learn_forecasts(make_history(), CONFIG))):
        (tmp_path / name).mkdir()
        learned.save(tmp_path / name)
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_forecasts_beat_their_baselines_and_are_calibrated():
    scores = measure_forecasts(make_history(), CONFIG, 28)
    by_name = {score.name: score for score in scores.probabilities}
    week = by_name["an order within 7 days"]
    assert week.forecasts == USERS
    assert week.auc > week.baseline_auc - 0.02
    mean = sum(each.probability * each.forecasts for each in week.calibration) / week.forecasts
    assert mean == pytest.approx(week.share, abs=0.08)
    assert by_name["an order from a category within 28 days"].auc > 0.9
    capped, time, spend = scores.amounts
    assert capped.error < min(capped.baseline_errors.values())
    assert time.users <= capped.users
    assert spend.mean_forecast == pytest.approx(spend.mean_actual, rel=0.15)
    assert scores.interval_coverage == pytest.approx(0.8, abs=0.08)


def test_a_user_alone_and_a_short_history_say_why_nothing_is_forecast():
    history = make_history()
    alone = OrderHistory(history.orders.filter(user_id="u001"), history.lines.filter(user_id="u001"), DAYS)
    learned = learn_forecasts(alone, CONFIG)
    assert set(learned.reasons) == {"next_order", "spend", "categories"}
    assert learned.forecast(alone.orders, alone.lines, AS_OF).columns == ["user_id"]
    young = learn_forecasts(history.before(DAYS - 50), CONFIG)
    assert young.reasons["next_order"] == "orders go back 50 days, and 56 are needed"
    assert measure_forecasts(history.before(DAYS - 50), CONFIG, 28).probabilities == ()
    empty = OrderHistory(history.orders.clear(), history.lines.clear(), 0)
    assert learn_forecasts(empty, CONFIG).forecast(empty.orders, empty.lines, AS_OF).is_empty()


def test_a_shop_without_prices_and_categories_still_has_probabilities():
    history = make_history()
    bare = OrderHistory(
        history.orders.with_columns(amount=pl.lit(None, pl.Float64)), history.lines.clear(), history.days
    )
    learned = learn_forecasts(bare, CONFIG)
    assert learned.reasons == {
        "spend": "no order has a price",
        "categories": "fewer than two categories were ordered from",
    }
    assert learned.forecast(bare.orders, bare.lines, AS_OF)["p_order_7d"].is_between(0, 1).all()
