"""Category prediction for items, level by level, from vectors of a fitted model, with held-out measurement."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.errors import NotEnoughDataError
from recsys.evaluation.metrics.classification import (
    CONFIDENCES,
    CategoryMeasurement,
    LevelMeasurement,
    calibration_error,
    deepest_confident_level,
    macro_f1,
    measure_proposals,
)
from recsys.ids import UNKNOWN, Rows
from recsys.models.categories.label_propagation import LabelPropagation
from recsys.schema import CATEGORY

CALIBRATION_SHARE: Final = 0.1
TEST_SHARE: Final = 0.2
MIN_LABELED: Final = 200  # items with a category: fewer leave too few for calibration and test
MIN_CATEGORY_ITEMS: Final = 10  # training items of a category
MAX_CATEGORIES: Final = 512  # of a level, the most frequent ones: the classifier's memory grows with their number
MAX_LEVELS: Final = 6
MIN_CONFIDENCE: Final = 0.5  # of a proposal: it is more likely right than wrong
SEPARATOR: Final = "\x1f"  # does not occur in names of categories


def category_path() -> pl.Expr:
    """Return an item's category path without missing names, null when it is empty."""
    names = pl.col(CATEGORY).list.drop_nulls()
    return pl.when(names.list.len() > 0).then(names).alias(CATEGORY)


@dataclass(frozen=True)
class Level:
    """The categories of one level: the first `number` names of each item's path, or all names of a shorter path."""

    number: int
    codes: Rows  # (items,), `UNKNOWN` without a category
    paths: list[list[str]]  # by code
    class_codes: Rows  # class -> code; the categories with enough training items, the most frequent first

    @classmethod
    def build(cls, categories: pl.Series, number: int, train: Rows) -> "Level":
        """Build a level of the paths `categories` (items,), null without a category, for training on `train`."""
        joined = categories.list.head(number).list.join(SEPARATOR)
        names = joined.drop_nulls().unique().sort()
        codes = joined.replace_strict(
            names, np.arange(len(names)), default=UNKNOWN, return_dtype=pl.Int32
        ).to_numpy()
        counts = np.bincount(codes[train], minlength=len(names))
        ordered = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
        class_codes = ordered[counts[ordered] >= MIN_CATEGORY_ITEMS].astype(np.int32)
        return cls(number, codes, [name.split(SEPARATOR) for name in names], class_codes)

    def labels(self, item_rows: Rows) -> Rows:
        """Return the class of `item_rows`, `UNKNOWN` for other items, (items,).

        The last class stands for all other categories.
        """
        classes = np.full(len(self.paths), len(self.class_codes), np.int32)
        classes[self.class_codes] = np.arange(len(self.class_codes))
        labels = np.full(len(self.codes), UNKNOWN, np.int32)
        labels[item_rows] = classes[self.codes[item_rows]]
        return labels


@dataclass(frozen=True)
class LabelSplit:
    """Item rows: those with a category split for training, calibration and test, and those without a category."""

    train: Rows
    calibration: Rows
    test: Rows
    unlabeled: Rows

    @classmethod
    def draw(cls, categories: pl.Series, seed: int) -> "LabelSplit":
        """Split at random; raise `NotEnoughDataError` for too few items with a category."""
        has_category = categories.is_not_null().to_numpy()
        labeled = np.random.default_rng(seed).permutation(np.flatnonzero(has_category)).astype(np.int32)
        if len(labeled) < MIN_LABELED:
            raise NotEnoughDataError(
                f"{len(labeled)} items with events have a category; expected at least {MIN_LABELED}"
            )
        test, calibration = (int(len(labeled) * share) for share in (TEST_SHARE, TEST_SHARE + CALIBRATION_SHARE))
        parts = np.split(labeled, [test, calibration])
        return cls(parts[2], parts[1], parts[0], np.flatnonzero(~has_category).astype(np.int32))


@dataclass(frozen=True)
class Proposals:
    """The most likely category of each level for some items; arrays are (levels, items)."""

    item_rows: Rows
    paths: list[list[list[str]]]  # by level and code
    codes: Rows
    confidence: NDArray[np.float32]

    def confident(self, min_confidence: float = MIN_CONFIDENCE) -> list[tuple[int, list[str], float]]:
        """Return row, path and confidence of the deepest level of each item that is confident enough."""
        proposals: list[tuple[int, list[str], float]] = []
        for place, level in enumerate(deepest_confident_level(self.confidence, min_confidence).tolist()):
            if level != UNKNOWN:
                path: list[str] = self.paths[int(level)][int(self.codes[level, place])]
                proposals.append((int(self.item_rows[place]), path, float(self.confidence[level, place])))
        return proposals


