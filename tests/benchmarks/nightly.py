"""The whole run of the demo, and the accuracy of all models on public splits."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from jobs.demo.complete_journey import demo_directory
from recsys.store.embedded import stop_server
from tests.benchmarks.watch import watch

RECSYS = str(Path(sys.executable).with_name("recsys"))
SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"
CUT = datetime(2017, 12, 4)
GENERAL = (
    "popularity",
    "item_knn",
    "user_knn",
    "rp3beta",
    "slim",
    "ease",
    "gf_cf",
    "bspm",
    "als",
    "ials",
    "bpr",
    "light_gcn",
)
BASKETS = ("tifu_knn", "up_cf", "markov_chain", "next_basket")
MODELS = (*GENERAL, "trending", "repurchase", "buy_again", *BASKETS)

# Targets of a whole run and of the published model; a figure that misses its target is marked.
MAX_TARGETS = {"demo seconds": 300.0, "demo peak MB": 4096.0, "features seconds": 15.0}
MIN_TARGETS = {
    "repeats allowed": {"auto": {"recall@20": 0.157, "ndcg@20": 0.374}},
    "new items only": {"auto": {"recall@20": 0.036, "ndcg@20": 0.054}},
    "gowalla": {
        "auto": {"recall@20": 0.1950, "ndcg@20": 0.1625},
        "light_gcn": {"recall@20": 0.1830, "ndcg@20": 0.1554},
    },
}


def whole_run(work: Path) -> Iterator[tuple[str, float]]:
    """Measure the seconds and the peak memory of the demo, and the seconds of its features."""
    demo = watch([RECSYS, "demo"], _environment(work))  # the run resets its own peak at every step
    assert demo.failed is None, f"the demo {demo.failed}"
    manifest = json.loads(next((work / "demo" / "runs").glob("*/manifest.json")).read_text())
    stop_server(work / "demo" / "valkey")
    figures = {
        "demo seconds": demo.seconds,
        "demo peak MB": demo.peak_bytes / 2**20,
        "features seconds": manifest["steps"]["features"]["seconds"],
    }
    print("| whole run of the demo | target | measured |\n| --- | --- | --- |")
    for name, value in figures.items():
        print(f"| {name} | ≤ {MAX_TARGETS[name]:,.0f} | {_marked(value, value <= MAX_TARGETS[name], '{:,.1f}')} |")
    yield from figures.items()


def accuracy(work: Path) -> Iterator[tuple[str, Any]]:
    journey = work / "complete_journey"
    _split_complete_journey(journey)
    for title, repeat in (("repeats allowed", "allow"), ("new items only", "exclude")):
        name = f"Complete Journey, last 4 weeks, {title}"
        yield name, _benchmark(work, name, journey, MODELS, 20, "--repeat", repeat, targets=MIN_TARGETS[title])
    if not SHARED.is_dir():
        print(f"\nno public data sets at {SHARED}: gowalla and beauty are left out")
        return
    name = "Gowalla, @20, new items only"
    yield (
        name,
        _benchmark(
            work, name, SHARED / "gowalla", GENERAL, 20, "--repeat", "exclude", targets=MIN_TARGETS["gowalla"]
        ),
    )
    name = "Amazon Beauty, last item, @10"
    yield name, _benchmark(work, name, SHARED / "beauty", GENERAL, 10, "--protocol", "last-item")
    name, models = "Ta-Feng, next basket, @10", ("popularity", "repurchase", *BASKETS)
    yield name, _benchmark(work, name, SHARED / "tafeng", models, 10, "--protocol", "last-basket")


def _benchmark(
    work: Path,
    title: str,
    directory: Path,
    models: tuple[str, ...],
    k: int,
    *arguments: str,
    targets: dict[str, dict[str, float]] | None = None,
) -> dict[str, dict[str, float]]:
    """Run one `recsys benchmark` and print a table."""
    out = work / "out.json"
    chosen = [part for model in ("auto", *models) for part in ("--model", model)]
    command = [RECSYS, "benchmark", str(directory), *chosen, "--k", str(k), *arguments, "--json", str(out)]
    subprocess.run(command, env=_environment(work), check=True, stdout=subprocess.DEVNULL)
    figures = json.loads(out.read_text())["models"]
    columns = ("model", f"Recall@{k}", f"NDCG@{k}", "fit s", "rank s", "peak MB")
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name in ("auto", *models):
        measured = figures[name]
        accuracy = [
            _marked(measured[metric], measured[metric] >= (targets or {}).get(name, {}).get(metric, 0), "{:.4f}")
            for metric in (f"recall@{k}", f"ndcg@{k}")
        ]
        shown = f"auto ({measured['chosen']})" if name == "auto" else name
        costs = [f"{measured[cost]:,.1f}" for cost in ("fit_seconds", "recommend_seconds", "peak_memory_mb")]
        print(f"| {' | '.join([shown, *accuracy, *costs])} |", flush=True)
    for name, bars in (targets or {}).items():
        print(f"target of {name}: {', '.join(f'{metric} ≥ {bar:.4f}' for metric, bar in bars.items())}")
    return figures


def _split_complete_journey(directory: Path) -> None:
    """Split at the fourth of December 2017: earlier purchases for training, distinct later pairs for the test.

    The price of an item is its median price before the split.
    """
    directory.mkdir()
    transactions = pl.scan_parquet(demo_directory() / "transactions.parquet")
    sold = pl.col("quantity") > 0, pl.col("sales_value") > 0, pl.col("transaction_timestamp") < CUT
    prices = transactions.filter(*sold).group_by("product_id")
    prices = prices.agg((pl.col("sales_value") / pl.col("quantity")).median().alias("price"))
    products = pl.scan_parquet(demo_directory() / "products.parquet").join(prices, on="product_id", how="left")
    products.sort("product_id").select(
        pl.col("product_id").cast(pl.String).alias("item_id"),
        pl.concat_list("department", "product_category", "product_type").list.drop_nulls().alias("category"),
        pl.format("{} {}", "brand", "manufacturer_id").alias("brand"),
        "price",
    ).sink_parquet(directory / "items.parquet")
    rows = transactions.select(
        pl.col("household_id").alias("user_id"),
        pl.col("product_id").alias("item_id"),
        pl.col("transaction_timestamp").alias("timestamp"),
    )
    rows.filter(pl.col("timestamp") < CUT).sink_parquet(directory / "train.parquet")
    rows.filter(pl.col("timestamp") >= CUT).select("user_id", "item_id").unique().sink_parquet(
        directory / "test.parquet"
    )


def _marked(value: float, reached: bool, form: str) -> str:
    return form.format(value) if reached else f"**missed: {form.format(value)}**"


def _environment(work: Path) -> dict[str, str]:
    return {**os.environ, "RECSYS_DIRECTORY": str(work)}
