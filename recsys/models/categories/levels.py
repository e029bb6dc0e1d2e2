"""Categories of items from the vectors of a fitted model, level by level, measured on labels that are held out."""

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
from recsys.models.categories.label_propagation import LabelHops
from recsys.schema import CATEGORY

CALIBRATION_SHARE: Final = 0.1
TEST_SHARE: Final = 0.2
MIN_LABELLED: Final = 200  # items with a category: of fewer, too few are left to calibrate and to measure on
MIN_OF_CATEGORY: Final = 10  # items to learn a category from
MAX_CATEGORIES: Final = 512  # of a level, the most frequent; the classifier's memory grows with their number
MAX_LEVELS: Final = 6
MIN_CONFIDENCE: Final = 0.5  # a proposal is more likely right than wrong
JOINED: Final = "\x1f"  # what stands in no name of a category


def category_path() -> pl.Expr:
    """The category of an item of the catalogue without missing names, null for an empty one."""
    names = pl.col(CATEGORY).list.drop_nulls()
    return pl.when(names.list.len() > 0).then(names).alias(CATEGORY)


@dataclass(frozen=True)
class Level:
    """The categories of one level: the first `number` names of each item's path, or all of a shorter one."""

    number: int
    codes: Rows  # (items,), `UNKNOWN` without a category
    paths: list[list[str]]  # by code
    named: Rows  # class -> code; the most frequent first, as far as there are enough to learn from

    @classmethod
    def of(cls, categories: pl.Series, number: int, learned_from: Rows) -> "Level":
        """A level of the paths `categories` (items,), null where there is none."""
        joined = categories.list.head(number).list.join(JOINED)
        names = joined.drop_nulls().unique().sort()
        codes = joined.replace_strict(
            names, np.arange(len(names)), default=UNKNOWN, return_dtype=pl.Int32
        ).to_numpy()
        counts = np.bincount(codes[learned_from], minlength=len(names))
        ordered = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
        named = ordered[counts[ordered] >= MIN_OF_CATEGORY].astype(np.int32)
        return cls(number, codes, [name.split(JOINED) for name in names], named)

    def labels(self, item_rows: Rows) -> Rows:
        """The class of each of `item_rows`, of all others `UNKNOWN`, (items,); one more class is all the rest."""
        classes = np.full(len(self.paths), len(self.named), np.int32)
        classes[self.named] = np.arange(len(self.named))
        labels = np.full(len(self.codes), UNKNOWN, np.int32)
        labels[item_rows] = classes[self.codes[item_rows]]
        return labels


@dataclass(frozen=True)
class Parts:
    """Rows of items with a category: to learn from, to calibrate on, to measure on; and of items without."""

    learn: Rows
    calibrate: Rows
    test: Rows
    without: Rows

    @classmethod
    def of(cls, categories: pl.Series, seed: int) -> "Parts":
        """Parts drawn at random; raises `NotEnoughDataError` for too few items with a category."""
        has = categories.is_not_null().to_numpy()
        labelled = np.random.default_rng(seed).permutation(np.flatnonzero(has)).astype(np.int32)
        if len(labelled) < MIN_LABELLED:
            raise NotEnoughDataError(
                f"{len(labelled)} items with events have a category; expected at least {MIN_LABELLED}"
            )
        test, calibrate = (int(len(labelled) * share) for share in (TEST_SHARE, TEST_SHARE + CALIBRATION_SHARE))
        parts = np.split(labelled, [test, calibrate])
        return cls(parts[2], parts[1], parts[0], np.flatnonzero(~has).astype(np.int32))


@dataclass(frozen=True)
class Proposals:
    """The best category of each level for some items; arrays are (levels, items)."""

    item_rows: Rows
    paths: list[list[list[str]]]  # by level and code
    codes: Rows
    confidence: NDArray[np.float32]

    def sure(self, asked: float = MIN_CONFIDENCE) -> list[tuple[int, list[str], float]]:
        """Row, path and confidence of the deepest level of each item that is sure enough."""
        found: list[tuple[int, list[str], float]] = []
        for place, level in enumerate(deepest_confident_level(self.confidence, asked).tolist()):
            if level != UNKNOWN:
                path = self.paths[level][self.codes[level, place]]
                found.append((int(self.item_rows[place]), path, float(self.confidence[level, place])))
        return found


