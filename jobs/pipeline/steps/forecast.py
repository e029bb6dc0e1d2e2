"""The forecast step: learn what customers do next, measure it on the test window, and forecast every user."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet
import structlog
from pydantic import TypeAdapter

from features.user_forecasts import USER_FORECASTS, user_forecasts
from jobs.pipeline.context import RunContext
from jobs.pipeline.order_history import item_categories, read_bucket, read_sample
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import FEATURES, FORECASTS
from jobs.pipeline.steps.features import ROW_GROUP_ROWS
from recsys.data.splits import time_split
from recsys.evaluation.report.forecast_contents import ForecastSummary
from recsys.files import read_json, write_json
from recsys.models.customer_forecasts.forecasts import (
    CustomerForecasts,
    ForecastConfig,
    learn_forecasts,
)
from recsys.models.customer_forecasts.measurement import measure_forecasts
from recsys.schema import USER_ID

log = structlog.get_logger(__name__)

FORECASTS_FILE: Final = "user_forecasts.parquet"
SUMMARY_FILE: Final = "summary.json"


def forecast_customers(context: RunContext) -> RunContext:
    """Write a forecast of each user with an event, the models behind it, and how good they were on the test window.

    What the history is too short for is null, and the summary says why.
    """
    if context.settings.forecasts.enabled:
        context.write_outputs({FORECASTS: partial(_write, context=context)}, "forecast what customers do next")
    return context


def read_forecasts(run: Run) -> ForecastSummary | None:
    """Read what was forecast and how well; None if forecasts are off."""
    file = run.directory / FORECASTS / SUMMARY_FILE
    return TypeAdapter(ForecastSummary).validate_python(read_json(file)) if file.exists() else None


def _write(directory: Path, context: RunContext) -> None:
    run, settings = context.run, context.settings
    config = ForecastConfig(max_users=settings.forecasts.max_users, seed=settings.seed)
    categories = item_categories(context.lake, run.as_of, settings.forecasts.category_level)
    history = read_sample(context.lake, run.as_of, categories, config.max_users, config.seed)
    learned = learn_forecasts(history, config)
    learned.save(directory)
    users = _write_table(directory / FORECASTS_FILE, context, learned, categories)
    test_start = time_split(run.as_of, settings.evaluation).validation_end
    screened = read_sample(context.lake_as_of(test_start), run.as_of, categories, config.max_users, config.seed)
    scores = measure_forecasts(screened, config, settings.evaluation.test_days)
    summary = ForecastSummary(users, history.users, learned.churn_days, dict(learned.reasons), scores)
    for name, reason in learned.reasons.items():
        log.info("not forecast", run=run.id, forecast=name, reason=reason)
    write_json(directory / SUMMARY_FILE, asdict(summary))


def _write_table(path: Path, context: RunContext, learned: CustomerForecasts, categories: pl.DataFrame) -> int:
    """Write the forecasts of the users of the run's profiles, bucket by bucket; return the number of users."""
    run, lake, users = context.run, context.lake, 0
    profiles = run.directory / FEATURES / "user_profile"
    empty = pl.DataFrame(schema={feature.name: feature.dtype for feature in USER_FORECASTS})
    schema = empty.to_arrow().schema
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as out:
        for bucket in range(lake.buckets):
            history = read_bucket(lake, bucket, run.as_of, categories)
            known = pl.scan_parquet(profiles / f"bucket={bucket:02d}.parquet", hive_partitioning=False)
            forecasts = learned.forecast(history.orders, history.lines, run.as_of).lazy()
            joined = known.select(USER_ID).join(forecasts, on=USER_ID, how="left", maintain_order="left")
            table = user_forecasts(joined).collect()
            out.write_table(table.to_arrow().cast(schema), row_group_size=ROW_GROUP_ROWS)
            users += len(table)
    return users
