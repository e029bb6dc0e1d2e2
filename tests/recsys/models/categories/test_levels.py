"""Levels of categories, and what is held out when they are measured."""

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from recsys.errors import NotEnoughDataError
from recsys.ids import UNKNOWN
from recsys.models.categories.levels import Classification, LabelSplit, Level, classify
from tests.communities import Communities, make_communities

SHELVES = 2


def paths(shop: Communities, without: int) -> list[list[str] | None]:
    """Return categories of all items but the first: the community, and a shelf that nothing predicts."""
    return [
        None if row < without else [f"aisle {side}", f"shelf {row // 2 % SHELVES}"]
        for row, side in enumerate(shop.community)
    ]


def as_series(categories: list[list[str] | None]) -> pl.Series:
    return pl.Series(categories, dtype=pl.List(pl.String))


@pytest.fixture(scope="module")
def shop() -> Communities:
    return make_communities(600, loyalty=0.95, signal=1)


@pytest.fixture(scope="module")
def classified(shop: Communities) -> Classification:
    return classify(shop.vectors, shop.positives, as_series(paths(shop, 60)), 0)


def test_a_level_names_what_has_enough_items_and_lumps_the_rest():
    categories = as_series([["a", "x"]] * 12 + [["b"]] * 15 + [["a", "y"]] * 9 + [None])
    learn = np.arange(36, dtype=np.int32)
    first, second = (Level.build(categories, number, learn) for number in (1, 2))
    assert [first.paths[code] for code in first.class_codes] == [["a"], ["b"]]
    assert [second.paths[code] for code in second.class_codes] == [["b"], ["a", "x"]]
    assert second.codes[-1] == UNKNOWN
    assert second.labels(learn).tolist() == [1] * 12 + [0] * 15 + [2] * 9 + [UNKNOWN]
    assert second.labels(learn[:1]).tolist() == [1] + [UNKNOWN] * 36


def test_parts_share_no_item(shop: Communities):
    parts = LabelSplit.draw(as_series(paths(shop, 60)), 0)
    assert [len(part) for part in (parts.train, parts.calibration, parts.test, parts.unlabeled)] == [
        378,
        54,
        108,
        60,
    ]
    together = np.concatenate([parts.train, parts.calibration, parts.test, parts.unlabeled])
    assert sorted(together.tolist()) == list(range(600))
    assert parts.unlabeled.tolist() == list(range(60))


def test_items_without_a_category_get_only_the_levels_that_can_be_predicted(
    shop: Communities, classified: Classification
):
    sure = classified.unlabeled.confident(0.8)
    assert len(sure) > 50
    assert np.mean([path == [f"aisle {shop.community[row]}"] for row, path, _ in sure]) >= 0.9
    aisles, shelves = classified.measurement.levels
    assert (aisles.level, aisles.classes, shelves.level, shelves.classes) == (1, 2, 2, 4)
    assert aisles.accuracy > 0.95
    assert aisles.propagation_accuracy > 0.95
    assert aisles.most_frequent_accuracy < 0.65
    assert 0.35 < shelves.accuracy < 0.65
    assert max(level.calibration_error for level in classified.measurement.levels) < 0.2
    sizes = classified.measurement
    assert (sizes.learned_from, sizes.calibrated_on, sizes.measured_on) == (378, 54, 108)


def test_nothing_is_learned_from_labels_that_are_held_out(shop: Communities, classified: Classification):
    categories = paths(shop, 60)
    for row in LabelSplit.draw(as_series(categories), 0).test:
        categories[row] = ["aisle 0", "shelf 0"]  # a lie
    lied_to = classify(shop.vectors, shop.positives, as_series(categories), 0)
    for ours, theirs in ((classified.test, lied_to.test), (classified.unlabeled, lied_to.unlabeled)):
        assert ours.confidence.tobytes() == theirs.confidence.tobytes()
        assert ours.codes.tobytes() == theirs.codes.tobytes()
    assert lied_to.measurement.levels[0].accuracy < classified.measurement.levels[0].accuracy


def test_one_category_or_too_few_labels_cannot_be_learned_from(shop: Communities):
    with pytest.raises(NotEnoughDataError, match="199 items with events have a category; expected at least 200"):
        classify(shop.vectors, shop.positives, as_series(paths(shop, 401)), 0)
    with pytest.raises(NotEnoughDataError, match="no two categories"):
        classify(shop.vectors, shop.positives, as_series([None, *[["all"]] * 599]), 0)
    with pytest.raises(NotEnoughDataError, match="no two categories"):
        classify(shop.vectors, shop.positives, as_series([None, *[[f"own {row}"] for row in range(599)]]), 0)