@dataclass(frozen=True)
class Classified:
    """Proposals for the items without a category, and for the labelled ones that nothing was learned from."""

    without: Proposals
    test: Proposals
    measured: CategoryMeasurement


def classify(vectors: NDArray[np.float32], wanted: csr_matrix, categories: pl.Series, seed: int) -> Classified:
    """Learn the categories of items (items,), lists of names or null, from their vectors and the graph.

    Every level has a classifier of its own. What is measured is what proposes: nothing is fitted anew on the labels
    that were held out. Raises `NotEnoughDataError` where there are too few labels, or too few categories.
    """
    parts = Parts.of(categories, seed)
    depth = int(categories.list.len().max())  # pyright: ignore[reportArgumentType]
    levels = [Level.of(categories, number, parts.learn) for number in range(1, min(depth, MAX_LEVELS) + 1)]
    levels = [level for level in levels if len(level.named) > 1]
    if not levels:
        raise NotEnoughDataError(
            f"there are no two categories with {MIN_OF_CATEGORY} items with events each to learn from"
        )
    measured: list[LevelMeasurement] = []
    found: dict[str, list[NDArray[np.float32]]] = {"test": [], "without": []}
    named: dict[str, list[Rows]] = {"test": [], "without": []}
    for level in levels:
        measurement, best = _classify_level(vectors, wanted, level, parts, seed)
        measured.append(measurement)
        for part, (codes, confidence) in best.items():
            named[part].append(codes)
            found[part].append(confidence)
    paths = [level.paths for level in levels]
    without, test = (
        Proposals(rows, paths, np.stack(named[part]), np.stack(found[part]))
        for part, rows in (("without", parts.without), ("test", parts.test))
    )
    right = test.codes == np.stack([level.codes[parts.test] for level in levels])
    lengths = [np.array([len(path) for path in level], np.int32) for level in paths]
    depths = np.stack([length[codes] for length, codes in zip(lengths, test.codes, strict=True)])
    proposals = tuple(measure_proposals(test.confidence, right, depths, asked) for asked in CONFIDENCES)
    sizes = len(parts.learn), len(parts.calibrate), len(parts.test)
    return Classified(without, test, CategoryMeasurement(*sizes, tuple(measured), proposals))


def _classify_level(
    vectors: NDArray[np.float32], wanted: csr_matrix, level: Level, parts: Parts, seed: int
) -> tuple[LevelMeasurement, dict[str, tuple[Rows, NDArray[np.float32]]]]:
    """How well one level's classifier does, and the best code and its confidence for the items of two parts."""
    from recsys.models.categories.classifier import CategoryClassifier, CategoryClassifierConfig, softmax

    labels, calibration = level.labels(parts.learn), level.labels(parts.calibrate)
    classifier = CategoryClassifier(CategoryClassifierConfig(seed=seed)).fit(vectors, wanted, labels, calibration)

    def best(probabilities: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        among = probabilities[:, : len(level.named)]  # "all the rest" is never proposed
        return level.named[among.argmax(axis=1)], among.max(axis=1)

    truth = level.codes[parts.test]
    codes, confidence = best(classifier.probabilities(parts.test))
    uncalibrated, before = best(softmax(classifier.logits(parts.test)))
    spread, _ = best(LabelHops.of(wanted, labels, int(labels.max()) + 1).shares(parts.test))
    measurement = LevelMeasurement(
        level=level.number,
        classes=len(level.named),
        accuracy=float(np.mean(codes == truth)),
        macro_f1=macro_f1(truth, codes),
        calibration_error=calibration_error(confidence, codes == truth),
        uncalibrated_error=calibration_error(before, uncalibrated == truth),
        most_frequent_accuracy=float(np.mean(truth == level.named[0])),
        propagation_accuracy=float(np.mean(spread == truth)),
    )
    return measurement, {
        "test": (codes, confidence),
        "without": best(classifier.probabilities(parts.without)),
    }
