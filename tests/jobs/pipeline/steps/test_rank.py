"""A second stage in a run: trained before one window, measured on both, and published when it is accepted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake, open_lake
from jobs.pipeline import second_stage
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.search.memory import read_nights
from jobs.pipeline.step_names import TEST, VALIDATION, Until
from jobs.pipeline.steps import rank
from jobs.pipeline.steps.evaluate import read_measurements
from jobs.pipeline.steps.rank import RANKER, load_ranker, read_item_facts, read_trial
from jobs.progress import LogProgress
from recsys.data.splits import time_split
from recsys.ranking.top_k import Exclusion
from recsys.settings import Lists, Settings, Sources, load_settings
from tests.shop import AS_OF, UNAVAILABLE

MOMENT = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")


@pytest.fixture
def settings(shop: Path, write_settings: Callable[[str], Path], data_directory: Path) -> Settings:
    """Settings of a shop that was ingested, with two training windows."""
    settings = replace(
        load_settings(write_settings("allow"), {}), directory=data_directory, lists=Lists(max_per_type=0)
    )
    ingest((str(shop),), settings.sources, open_lake(settings), MOMENT)
    return replace(settings, search=replace(settings.search, ranker_windows=2))


def test_an_accepted_ranker_is_published_with_the_features_of_the_day(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_stage, "is_accepted", lambda *_: True)  # on a shop this small chance would decide
    moments: dict[datetime, None] = {}

    def read(lake: Lake, moment: datetime) -> pl.DataFrame:
        moments[moment] = None
        return read_item_facts(lake, moment)

    monkeypatch.setattr(rank, "read_item_facts", read)
    outcome = advance_run(settings, MOMENT, Until.EVALUATE, LogProgress())
    assert outcome.winner == outcome.run.manifest()["winner"] == RANKER
    trial = read_trial(outcome.run)
    assert trial is not None
    assert (trial.windows, trial.rejected, set(trial.members)) == (2, None, set(settings.models))
    for window in (VALIDATION, TEST):
        assert RANKER in [measured.name for measured in read_measurements(outcome.run, settings, window)]

    split = time_split(MOMENT, settings.evaluation)
    assert [*moments] == [split.train_end, split.validation_end, split.as_of]  # of the prices
    (night,) = read_nights(open_lake(settings).directory / "search_memory.json")
    assert all(night.models[name].weight > 0 for name in trial.members)

    known = read_interactions(outcome.run, Sources())
    hidden = np.array([item == UNAVAILABLE for item in known.items.values])
    ranker = load_ranker(outcome.run)
    expected, _ = ranker.recommend(np.arange(known.shape[0], dtype=np.int32), 100, Exclusion(items=hidden))
    lists = pl.read_parquet(outcome.run.directory / "lists" / "user_items.parquet")
    for row, listed in zip(expected, lists["items"], strict=True):
        assert known.items.ids(row[row >= 0]).to_list() == listed.to_list()
    last_purchase = ranker.shop.purchases.of_user[:, -1].min()
    assert last_purchase < settings.evaluation.test_days, "the features are those of the validation window"

    assert outcome.report is not None
    page = outcome.report.read_text()
    assert "so it is published" in page
    assert "Probability of purchase by" in page
    assert advance_run(settings, MOMENT, Until.EVALUATE, LogProgress()).winner == RANKER


def test_a_ranker_without_a_gain_is_told_and_not_published(settings: Settings) -> None:
    """Customers of this shop buy at random, so that the trees have nothing to learn."""
    outcome = advance_run(settings, MOMENT, Until.EVALUATE, LogProgress())
    assert outcome.winner != RANKER
    assert outcome.report is not None
    assert second_stage.NO_GAIN in outcome.report.read_text()
    assert not (outcome.run.directory / "models" / RANKER).exists()
