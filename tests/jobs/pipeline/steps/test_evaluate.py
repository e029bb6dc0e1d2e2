"""A blend in a run: weighted on one window, measured on both, fitted again, ranked, reported."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.evaluation_window import BLEND
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.step_names import TEST, VALIDATION, Until
from jobs.pipeline.steps import evaluate
from jobs.pipeline.steps.evaluate import read_blend_choice, read_measurements
from jobs.progress import LogProgress
from recsys.evaluation.comparison.blend_search import EVERYONE, BlendChoice
from recsys.evaluation.segments import HEAVY, LIGHT
from recsys.models.blend import Blend, BlendConfig
from recsys.models.item_knn import ItemKnn
from recsys.models.repurchase import Repurchase
from recsys.ranking.top_k import Exclusion
from recsys.settings import Lists, Sources, load_settings
from tests.shop import AS_OF, UNAVAILABLE

CHOICE = BlendChoice(
    weights={
        "repurchase": {EVERYONE: 0.75, LIGHT: 0.5, HEAVY: 0.75},
        "item_knn": {EVERYONE: 0.25, LIGHT: 0.5, HEAVY: 0.25},
    },
    gain=0.01,
    gain_deviation=0.002,
    cost_of_leaving_out={"repurchase": 0.03, "item_knn": 0.01},
)


def test_a_blend_is_what_its_members_fitted_on_everything_make_of_it(
    shop: Path, write_settings: Callable[[str], Path], data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "choose_weights", lambda *_: CHOICE)  # on a shop this small chance would choose
    settings = replace(
        load_settings(write_settings("allow"), {}), directory=data_directory, lists=Lists(max_per_type=0)
    )
    as_of = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")
    ingest((str(shop),), settings.sources, open_lake(settings), as_of)
    outcome = advance_run(settings, as_of, Until.EVALUATE, LogProgress())

    assert outcome.winner == outcome.run.manifest()["winner"] == BLEND
    assert read_blend_choice(outcome.run) == CHOICE
    for window in (VALIDATION, TEST):
        names = [measured.name for measured in read_measurements(outcome.run, settings, window)]
        assert names == [*settings.models, BLEND]

    known = read_interactions(outcome.run, Sources())
    config = BlendConfig(("repurchase", "item_knn"), light=(0.5, 0.5), heavy=(0.75, 0.25), light_user_events=5)
    blend = Blend(config, {"repurchase": Repurchase(), "item_knn": ItemKnn()}).fit(known)
    everyone = np.arange(known.shape[0], dtype=np.int32)
    hidden = np.array([item == UNAVAILABLE for item in known.items.values])
    expected, _ = blend.recommend(everyone, 100, Exclusion(items=hidden))
    lists = pl.read_parquet(outcome.run.directory / "lists" / "user_items.parquet")
    assert lists["user_id"].to_list() == known.users.values.to_list()
    for row, listed in zip(expected, lists["items"], strict=True):
        assert known.items.ids(row[row >= 0]).to_list() == listed.to_list()

    assert outcome.report is not None
    page = outcome.report.read_text()
    assert "A blend of 2 models is published" in page
    assert "Weights of the blend" in page
    assert advance_run(settings, as_of, Until.EVALUATE, LogProgress()).winner == BLEND