@dataclass(frozen=True)
class Classification:
    """Proposals for items without a category and for test items, and the measurement on the latter."""

    unlabeled: Proposals
    test: Proposals
    measurement: CategoryMeasurement


def classify(
    vectors: NDArray[np.float32], positives: csr_matrix, categories: pl.Series, seed: int
) -> Classification:
    """Predict the categories of items (items,), lists of names or null, from their vectors and the graph.

    Every level has its own classifier. The measured classifiers make the proposals: none is refitted on the
    held-out labels. Raises `NotEnoughDataError` for too few labels or categories.
    """
    split = LabelSplit.draw(categories, seed)
    depth = int(categories.list.len().max())  # pyright: ignore[reportArgumentType]
    levels = [Level.build(categories, number, split.train) for number in range(1, min(depth, MAX_LEVELS) + 1)]
    levels = [level for level in levels if len(level.class_codes) > 1]
    if not levels:
        raise NotEnoughDataError(
            f"there are no two categories with {MIN_CATEGORY_ITEMS} items with events each to learn from"
        )
    results = [_classify_level(vectors, positives, level, split, seed) for level in levels]
    paths = [level.paths for level in levels]
    unlabeled = _stack_proposals(split.unlabeled, paths, [result.unlabeled for result in results])
    test = _stack_proposals(split.test, paths, [result.test for result in results])
    is_correct = test.codes == np.stack([level.codes[split.test] for level in levels])
    lengths = [np.array([len(path) for path in level], np.int32) for level in paths]
    depths = np.stack([length[codes] for length, codes in zip(lengths, test.codes, strict=True)])
    proposals = tuple(measure_proposals(test.confidence, is_correct, depths, minimum) for minimum in CONFIDENCES)
    sizes = len(split.train), len(split.calibration), len(split.test)
    measurements = tuple(result.measurement for result in results)
    return Classification(unlabeled, test, CategoryMeasurement(*sizes, measurements, proposals))


LevelProposals = tuple[Rows, NDArray[np.float32]]
"""The most likely code of each of some items, and its confidence, (items,) both."""


@dataclass(frozen=True)
class _LevelResult:
    measurement: LevelMeasurement
    test: LevelProposals
    unlabeled: LevelProposals


def _stack_proposals(rows: Rows, paths: list[list[list[str]]], levels: list[LevelProposals]) -> Proposals:
    codes, confidence = zip(*levels, strict=True)
    return Proposals(rows, paths, np.stack(codes), np.stack(confidence))


def _classify_level(
    vectors: NDArray[np.float32], positives: csr_matrix, level: Level, split: LabelSplit, seed: int
) -> _LevelResult:
    """Train and measure the classifier of one level."""
    from recsys.models.categories.classifier import CategoryClassifier, CategoryClassifierConfig, softmax

    labels, calibration = level.labels(split.train), level.labels(split.calibration)
    classifier = CategoryClassifier(CategoryClassifierConfig(seed=seed)).fit(
        vectors, positives, labels, calibration
    )

    def best(probabilities: NDArray[np.float32]) -> LevelProposals:
        named = probabilities[:, : len(level.class_codes)]  # the class of other categories is never proposed
        return level.class_codes[named.argmax(axis=1)], named.max(axis=1)

    truth: Rows = level.codes[split.test]
    codes, confidence = best(classifier.probabilities(split.test))
    uncalibrated, uncalibrated_confidence = best(softmax(classifier.logits(split.test)))
    propagated, _ = best(LabelPropagation.build(positives, labels, int(labels.max()) + 1).shares(split.test))
    measurement = LevelMeasurement(
        level=level.number,
        classes=len(level.class_codes),
        accuracy=_accuracy(codes, truth),
        macro_f1=macro_f1(truth, codes),
        calibration_error=calibration_error(confidence, codes == truth),
        uncalibrated_error=calibration_error(uncalibrated_confidence, uncalibrated == truth),
        most_frequent_accuracy=_accuracy(np.full_like(truth, level.class_codes[0]), truth),
        propagation_accuracy=_accuracy(propagated, truth),
    )
    return _LevelResult(measurement, (codes, confidence), best(classifier.probabilities(split.unlabeled)))


def _accuracy(codes: Rows, truth: Rows) -> float:
    return float(np.equal(codes, truth).mean())
