import numpy as np
import polars as pl
import pytest
from pyod.models.ecod import ECOD

from recsys.anomaly.outliers import MIN_USERS, Outliers, ecod_tails, find_outliers


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    """200 users, of whom the last is far out in two features, and the one before unknown in all but one."""
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=200) for name in ("night_share", "most_in_minute", "items")}
    columns["most_in_minute"][-1] = 40.0
    columns["items"][-1] = -7.0
    table = pl.DataFrame({"user_id": [f"u{n}" for n in range(200)], **columns})
    unknown = pl.int_range(pl.len()) == 198
    return table.with_columns(
        pl.when(~unknown).then("night_share").alias("night_share"),
        pl.when(~unknown).then("most_in_minute").alias("most_in_minute"),
        same=pl.lit(3.0),
        never=pl.lit(None, dtype=pl.Float64),
    )


@pytest.fixture(scope="module")
def result(features: pl.DataFrame) -> Outliers:
    return find_outliers(features, 0)


def test_one_who_is_far_out_is_the_most_unusual_and_the_feature_is_named(result: Outliers):
    assert np.argmax(result.scores) == 199
    assert result.scores[199] > 0.98
    low, high = result.usual[result.names.index("most_in_minute")]
    assert f"most events within a minute: 40, usually {low:.3g} to {high:.3g}" in result.reasons(199)
    assert [reason.partition(":")[0] for reason in result.reasons(199, maximum=1)] in (
        ["most events within a minute"],
        ["number of different items"],
    )
    assert result.scores.min() >= 0
    assert result.scores.max() <= 1


def test_an_ordinary_user_has_no_reasons(result: Outliers):
    inside = ((result.values > result.usual[:, 0]) & (result.values < result.usual[:, 1])).all(axis=1)
    assert inside.any()
    assert result.reasons(int(np.argmax(inside))) == []


def test_what_is_unknown_is_no_evidence_and_what_is_alike_is_left_out(result: Outliers):
    assert result.names == ("night_share", "most_in_minute", "items")
    assert result.tails[198, :2].tolist() == [0, 0]
    assert result.tails[198, 2] > 0
    assert not any(reason.startswith("share of events") for reason in result.reasons(198))


def test_a_feature_at_a_time_adds_up_to_ecod_of_all():
    rng = np.random.default_rng(1)
    values = np.column_stack([rng.normal(size=90), rng.exponential(size=90), rng.integers(0, 3, 90)]).astype(
        np.float64
    )
    together = ECOD().fit(values)
    apart = np.column_stack([ecod_tails(values[:, column].copy()) for column in range(3)])
    np.testing.assert_allclose(apart, together.O)
    np.testing.assert_allclose(apart.sum(axis=1), together.decision_scores_)


def test_tails_of_four_values():
    # Right-skewed, so that the right tail counts: of 0, 0, 1, 9 it is 1, 1, 1/2, 1/4; the left is 1/2 and more.
    np.testing.assert_allclose(ecod_tails(np.array([0.0, 0.0, 1.0, 9.0])), np.log([2, 2, 2, 4]))


def test_a_few_users_are_not_compared(features: pl.DataFrame):
    few = find_outliers(features.tail(MIN_USERS - 1), 0)
    assert np.isnan(few.scores).all()
    assert few.reasons(0) == []
    assert not np.isnan(find_outliers(features.tail(MIN_USERS), 0).scores).any()
    assert np.isnan(find_outliers(features.select("user_id"), 0).scores).all()


def test_the_same_seed_gives_the_same_scores_and_rows_may_come_in_blocks(
    features: pl.DataFrame, result: Outliers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("recsys.anomaly.outliers.BLOCK", 7)
    again = find_outliers(features, 0)
    assert np.array_equal(result.scores, again.scores)
    assert np.array_equal(result.tails, again.tails)
