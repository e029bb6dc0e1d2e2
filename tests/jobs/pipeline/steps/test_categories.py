"""The categories step in a run: categories are proposed, measured, joined to the features, reported."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.pipeline import RunResult, advance_run
from jobs.pipeline.step_names import Until
from jobs.pipeline.steps import lists
from jobs.pipeline.steps.catalogue import write_catalogue_file
from jobs.pipeline.steps.categories import read_categories, read_item_features
from jobs.progress import LogProgress
from recsys.settings import Settings, load_settings
from tests.communities import make_communities

AS_OF = datetime(2026, 4, 11, tzinfo=UTC)
ITEMS = 300
HIDDEN = 30  # of which the catalogue has the first half, without a category; the others are left out
Make = Callable[..., Settings]


@pytest.fixture
def make_shop(tmp_path: Path, data_directory: Path) -> Make:
    """Settings of a shop of two communities whose lake is filled."""

    def make(hidden: int = HIDDEN, model: str = "als") -> Settings:
        shop = make_communities(ITEMS, loyalty=0.95, signal=0)
        users, items = shop.positives.nonzero()
        directory = tmp_path / "shop"
        directory.mkdir()
        hours = np.random.default_rng(0).integers(1, 90 * 24, len(users)).tolist()
        pl.DataFrame(
            {
                "user_id": [f"user{user}" for user in users],
                "item_id": [f"item{item:03d}" for item in items],
                "event": "purchase",
                "timestamp": [AS_OF - timedelta(hours=hour) for hour in hours],
            }
        ).write_parquet(directory / "events.parquet")
        shown = [row for row in range(ITEMS) if not hidden // 2 <= row < hidden]
        pl.DataFrame(
            {
                "item_id": [f"item{row:03d}" for row in shown],
                "title": [f"Thing number {row}" for row in shown],
                "category": [[f"aisle {row % 2}"] if row >= hidden else None for row in shown],
            },
            schema_overrides={"category": pl.List(pl.String)},
        ).write_parquet(directory / "items.parquet")
        path = tmp_path / "recsys.toml"
        path.write_text(
            f'models = ["{model}"]\n[model_settings.light_gcn]\nembedding_size = 8\nepochs = 3\n'
            '[anomalies]\nnightly = "off"\n[search]\nmax_trials = 0\n'
        )
        settings = replace(load_settings(path, {}), directory=data_directory)
        ingest((str(directory),), settings.sources, open_lake(settings), AS_OF)
        return settings

    return make


def run(settings: Settings, until: Until = Until.EVALUATE) -> RunResult:
    return advance_run(settings, AS_OF, until, LogProgress())


def test_items_without_a_category_get_one_in_their_features_and_in_the_report(
    make_shop: Make, monkeypatch: pytest.MonkeyPatch
):
    read_by_lists: list[pl.DataFrame] = []

    def spy(directory: Path, interactions: Any, popularity: Any, items: Any, item_features: Any, *others: Any):
        read_by_lists.append(item_features.collect())
        write_catalogue_file(directory, interactions, popularity, items, item_features, *others)

    monkeypatch.setattr(lists, "write_catalogue_file", spy)
    settings = make_shop(model="light_gcn")
    outcome = run(settings)
    features = read_item_features(outcome.run).collect()
    plain = pl.read_parquet(outcome.run.directory / "features" / "item_features.parquet")
    assert features.drop("proposed_category", "proposed_category_confidence").equals(plain)
    assert [table.equals(features) for table in read_by_lists] == [True]
    proposed = features.filter(pl.col("proposed_category").is_not_null())
    hidden = [f"item{row:03d}" for row in range(HIDDEN // 2)]
    assert not set(features["item_id"]) & {f"item{row:03d}" for row in range(HIDDEN // 2, HIDDEN)}
    assert set(proposed["item_id"]) <= set(hidden)
    assert proposed.height >= 13
    assert proposed["proposed_category_confidence"].is_between(0.5, 1).all()
    right = [
        path == [f"aisle {int(item[4:]) % 2}"] for item, path in proposed["item_id", "proposed_category"].rows()
    ]
    assert sum(right) >= 0.9 * len(right)

    result = read_categories(outcome.run)
    assert (result.items_without, result.with_events, result.proposed) == (
        HIDDEN // 2,
        HIDDEN // 2,
        proposed.height,
    )
    assert result.skipped is None
    assert result.measured is not None
    labelled = plain.filter((pl.col("events") > 0) & ~pl.col("item_id").is_in(hidden)).height
    assert result.measured.learned_from + result.measured.calibrated_on + result.measured.measured_on == labelled
    assert len(result.examples) == 10
    confidences = [example.confidence for example in result.examples]
    assert confidences == sorted(confidences, reverse=True)
    assert outcome.report is not None
    page = outcome.report.read_text()
    assert "There are 15 items without a category" in page
    assert f"A category is proposed for {proposed.height} of them" in page
    assert "Example proposals, by descending confidence" in page

    written = (outcome.run.directory / "categories" / "item_categories.parquet").stat().st_mtime_ns
    assert read_categories(run(settings).run) == result
    assert (outcome.run.directory / "categories" / "item_categories.parquet").stat().st_mtime_ns == written


def test_a_run_without_the_graph_model_proposes_nothing_and_says_so(make_shop: Make):
    outcome = run(make_shop())
    assert (
        read_item_features(outcome.run).select("proposed_category").collect()["proposed_category"].is_null().all()
    )
    assert read_categories(outcome.run).skipped is not None
    assert outcome.report is not None
    page = outcome.report.read_text()
    assert "No category is proposed: light_gcn" in page


def test_a_shop_whose_items_all_have_a_category_hears_nothing_of_it(make_shop: Make):
    outcome = run(make_shop(hidden=0))
    assert read_categories(outcome.run).skipped == "every item has a category"
    assert outcome.report is not None
    assert 'id="categories"' not in outcome.report.read_text()


def test_too_few_labels_leave_the_run_as_it_is(make_shop: Make):
    outcome = run(make_shop(hidden=120, model="light_gcn"), Until.TRAIN)
    result = read_categories(outcome.run)
    assert result.skipped == "180 items with events have a category; expected at least 200"
    assert result.proposed == 0
    assert pl.read_parquet(outcome.run.directory / "categories" / "item_categories.parquet").is_empty()
