"""The forecast step in a run: a row for each user with an event, and a section of the report."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.user_forecasts import USER_FORECASTS
from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.run import open_run
from jobs.pipeline.step_names import FORECASTS
from jobs.pipeline.steps.features import write_features
from jobs.pipeline.steps.forecast import FORECASTS_FILE, forecast_customers, read_forecasts
from jobs.progress import LogProgress
from recsys.settings import Forecasts, Lake, Settings

AS_OF = datetime(2026, 4, 11, tzinfo=UTC)
USERS = 120


def make_lake(tmp_path: Path, days: int, shopper: str = "purchase", is_priced: bool = True) -> Settings:
    """Fill a lake of two buckets with users who order every few days, and one who only looks."""
    generator = np.random.default_rng(0)
    ages = generator.uniform(0, days, 20 * USERS)
    rows = pl.DataFrame(
        {
            "user_id": [f"u{number % USERS:03d}" for number in range(len(ages))],
            "item_id": [f"i{number}" for number in generator.integers(20, size=len(ages))],
            "event": shopper,
            "timestamp": [AS_OF - timedelta(days=age) for age in ages],
            "price": 2.5 if is_priced else None,
        },
        schema_overrides={"price": pl.Float64},
    )
    looked = rows.head(1).with_columns(user_id=pl.lit("looker"), event=pl.lit("view"))
    shop = tmp_path / "shop"
    shop.mkdir()
    pl.concat([rows, looked]).write_parquet(shop / "events.parquet")
    pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(20)],
            "category": [["food", f"shelf {row % 4}"] for row in range(20)],
        }
    ).write_parquet(shop / "items.parquet")
    settings = Settings(
        directory=tmp_path / "var", lake=Lake(buckets=2), forecasts=Forecasts(max_users=200, category_level=2)
    )
    ingest((str(shop),), settings.sources, open_lake(settings), AS_OF)
    return settings


def run_step(settings: Settings) -> tuple[pl.DataFrame, RunContext]:
    lake = open_lake(settings)
    with open_run(settings, lake, AS_OF) as run:
        run.update(left_out={})
        context = RunContext(run, lake, settings, LogProgress())
        write_features(context)
        forecast_customers(context)
        return pl.read_parquet(run.directory / FORECASTS / FORECASTS_FILE), context


def test_every_user_with_an_event_has_a_row(tmp_path: Path):
    settings = make_lake(tmp_path, 200)
    table, context = run_step(settings)
    assert table.schema == {feature.name: feature.dtype for feature in USER_FORECASTS}
    assert table.height == USERS + 1
    assert table["user_id"].is_unique().all()
    looker = table.filter(user_id="looker").drop("user_id")
    assert all(looker[name].is_null().all() for name in looker.columns)
    rest = table.filter(pl.col("user_id") != "looker")
    assert rest.drop("next_order_until", "next_order_at").null_count().sum_horizontal().item() == 0
    assert (rest["next_order_from"] >= AS_OF).all()
    paths = rest["category_propensity"].list.first().struct.field("path").list.join(">")
    assert paths.str.starts_with("food>shelf").all()
    summary = read_forecasts(context.run)
    assert summary is not None
    assert (summary.users, summary.learned_from, dict(summary.reasons)) == (USERS + 1, USERS, {})
    assert [score.name for score in summary.scores.probabilities][:2] == [
        "an order within 7 days",
        "an order within 28 days",
    ]


@pytest.mark.parametrize(
    ("days", "shopper", "reason"),
    [
        (30, "purchase", "orders go back 30 days, and 56 are needed"),
        (200, "view", "forecasts need 100 users with an order, and the shop has 0"),
    ],
)
def test_a_shop_without_history_has_nulls_and_a_reason(tmp_path: Path, days: int, shopper: str, reason: str):
    table, context = run_step(make_lake(tmp_path, days, shopper))
    assert table.height == USERS + 1
    assert table.drop("user_id").null_count().unique().row(0) == (USERS + 1,) * (len(USER_FORECASTS) - 1)
    summary = read_forecasts(context.run)
    assert summary is not None
    assert summary.reasons["next_order"] == reason
    assert summary.scores.probabilities == ()


def test_the_step_can_be_turned_off(tmp_path: Path):
    settings = replace(make_lake(tmp_path, 30), forecasts=Forecasts(enabled=False))
    with open_run(settings, open_lake(settings), AS_OF) as run:
        context = RunContext(run, open_lake(settings), settings, LogProgress())
        forecast_customers(context)
        assert read_forecasts(run) is None
        assert not (run.directory / FORECASTS).exists()
