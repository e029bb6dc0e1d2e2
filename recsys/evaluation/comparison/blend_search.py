"""The weights of a blend, chosen on validation lists by NDCG less its uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.data.rank_merging import pool_lists
from recsys.evaluation.comparison.ground_truth import GroundTruth, Relevance
from recsys.evaluation.comparison.segments import HEAVY, LIGHT, Mask
from recsys.evaluation.metrics.ranking import Values
from recsys.ids import Rows

SEARCHED_USERS: Final = 5_000
SEARCHED_PLACES: Final = 100  # of each list
RESAMPLES: Final = 200
PENALTY: Final = 1.0  # standard deviations of the gain that are taken off it
STEPS: Final = (0.5, 0.25, 0.1, 0.05)
MIN_USERS: Final = 200  # of a segment with weights of its own
EVERYONE: Final = "everyone"

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class BlendChoice:
    """What the search found, members with a weight only, best first."""

    weights: dict[str, dict[str, float]]
    """Member -> segment (everyone, light, heavy) -> weight; the weights of a segment add up to 1."""
    gain: float
    """Mean NDCG above that of the best single model, on the users the weights were chosen on."""
    gain_deviation: float
    """Standard deviation of the gain over bootstrap resamples of the users."""
    cost_of_leaving_out: dict[str, float]
    """Member -> NDCG lost where the other members stay with their weights."""


@dataclass(frozen=True)
class _Pool:
    """The items that any list holds for each user, padded, and which of them the user wanted."""

    values: NDArray[np.float32]  # (U, C, M)
    hits: NDArray[np.bool_]  # (U, C)
    ideal: Values  # (U,)
    k: int

    def ndcg(self, weights: Weights) -> Values:
        """Of each user, by the weighted sum of the values; (U,)."""
        scores = self.values @ weights
        best = np.argpartition(-scores, self.k - 1, axis=1)[:, : self.k]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, 1), 1)
        return hits @ (1 / np.log2(np.arange(self.k) + 2)) / self.ideal

    def select(self, users: Mask) -> "_Pool":
        return _Pool(self.values[users], self.hits[users], self.ideal[users], self.k)


def choose_blend(lists: Mapping[str, Rows], ground_truth: GroundTruth, k: int, seed: int) -> BlendChoice:
    """Weights for models whose lists (U, depth) for `ground_truth.user_rows` are given by name.

    From the best single model on, weights are changed one at a time as long as the mean gain in NDCG@k over that
    model, less `PENALTY` standard deviations of it over bootstrap resamples of the users, grows: an ensemble
    selection (Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble Selection from Libraries of Models", ICML 2004)
    that pays for instability. A segment of users gets weights of its own where the same measure supports them
    over those of everyone.
    """
    names = list(lists)
    chosen = _sample(len(ground_truth.user_rows), seed)
    pool = _pool(
        [lists[name][chosen, :SEARCHED_PLACES] for name in names], ground_truth.returning.select(chosen), k
    )
    single = [pool.ndcg(weights) for weights in np.eye(len(names), dtype=np.float32)]
    best = int(np.argmax([values.mean() for values in single]))
    start = np.eye(len(names), dtype=np.float32)[best]
    everyone = _climb(pool, start, seed)
    of_segment = {EVERYONE: everyone}
    for segment in (LIGHT, HEAVY):
        users = ground_truth.segments[segment][chosen]
        enough = users.sum() >= MIN_USERS
        of_segment[segment] = _climb(pool.select(users), everyone, seed) if enough else everyone
    gains = _of_segments(pool, ground_truth, chosen, of_segment) - single[best]
    return BlendChoice(
        weights=_named(names, of_segment),
        gain=float(gains.mean()),
        gain_deviation=float((_resample(len(gains), seed) @ gains).std()),
        cost_of_leaving_out={
            name: float(pool.ndcg(everyone).mean() - pool.ndcg(_without(everyone, place)).mean())
            for place, name in enumerate(names)
            if 0 < everyone[place] < 1
        },
    )


def _sample(users: int, seed: int) -> Mask:
    """Which users are searched on: all, or as many as are enough."""
    chosen = np.zeros(users, np.bool_)
    chosen[np.random.default_rng(seed).permutation(users)[:SEARCHED_USERS]] = True
    return chosen


def _pool(lists: list[Rows], wanted: Relevance, k: int) -> _Pool:
    pooled = pool_lists(lists)
    users, items = len(lists[0]), wanted.relevant.shape[1]
    starts = np.searchsorted(pooled.users, np.arange(users + 1))
    places = np.arange(len(pooled.users)) - starts[pooled.users]
    shape = (users, max(k, int(np.diff(starts).max(initial=0))))
    values = np.zeros((*shape, len(lists)), np.float32)
    values[pooled.users, places] = pooled.values
    hits = np.zeros(shape, np.bool_)
    wanted_keys = np.repeat(np.arange(users), np.diff(wanted.relevant.indptr)) * items + wanted.relevant.indices
    hits[pooled.users, places] = np.isin(pooled.users * items + pooled.items, wanted_keys)
    ideal = np.cumsum(1 / np.log2(np.arange(k) + 2))[np.minimum(wanted.relevant_counts, k) - 1]
    return _Pool(values, hits, ideal, k)


def _climb(pool: _Pool, start: Weights, seed: int) -> Weights:
    """Better weights than `start`, or `start` where none are better by more than their uncertainty."""
    resamples = _resample(len(pool.ideal), seed)
    base, weights, best = pool.ndcg(start), start, 0.0
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for place, change in product(range(len(weights)), (step, -step)):
                moved = _moved(weights, place, change)
                gains = pool.ndcg(moved) - base
                worth = float(gains.mean() - PENALTY * (resamples @ gains).std())
                if worth > best:
                    weights, best, improved = moved, worth, True
    return weights


def _moved(weights: Weights, place: int, change: float) -> Weights:
    """One weight more or less, not below 0, then all scaled to add up to 1; as it was where none would be left."""
    moved = weights.copy()
    moved[place] = max(moved[place] + change, 0)
    return moved / moved.sum() if moved.any() else weights


def _resample(users: int, seed: int) -> Values:
    """How much each user counts in each bootstrap resample, (RESAMPLES, users); rows add up to 1."""
    drawn = np.random.default_rng(seed).integers(users, size=(RESAMPLES, users))
    rows = np.arange(RESAMPLES)[:, None] * users
    return np.bincount((rows + drawn).ravel(), minlength=RESAMPLES * users).reshape(RESAMPLES, users) / users


def _of_segments(pool: _Pool, ground_truth: GroundTruth, chosen: Mask, of_segment: Mapping[str, Weights]) -> Values:
    values = pool.ndcg(of_segment[EVERYONE])
    for segment in (LIGHT, HEAVY):
        users = ground_truth.segments[segment][chosen]
        values[users] = pool.select(users).ndcg(of_segment[segment]) if users.any() else values[users]
    return values


def _without(weights: Weights, place: int) -> Weights:
    kept = weights.copy()
    kept[place] = 0
    return kept


def _named(names: list[str], of_segment: Mapping[str, Weights]) -> dict[str, dict[str, float]]:
    """Weights to four places, members with none left out, the heaviest for everyone first."""
    table = {
        name: {segment: round(float(weights[place]), 4) for segment, weights in of_segment.items()}
        for place, name in enumerate(names)
    }
    used = {name: weights for name, weights in table.items() if any(weights.values())}
    return dict(sorted(used.items(), key=lambda entry: (-entry[1][EVERYONE], entry[0])))
