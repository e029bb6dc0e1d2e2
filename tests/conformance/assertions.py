"""Assertions about lists and models that several conformance tests share."""

import numpy as np

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.models.base import ItemModel, Model
from recsys.ranking.top_k import Scores


def all_users(interactions: Interactions) -> Rows:
    return np.arange(interactions.shape[0], dtype=np.int32)


def all_items(interactions: Interactions) -> Rows:
    return np.arange(interactions.shape[1], dtype=np.int32)


def assert_is_list(rows: Rows, scores: Scores, shape: tuple[int, int], items: int) -> None:
    """Distinct items with finite scores, best first, ties by item row; then nothing but padding."""
    assert rows.shape == scores.shape == shape
    assert rows.dtype == np.int32
    assert scores.dtype == np.float32
    for row, score in zip(rows, scores, strict=True):
        size = int((row != UNKNOWN).sum())
        assert (row[size:] == UNKNOWN).all()
        assert (score[size:] == -np.inf).all()
        assert np.isfinite(score[:size]).all()
        assert len(set(row[:size])) == size
        assert ((row[:size] >= 0) & (row[:size] < items)).all()
        falls = np.diff(score[:size]) < 0
        ties = (np.diff(score[:size]) == 0) & (np.diff(row[:size]) > 0)
        assert (falls | ties).all()


def assert_same_lists(one: tuple[Rows, Scores], other: tuple[Rows, Scores]) -> None:
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def every_list(model: Model, interactions: Interactions) -> list[tuple[Rows, Scores]]:
    """A list for every user, and for every item when the model ranks similar items."""
    lists = [model.recommend(all_users(interactions), interactions.shape[1])]
    if isinstance(model, ItemModel):
        lists.append(model.similar(all_items(interactions), interactions.shape[1]))
    return lists


def assert_same_model(one: Model, other: Model, interactions: Interactions) -> None:
    for lists, other_lists in zip(every_list(one, interactions), every_list(other, interactions), strict=True):
        assert_same_lists(lists, other_lists)
