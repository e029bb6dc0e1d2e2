from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.data.interactions import build_interactions
from recsys.evaluation.comparison.popularity_bias import mean_over_lists, measure_popularity_bias
from recsys.evaluation.ground_truth import GroundTruth, build_ground_truth
from recsys.schema import TIMESTAMP_DTYPE
from recsys.settings import Evaluation

AS_OF = datetime(2017, 12, 1, tzinfo=UTC)
# Of four users a is with all, b with two, c and d with one: popularity 1, 1/2, 1/4, 1/4; `a` is the head.
TRAIN = ["1a", "1b", "1c", "2a", "3a", "3b", "4a", "4d"]
# User 2, the only light one, wants b and something nobody had; 1 wants a; 3 wants d.
WINDOW = ["1a", "2b", "2x", "3d"]


@pytest.fixture(scope="module")
def ground_truth() -> GroundTruth:
    pairs, window = (
        pl.DataFrame({"user_id": [pair[0] for pair in rows], "item_id": [pair[1] for pair in rows]})
        for rows in (TRAIN, WINDOW)
    )
    interactions = build_interactions(
        pairs.with_columns(confidence=pl.lit(1.0)),
        pairs.with_columns(timestamp=pl.lit(AS_OF - timedelta(days=1), dtype=TIMESTAMP_DTYPE), weight=pl.lit(1.0)),
        AS_OF,
    )
    return build_ground_truth(window, interactions, Evaluation(light_user_events=2, head_share=0.5), None)


def test_the_mean_of_a_list_leaves_empty_places_out():
    lists = np.array([[0, 1], [1, -1], [-1, -1]], dtype=np.int32)
    assert mean_over_lists(lists, np.array([1.0, 0.5])) == pytest.approx([0.75, 0.5, np.nan], nan_ok=True)


def test_bias_by_hand(ground_truth: GroundTruth):
    # The lists of users 1, 2, 3.
    bias = measure_popularity_bias(np.array([[0, 1], [0, 2], [1, -1]], dtype=np.int32), ground_truth)
    assert {name: part.users for name, part in bias.items()} == {"all": 3, "light": 1, "heavy": 2}

    everyone = bias["all"]
    assert everyone.recommended.share_of_users == pytest.approx((3 / 4 + 5 / 8 + 1 / 2) / 3)
    assert everyone.recommended.head_share == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert everyone.had.share_of_users == pytest.approx(((1 + 1 / 2 + 1 / 4) / 3 + 1 + 3 / 4) / 3)
    assert everyone.had.head_share == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)
    assert everyone.wanted.share_of_users == pytest.approx((1 + (1 / 2 + 0) / 2 + 1 / 4) / 3)
    assert everyone.wanted.head_share == pytest.approx(1 / 3)

    light = bias["light"]
    assert light.had.share_of_users == 1
    assert light.lift == pytest.approx(5 / 8 - 1)
    assert light.lift_over_wanted == pytest.approx((5 / 8) / (1 / 4) - 1)
    assert bias["heavy"].wanted.share_of_users == pytest.approx((1 + 1 / 4) / 2)


def test_empty_lists_have_no_bias(ground_truth: GroundTruth):
    bias = measure_popularity_bias(np.full((3, 2), -1, dtype=np.int32), ground_truth)
    assert bias["all"].recommended.share_of_users == 0
    assert bias["all"].lift == -1
