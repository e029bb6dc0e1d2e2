"""The search of models and settings: models left out, tuned settings, and data that it must never use."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.evaluation_window import EvaluationWindow, rank_items
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.step_names import Until
from jobs.pipeline.steps.search import CandidateResult, SearchResult, apply_search, search
from jobs.progress import LogProgress
from recsys.data.interactions import build_interactions
from recsys.errors import ModelError
from recsys.evaluation.ground_truth import build_ground_truth
from recsys.files import read_json
from recsys.models.registry import build_model
from recsys.schema import CONFIDENCE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from recsys.settings import Evaluation, Search, Settings, load_settings
from tests.shop import AS_OF

CUT = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
SETTINGS = Settings(
    models=("popularity", "item_knn", "ease"),
    evaluation=Evaluation(cutoffs=(5,), metric="ndcg@5"),
    search=Search(max_minutes=5, max_trials=6),
)


@pytest.fixture(scope="module")
def window() -> EvaluationWindow:
    """90 users of three tastes among 45 items; each wants more of the own taste."""
    generator = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}") for user in range(90) for item in generator.permutation(15)[:8] * 3 + user % 3]
    frame = pl.DataFrame(rows, schema=[USER_ID, ITEM_ID], orient="row")
    known = frame.filter(pl.int_range(pl.len()) % 4 != 0)
    pairs = known.with_columns(pl.lit(1.0).alias(CONFIDENCE))
    events = known.with_columns(pl.lit(CUT).alias(TIMESTAMP), pl.lit(1.0).alias(WEIGHT))
    interactions = build_interactions(pairs, events, CUT)
    wanted = frame.join(known, on=[USER_ID, ITEM_ID], how="anti").sort(USER_ID, ITEM_ID)
    return EvaluationWindow.build(
        interactions,
        build_ground_truth(wanted, interactions, SETTINGS.evaluation, interactions.user_items),
        SETTINGS,
    )


def result_of(result: SearchResult, name: str) -> CandidateResult:
    return next(candidate for candidate in result.tried if candidate.name == name)


def test_every_candidate_is_measured_and_the_best_are_tuned(window: EvaluationWindow) -> None:
    result, lists = search(window, SETTINGS, LogProgress())
    assert [one.name for one in result.tried] == list(SETTINGS.models) == list(lists)
    ease, popularity = result_of(result, "ease"), result_of(result, "popularity")
    assert len(ease.trials) == 6
    assert ease.trials[0].values["regularization"] == 6.0  # its own setting is tried first
    assert popularity.trials == ()
    assert ease.metric is not None
    assert popularity.metric is not None
    assert ease.metric > popularity.metric
    best = max(ease.trials, key=lambda trial: trial.metric)
    assert ease.values in (None, best.values)


def test_later_fits_use_the_result_of_the_search(window: EvaluationWindow) -> None:
    result, lists = search(window, SETTINGS, LogProgress())
    later = apply_search(SETTINGS, result)
    for name in SETTINGS.models:
        model = build_model(name, later.model_settings.get(name, {}), SETTINGS.seed)
        np.testing.assert_array_equal(rank_items(model, window, later), lists[name])


def test_the_same_seed_finds_the_same(window: EvaluationWindow) -> None:
    one, other = (search(window, SETTINGS, LogProgress())[0] for _ in range(2))
    assert [tried.trials for tried in one.tried] == [tried.trials for tried in other.tried]


def test_an_interrupt_ends_the_search_without_a_traceback_in_the_log(
    window: EvaluationWindow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = iter(range(10))

    def rank_until_interrupted(*arguments: Any) -> Any:
        if next(calls) > len(SETTINGS.models):
            raise KeyboardInterrupt
        return rank_items(*arguments)

    monkeypatch.setattr("jobs.pipeline.steps.search.rank_items", rank_until_interrupted)
    optuna.logging.enable_propagation()
    try:
        with pytest.raises(KeyboardInterrupt):
            search(window, SETTINGS, LogProgress())
    finally:
        optuna.logging.disable_propagation()
    assert [record for record in caplog.records if record.name.startswith("optuna")] == []


def test_what_the_settings_fix_is_not_tuned(window: EvaluationWindow) -> None:
    fixed = {"ease": {"regularization": 2.0, "item_exponent": 0.0, "user_exponent": 0.0}}
    result, _ = search(window, replace(SETTINGS, model_settings=fixed), LogProgress())
    assert result_of(result, "ease").trials == ()
    assert apply_search(replace(SETTINGS, model_settings=fixed), result).model_settings["ease"] == fixed["ease"]


def test_a_candidate_that_needs_too_much_memory_is_left_out(window: EvaluationWindow) -> None:
    result, lists = search(window, replace(SETTINGS, search=Search(max_memory=30_000, max_trials=0)), LogProgress())
    left_out = result_of(result, "ease").left_out
    assert left_out is not None
    assert "MB may be taken" in left_out
    assert "ease" not in lists
    assert apply_search(SETTINGS, result).models == ("popularity", "item_knn")


def test_candidates_whose_turn_comes_too_late_are_left_out(window: EvaluationWindow) -> None:
    with pytest.raises(ModelError, match=r"no candidate could be fitted: search\.max_minutes = 1e-09"):
        search(window, replace(SETTINGS, search=Search(max_minutes=1e-9)), LogProgress())


def test_a_fit_that_fails_leaves_the_others(window: EvaluationWindow) -> None:
    settings = replace(
        SETTINGS,
        models=("popularity", "light_gcn"),
        model_settings={"light_gcn": {"learning_rate": 1e30, "epochs": 2}},
        search=Search(max_trials=0),
    )
    result, lists = search(window, settings, LogProgress())
    assert list(lists) == ["popularity"]
    assert result_of(result, "light_gcn").left_out is not None


def test_light_gcn_keeps_the_epochs_it_came_to(window: EvaluationWindow) -> None:
    config = {"embedding_size": 4, "epochs": 3, "negatives": 8, "learning_rate": 0.05}
    settings = replace(SETTINGS, models=("popularity", "light_gcn"), model_settings={"light_gcn": config})
    result, _ = search(window, settings, LogProgress())
    epochs = apply_search(settings, result).model_settings["light_gcn"]["epochs"]
    assert 1 <= epochs <= 3


def test_a_run_searches_on_the_validation_window_alone(
    shop: Path, write_settings: Callable[[str], Path], data_directory: Path
) -> None:
    settings = load_settings(write_settings("exclude"), {})
    settings = replace(settings, directory=data_directory, search=Search(max_trials=4))
    as_of = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")
    ingest((str(shop),), settings.sources, open_lake(settings), as_of)
    run = advance_run(settings, as_of, Until.TRAIN, LogProgress()).run
    search_file = run.directory / "evaluation" / "search" / "search.json"
    first = read_json(search_file)["tried"]
    assert [len(one["trials"]) for one in first] == [0, 4, 0]

    # Other purchases in the test window: the same is found.
    events = shop / "events.parquet"
    changed = pl.read_parquet(events).with_columns(
        pl.when(pl.col("timestamp") >= datetime.fromisoformat("2026-03-28T00:00:00+00:00"))
        .then(pl.lit("item1"))
        .otherwise(pl.col("item_id"))
        .alias("item_id")
    )
    changed.write_parquet(events)
    other = replace(settings, directory=data_directory / "other")
    ingest((str(shop),), other.sources, open_lake(other), as_of)
    run = advance_run(other, as_of, Until.TRAIN, LogProgress()).run
    again = read_json(run.directory / "evaluation" / "search" / "search.json")["tried"]
    assert [{**one, "seconds": 0} for one in again] == [{**one, "seconds": 0} for one in first]
