"""Forecasts of customers on real shops: how good they are beside simple baselines, and what they cost."""

import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jobs.demo.complete_journey import AS_OF, EXAMPLE, demo_directory
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake, open_lake
from jobs.pipeline.order_history import item_categories, read_bucket, read_sample
from recsys.evaluation.metrics.forecasts import ForecastScores
from recsys.models.customer_forecasts.forecasts import ForecastConfig, learn_forecasts
from recsys.models.customer_forecasts.measurement import measure_forecasts
from recsys.settings import load_settings

SHARED: Final = Path(__file__).parent.parent.parent.parent.parent / "shared" / "data"
TEST_DAYS: Final = 28
MIN_AREAS: Final = {"an order within 7 days": 0.85, "no order within 28 days": 0.87}
"""Area under the ROC curve on Complete Journey, at least."""


@dataclass(frozen=True)
class Shop:
    """A shop's settings and data, and the end of its history."""

    settings: Path
    data: Path
    as_of: datetime


SHOPS: Final = {
    "complete_journey": Shop(EXAMPLE, demo_directory(), AS_OF),
    "online_retail": Shop(
        EXAMPLE.with_name("online_retail.toml"), SHARED / "online_retail", datetime(2011, 12, 10, tzinfo=UTC)
    ),
}


def forecasts(work: Path) -> Iterator[tuple[str, Any]]:
    """Measure the forecasts of each shop on its last weeks, and the processor time of what a nightly run does."""
    for name, shop in SHOPS.items():
        if not shop.data.is_dir():
            print(f"\nthe data of {name} is not at {shop.data}")
            continue
        settings = replace(load_settings(shop.settings, {}), directory=work / name)
        lake = open_lake(settings)
        ingest((str(shop.data),), settings.sources, lake, shop.as_of)
        yield from _measure(name, lake.by_group(), shop.as_of)


def _measure(name: str, lake: Lake, as_of: datetime) -> Iterator[tuple[str, Any]]:
    config, started = ForecastConfig(), time.process_time()
    categories = item_categories(lake, as_of, level=2)
    history = read_sample(lake, as_of, categories, config.max_users, config.seed)
    learned = learn_forecasts(history, config)
    for bucket in range(lake.buckets):
        orders = read_bucket(lake, bucket, as_of, categories)
        learned.forecast(orders.orders, orders.lines, as_of)
    nightly = time.process_time() - started
    scores = measure_forecasts(history, config, TEST_DAYS)
    seconds, memory = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"\n{name}: {seconds:.0f} s of processor time, {nightly:.0f} s of it without measuring; {memory:,.0f} MB")
    for missing, reason in learned.reasons.items():
        print(f"not forecast: {missing}: {reason}")
    _print_scores(name, scores)
    yield name, {"cpu seconds": seconds, "peak MB": memory, **asdict(scores)}


def _print_scores(name: str, scores: ForecastScores) -> None:
    targets = MIN_AREAS if name == "complete_journey" else {}
    print("\n| forecast | came true | AUC | baseline | F1 | baseline | calibration error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for each in scores.probabilities:
        missed = "**missed** " if each.auc < targets.get(each.name, 0) else ""
        print(
            f"| {each.name} | {each.share:.1%} of {each.forecasts:,} | {missed}{each.auc:.3f} "
            f"| {each.baseline_auc:.3f} | {each.f1:.3f} | {each.baseline_f1:.3f} | {each.calibration_error:.3f} |"
        )
    print("\n| amount | users | mean absolute error | mean forecast | mean | baselines |")
    print("| --- | --- | --- | --- | --- | --- |")
    for each in scores.amounts:
        baselines = ", ".join(f"{key} {error:.2f}" for key, error in each.baseline_errors.items())
        print(
            f"| {each.name}, {each.unit} | {each.users:,} | {each.error:.2f} | {each.mean_forecast:.2f} "
            f"| {each.mean_actual:.2f} | {baselines} |"
        )
    if scores.interval_coverage is not None:
        print(f"{scores.interval_coverage:.1%} of the known next orders are between the 10 % and 90 % quantiles")
