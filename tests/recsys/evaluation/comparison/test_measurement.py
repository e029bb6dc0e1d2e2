import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions, build_interactions
from recsys.errors import NotEnoughDataError, SettingsError
from recsys.evaluation.comparison.measurement import ModelMeasurement, measure_model, select_best
from recsys.evaluation.ground_truth import build_ground_truth
from recsys.schema import TIMESTAMP_DTYPE
from recsys.settings import Evaluation

AS_OF = datetime(2017, 12, 1, tzinfo=UTC)
EVALUATION = Evaluation(cutoffs=(1, 2), metric="recall@2", light_user_events=3, head_share=0.4)
# Users u1, u2, u3 are rows 0, 1, 2; items a, b, c, d, e rows 0 to 4; `a` is popular.
TRAIN = [("u1", "a"), ("u1", "b"), ("u1", "c"), ("u2", "a"), ("u3", "a"), ("u3", "d"), ("u3", "e")]
WINDOW = [
    ("cold", "a"),
    ("cold", "unheard"),
    ("u1", "a"),
    ("u1", "d"),
    ("u2", "b"),
    ("u2", "unheard"),
    ("u3", "d"),
]


def frame(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    pairs = frame(TRAIN).with_columns(confidence=pl.lit(1.0))
    sequences = frame(TRAIN).with_columns(
        timestamp=pl.lit(AS_OF - timedelta(days=1), dtype=TIMESTAMP_DTYPE), weight=pl.lit(1.0)
    )
    return build_interactions(pairs, sequences, AS_OF)


def test_truth_when_items_may_repeat(interactions: Interactions):
    ground_truth = build_ground_truth(frame(WINDOW), interactions, EVALUATION, None)
    assert ground_truth.user_rows.tolist() == [0, 1, 2]
    assert ground_truth.returning.relevant.toarray().tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert ground_truth.returning.relevant_counts.tolist() == [2, 2, 1]
    assert ground_truth.new.relevant.toarray().tolist() == [[1, 0, 0, 0, 0]]
    assert ground_truth.new.relevant_counts.tolist() == [2]
    assert ground_truth.segments["heavy"].tolist() == [True, False, True]
    assert ground_truth.segments["light"].tolist() == [False, True, False]
    assert ground_truth.head.tolist() == [True, False, False, False, False]
    assert ground_truth.item_users.tolist() == [3, 1, 1, 1, 1]
    assert ground_truth.users == 3


def test_truth_when_history_is_excluded(interactions: Interactions):
    history = interactions.user_items.copy()
    history.data[:] = 0  # an explicit zero is history too
    ground_truth = build_ground_truth(frame(WINDOW), interactions, EVALUATION, history)
    assert ground_truth.user_rows.tolist() == [0, 1]  # all that u3 wanted, it had
    assert ground_truth.returning.relevant.toarray().tolist() == [[0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert ground_truth.returning.relevant_counts.tolist() == [1, 2]
    assert ground_truth.new.relevant_counts.tolist() == [2]
    assert set(history.data) == {0}


def test_a_window_without_returning_users_is_not_enough(interactions: Interactions):
    with pytest.raises(NotEnoughDataError, match="no user with events before the window"):
        build_ground_truth(frame([("cold", "a")]), interactions, EVALUATION, None)


def measure_lists(
    interactions: Interactions, lists: list[list[int]], name: str = "model", fallback: list[int] | None = None
) -> ModelMeasurement:
    ground_truth = build_ground_truth(frame(WINDOW), interactions, EVALUATION, None)
    popular = None if fallback is None else np.array(fallback, dtype=np.int32)
    return measure_model(name, np.array(lists, dtype=np.int32), ground_truth, EVALUATION, 0, popular)


LISTS = [[0, 3], [4, 1], [4, 2]]


def test_measurement_of_a_small_shop(interactions: Interactions):
    measured = measure_lists(interactions, LISTS, fallback=[0, 1, 2])
    assert (measured.users, measured.cold_users) == (3, 1)
    assert measured.metrics["recall@2"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert measured.metrics["hit_rate@1"] == pytest.approx(1 / 3)
    segments = measured.segments
    assert {name: segment.users for name, segment in segments.items()} == {
        "new": 1,
        "light": 1,
        "heavy": 2,
        "head": 1,
        "tail": 3,
    }
    assert segments["new"].metrics["recall@2"] == pytest.approx(1 / 2)
    assert segments["light"].metrics["recall@2"] == pytest.approx(1 / 2)
    assert segments["heavy"].metrics["recall@2"] == pytest.approx(1 / 2)
    assert segments["head"].metrics["recall@2"] == 1
    # u1 wants d of the tail, u2 wants b and one item the model does not know, u3 wants d.
    assert segments["tail"].metrics["recall@2"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert segments["tail"].interval == measured.intervals["recall@2"]  # the same users and values
    assert segments["head"].interval == (1, 1)
    assert segments["heavy"].interval == (0, 1)  # u1 alone has 1, u3 alone 0
    assert measured.catalogue["coverage@2"] == 1
    assert measured.catalogue["coverage@1"] == pytest.approx(2 / 5)
    assert measured.catalogue["novelty@1"] == pytest.approx(2 * np.log2(3) / 3)
    assert measured.exposure_curve[0] == 0
    assert measured.exposure_curve[-1] == 1
    assert len(measured.exposure_curve) == 101


def test_new_users_are_counted_without_a_fallback(interactions: Interactions):
    new = measure_lists(interactions, LISTS).segments["new"]
    assert (new.users, new.metrics) == (1, {})


def test_a_measurement_survives_json(interactions: Interactions):
    measured = measure_lists(interactions, LISTS, fallback=[0, 1])
    text = json.dumps(asdict(measured), allow_nan=False)
    assert TypeAdapter(ModelMeasurement).validate_json(text) == measured


def test_the_same_seed_gives_the_same_measurement(interactions: Interactions):
    assert measure_lists(interactions, LISTS) == measure_lists(interactions, LISTS)


def test_an_unmeasured_metric_is_refused(interactions: Interactions):
    ground_truth = build_ground_truth(frame(WINDOW), interactions, EVALUATION, None)
    wrong = replace(EVALUATION, metric="ndcg@7")
    with pytest.raises(SettingsError, match=r"evaluation\.metric = 'ndcg@7': expected one of recall@1"):
        measure_model("model", np.array(LISTS, dtype=np.int32), ground_truth, wrong, 0)


def test_choose_takes_the_highest_mean_and_of_equals_the_first_name(interactions: Interactions):
    weak = measure_lists(interactions, [[1, 2], [0, 2], [1, 2]], "a")
    second = measure_lists(interactions, LISTS, "c")
    first = measure_lists(interactions, LISTS, "b")
    assert select_best([weak, second, first], "recall@2") == "b"
    assert select_best([first, second, weak], "recall@2") == "b"


def test_an_empty_history_leaves_nothing_out(interactions: Interactions):
    history = csr_matrix(interactions.user_items.shape)
    with_empty = build_ground_truth(frame(WINDOW), interactions, EVALUATION, history)
    without = build_ground_truth(frame(WINDOW), interactions, EVALUATION, None)
    assert with_empty.returning.relevant.toarray().tolist() == without.returning.relevant.toarray().tolist()
