from math import log

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from recsys.anomaly.label_classifier import (
    MIN_LABELS,
    has_enough_labels,
    item_votes,
    score_with_labels,
    stratified_folds,
)

USERS = 600


@pytest.fixture(scope="module")
def bots() -> np.ndarray:
    """Return users of whom every third is a bot; the last hundred have no label."""
    labels = (np.arange(USERS) % 3 == 0).astype(float)
    labels[-100:] = np.nan
    return labels


@pytest.fixture(scope="module")
def features() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    pace = rng.normal(size=USERS) + 4 * (np.arange(USERS) % 3 == 0)
    return pl.DataFrame({"user_id": [f"u{n}" for n in range(USERS)], "pace": pace, "noise": rng.normal(size=USERS)})


def test_bots_are_separated_from_others_whether_labeled_or_not(features: pl.DataFrame, bots: np.ndarray):
    scores = score_with_labels(features, bots, 0)
    truth = np.arange(USERS) % 3 == 0
    for part in (slice(0, 500), slice(500, 600)):
        assert ((scores[part] > 0.5) == truth[part]).mean() > 0.93
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert np.array_equal(scores, score_with_labels(features, bots, 0))


def test_a_label_has_no_part_in_the_score_of_its_own_user(features: pl.DataFrame, bots: np.ndarray):
    # Labels that nothing tells: whoever learned them by heart would score better than chance.
    rng = np.random.default_rng(1)
    noise = features.select("noise")
    drawn = np.where(np.isnan(bots), np.nan, rng.permutation(USERS) % 2)
    items = csr_matrix((rng.random((USERS, 50)) < 0.1).astype(float))
    scores = score_with_labels(noise, drawn, 0, items)
    known = ~np.isnan(drawn)
    assert abs(np.corrcoef(scores[known], drawn[known])[0, 1]) < 0.12


def test_votes_of_items_by_hand():
    # Item 0 has users 0 to 3, of whom 0 and 1 are bots and 2 is fine; item 1 has user 3 alone.
    user_items = csr_matrix(np.array([[1, 0], [1, 0], [1, 0], [1, 1]], float))
    bots = np.array([1.0, 1.0, 0.0, np.nan])
    votes = item_votes(user_items, bots, np.array([0, 1, 2]))
    prior = log(2)  # two bots of three
    # For user 0 the others are one bot of two, and two voters of the prior: (1 + 4/3) / 4.
    assert votes[0] == pytest.approx([log(7 / 5) - prior] * 2)
    # For user 2 two bots of two: (2 + 4/3) / 4; for user 3 two of three: as the prior says; item 1 says nothing.
    assert votes[2] == pytest.approx([log(5) - prior] * 2)
    assert votes[3] == pytest.approx([0, 0])


def test_votes_are_of_the_training_part_alone():
    user_items = csr_matrix(np.ones((4, 1)))
    bots = np.array([1.0, 0.0, 1.0, 0.0])
    other = np.array([1.0, 0.0, 0.0, 1.0])
    train = np.array([0, 1])
    assert np.array_equal(item_votes(user_items, bots, train), item_votes(user_items, other, train))


def test_company_tells_where_behaviour_does_not(bots: np.ndarray):
    rng = np.random.default_rng(2)
    truth = np.arange(USERS) % 3 == 0
    liked = rng.random((USERS, 60)) < np.where(truth[:, None] == (np.arange(60) < 30)[None], 0.2, 0.05)
    noise = pl.DataFrame({"noise": rng.normal(size=USERS)})
    alone = score_with_labels(noise, bots, 0)
    together = score_with_labels(noise, bots, 0, csr_matrix(liked.astype(float)))
    assert ((together > 0.5) == truth).mean() > 0.85 > ((alone > 0.5) == truth).mean()


def test_folds_hold_everyone_once_and_the_same_share_of_bots(bots: np.ndarray):
    known = np.flatnonzero(~np.isnan(bots))
    folds = stratified_folds(known, bots, 0)
    assert sorted(np.concatenate([held for _, held in folds])) == known.tolist()
    for train, held in folds:
        assert sorted([*train, *held]) == known.tolist()
        assert abs(bots[held].sum() - bots[known].sum() / 5) <= 1


def test_too_few_labels_are_refused(features: pl.DataFrame):
    few = np.full(USERS, np.nan)
    few[: MIN_LABELS - 1] = np.arange(MIN_LABELS - 1) % 2
    assert not has_enough_labels(few)
    with pytest.raises(ValueError, match="199 labels: expected 200"):
        score_with_labels(features, few, 0)
    few[MIN_LABELS - 1] = 1
    assert has_enough_labels(few)
    one_kind = np.where(np.arange(USERS) < 4, 1.0, 0.0)
    assert not has_enough_labels(one_kind)
