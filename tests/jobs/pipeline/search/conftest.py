"""A window of users with three tastes, and settings of a short search."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from jobs.pipeline.evaluation_window import EvaluationWindow
from recsys.data.interactions import build_interactions
from recsys.evaluation.ground_truth import build_ground_truth
from recsys.schema import CONFIDENCE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from recsys.settings import Evaluation, Search, Settings

CUT = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
SETTINGS = Settings(
    models=("popularity", "item_knn", "ease"),
    evaluation=Evaluation(cutoffs=(5,), metric="ndcg@5"),
    search=Search(max_trials=6),
)


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Three models, and six sets of values for each."""
    return SETTINGS


@pytest.fixture(scope="session")
def window() -> EvaluationWindow:
    """600 users of three tastes among 45 items; each wants more of the own taste, and some of any."""
    generator = np.random.default_rng(0)
    rows = [
        (f"u{user:03}", f"i{item:02}")
        for user in range(600)
        for item in {*(generator.permutation(15)[:7] * 3 + user % 3), *generator.permutation(45)[:2]}
    ]
    frame = pl.DataFrame(rows, schema=[USER_ID, ITEM_ID], orient="row").sort(USER_ID, ITEM_ID)
    frame = frame.sample(fraction=1, shuffle=True, seed=1)
    known = frame.filter(pl.int_range(pl.len()) % 3 != 0)
    events = known.with_columns(pl.lit(CUT).alias(TIMESTAMP), pl.lit(1.0).alias(WEIGHT))
    interactions = build_interactions(known.with_columns(pl.lit(1.0).alias(CONFIDENCE)), events, CUT)
    wanted = frame.join(known, on=[USER_ID, ITEM_ID], how="anti").sort(USER_ID, ITEM_ID)
    truth = build_ground_truth(wanted, interactions, SETTINGS.evaluation, interactions.user_items)
    return EvaluationWindow.build(interactions, truth, SETTINGS)
