"""Popular lists for users without history, on three shops: which is chosen, and what each is worth later."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jobs.demo.complete_journey import demo_directory
from jobs.pipeline.new_users import CANDIDATES, choose_list, rank_for_new_users, score_items
from recsys.data.interactions import MICROSECONDS_PER_DAY, build_interactions
from recsys.evaluation.ground_truth import Relevance, build_ground_truth
from recsys.evaluation.metrics.ranking import Values, evaluate_lists
from recsys.schema import CONFIDENCE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from recsys.settings import Settings

DATA = Path(__file__).parents[4] / "shared" / "data"
SETTINGS = replace(Settings(), repeat="allow")
METRIC = SETTINGS.evaluation.metric
NO_GOODS = ("POST", "DOT", "C2", "M", "D", "S", "B", "CRUK")
EVENT_WEIGHTS = {"view": 1.0, "cart": 3.0, "purchase": 5.0}


def new_users(_scratch: Path) -> dict[str, Any]:
    """Choose a list on one window of each shop, and measure all candidates on it and on the next one."""
    figures: dict[str, Any] = {}
    for name, read in SHOPS.items():
        events, end, days = read()
        cut = end - timedelta(days=days)
        validation, test = _measure(events, cut, days), _measure(events, end, days)
        figures[name] = {
            "chosen": choose_list(validation, SETTINGS),
            "validation": _summarize(validation),
            "test": _summarize(test),
        }
        print(name, figures[name])
    return figures


def _measure(events: pl.DataFrame, end: datetime, days: float) -> dict[str, Values]:
    """Return the metric of each candidate for each user without events before the window that ends at `end`."""
    start = end - timedelta(days=days)
    before = events.filter(pl.col(TIMESTAMP) < start).sort(TIMESTAMP, USER_ID, ITEM_ID)
    age = (pl.lit(start) - pl.col(TIMESTAMP)).dt.total_microseconds() / MICROSECONDS_PER_DAY
    confidence = pl.col(WEIGHT) * 0.5 ** (age / SETTINGS.sources.half_life_days)
    pairs = before.group_by(USER_ID, ITEM_ID).agg(confidence.sum().alias(CONFIDENCE)).sort(USER_ID, ITEM_ID)
    known = build_interactions(pairs, before, start)
    inside = events.filter(pl.col(TIMESTAMP).is_between(start, end, closed="left"))
    relevant = inside.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID)
    truth = build_ground_truth(relevant, known, SETTINGS.evaluation, None).new
    return {
        name: _values(rank_for_new_users(score_items(name, known, SETTINGS), SETTINGS), truth)
        for name in CANDIDATES
    }


def _values(ranked: np.ndarray[Any, np.dtype[np.int32]], truth: Relevance) -> Values:
    lists = np.broadcast_to(ranked, (len(truth.relevant_counts), len(ranked)))
    cutoffs = (SETTINGS.evaluation.cutoff,)
    return evaluate_lists(lists, truth.relevant, truth.relevant_counts, cutoffs)[METRIC]


def _summarize(values: dict[str, Values]) -> dict[str, float]:
    users = len(next(iter(values.values())))
    return {"users": users, **{name: round(float(each.mean()), 4) for name, each in values.items() if users}}


def _online_retail() -> tuple[pl.DataFrame, datetime, float]:
    """Read the purchases of registered customers up to the end of November, and windows of four weeks."""
    customer, item = pl.col("CustomerID").cast(pl.String), pl.col("StockCode").cast(pl.String).str.to_uppercase()
    is_sale = ~pl.col("InvoiceNo").cast(pl.String).str.starts_with("C") & (pl.col("Quantity") > 0)
    events = (
        pl.scan_parquet(DATA / "online_retail" / "online_retail.parquet")
        .filter(pl.col("CustomerID").is_not_null() & is_sale & (pl.col("UnitPrice") > 0))
        .select(
            customer.alias(USER_ID), item.alias(ITEM_ID), _utc(pl.col("InvoiceDate")), pl.lit(1.0).alias(WEIGHT)
        )
        .filter(~pl.col(ITEM_ID).is_in(NO_GOODS))
        .collect()
    )
    return events, datetime(2011, 12, 1, tzinfo=UTC), 28


def _rees46() -> tuple[pl.DataFrame, datetime, float]:
    """Read one night of a shop, and windows of a quarter of it."""
    weight = pl.col("event_type").replace_strict(EVENT_WEIGHTS, default=None, return_dtype=pl.Float64)
    time = pl.col("event_time").str.strip_suffix(" UTC").str.to_datetime(time_unit="us")
    events = (
        pl.read_csv(DATA / "rees46" / "events.csv", ignore_errors=True, truncate_ragged_lines=True)
        .select(
            pl.col("user_id").cast(pl.String).alias(USER_ID),
            pl.col("product_id").cast(pl.String).alias(ITEM_ID),
            _utc(time),
            weight.alias(WEIGHT),
        )
        .drop_nulls()
    )
    first, last = events.select(pl.min(TIMESTAMP), pl.max(TIMESTAMP).alias("last")).row(0)
    return events, last + timedelta(seconds=1), (last - first).total_seconds() / 86_400 / 4


def _complete_journey() -> tuple[pl.DataFrame, datetime, float]:
    """Read the purchases of the demo's year, and windows of four weeks."""
    user, item = pl.col("household_id").cast(pl.String), pl.col("product_id").cast(pl.String)
    events = pl.read_parquet(demo_directory() / "transactions.parquet").select(
        user.alias(USER_ID), item.alias(ITEM_ID), _utc(pl.col("transaction_timestamp")), pl.lit(1.0).alias(WEIGHT)
    )
    return events, datetime(2018, 1, 1, tzinfo=UTC), 28


def _utc(time: pl.Expr) -> pl.Expr:
    return time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(TIMESTAMP)


Shop = tuple[pl.DataFrame, datetime, float]
SHOPS: dict[str, Callable[[], Shop]] = {
    "online_retail": _online_retail,
    "rees46": _rees46,
    "complete_journey": _complete_journey,
}
"""Shop -> events, the end of the test window, and the days of the test and of the validation window before it."""
