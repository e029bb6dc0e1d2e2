"""Search for blend weights on validation lists, by NDCG with a penalty for its uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.data.rank_merging import pool_lists
from recsys.evaluation.ground_truth import GroundTruth, Relevance
from recsys.evaluation.metrics.ranking import Values
from recsys.evaluation.segments import HEAVY, LIGHT, Mask
from recsys.ids import Rows

MAX_SEARCHED_USERS: Final = 5_000
MAX_SEARCHED_POSITIONS: Final = 100  # of each list
RESAMPLES: Final = 200
PENALTY: Final = 1.0  # standard deviations of the gain that are subtracted from it
STEPS: Final = (0.5, 0.25, 0.1, 0.05)
MIN_SEGMENT_USERS: Final = 200  # of a segment with its own weights
EVERYONE: Final = "everyone"

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class BlendChoice:
    """The blend weights that the search chose; members with a positive weight, the heaviest first."""

    weights: dict[str, dict[str, float]]
    """Member -> segment (everyone, light, heavy) -> weight; the weights of a segment sum to 1."""
    gain: float
    """Mean NDCG minus that of the best single model, on the users that the weights were chosen on."""
    gain_deviation: float
    """Standard deviation of the gain over bootstrap resamples of the users."""
    cost_of_leaving_out: dict[str, float]
    """Member -> loss of NDCG when the member is removed and the other weights stay."""


@dataclass(frozen=True)
class _Pool:
    """The union of each user's lists, padded to C items, with the relevance of each item."""

    values: NDArray[np.float32]  # (U, C, M)
    hits: NDArray[np.bool_]  # (U, C)
    ideal: Values  # (U,)
    k: int

    def ndcg(self, weights: Weights) -> Values:
        """Return the NDCG@k of each user when items are ranked by the weighted sum of the values, (U,)."""
        scores = self.values @ weights
        best = np.argpartition(-scores, self.k - 1, axis=1)[:, : self.k]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, 1), 1)
        return hits @ (1 / np.log2(np.arange(self.k) + 2)) / self.ideal

    def select(self, users: Mask) -> "_Pool":
        return _Pool(self.values[users], self.hits[users], self.ideal[users], self.k)


def choose_blend(lists: Mapping[str, Rows], ground_truth: GroundTruth, k: int, seed: int) -> BlendChoice:
    """Choose blend weights for models, given their lists (U, depth) for `ground_truth.user_rows` by name.

    Hill climbing from the best single model: one weight changes at a time as long as the objective grows. The
    objective is the mean gain in NDCG@k over the best single model, minus `PENALTY` of its standard deviations over
    bootstrap resamples of the users. A segment with at least `MIN_SEGMENT_USERS` users gets its own weights where
    the same objective improves over the weights of all users.

    Source: Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble Selection from Libraries of Models" (ICML 2004).
    """
    names = list(lists)
    chosen = _sample(len(ground_truth.user_rows), seed)
    pool = _pool(
        [lists[name][chosen, :MAX_SEARCHED_POSITIONS] for name in names], ground_truth.returning.select(chosen), k
    )
    single = [pool.ndcg(weights) for weights in np.eye(len(names), dtype=np.float32)]
    best = int(np.argmax([values.mean() for values in single]))
    start = np.eye(len(names), dtype=np.float32)[best]
    everyone = _climb(pool, start, seed)
    weights_by_segment = {EVERYONE: everyone}
    for segment in (LIGHT, HEAVY):
        users = ground_truth.segments[segment][chosen]
        enough = users.sum() >= MIN_SEGMENT_USERS
        weights_by_segment[segment] = _climb(pool.select(users), everyone, seed) if enough else everyone
    gains = _ndcg_by_segment(pool, ground_truth, chosen, weights_by_segment) - single[best]
    return BlendChoice(
        weights=_round_weights(names, weights_by_segment),
        gain=float(gains.mean()),
        gain_deviation=float((_resample(len(gains), seed) @ gains).std()),
        cost_of_leaving_out={
            name: float(pool.ndcg(everyone).mean() - pool.ndcg(_drop_member(everyone, place)).mean())
            for place, name in enumerate(names)
            if 0 < everyone[place] < 1
        },
    )


def _sample(users: int, seed: int) -> Mask:
    """Draw at most `MAX_SEARCHED_USERS` users, as a mask (users,)."""
    chosen = np.zeros(users, np.bool_)
    chosen[np.random.default_rng(seed).permutation(users)[:MAX_SEARCHED_USERS]] = True
    return chosen


def _pool(lists: list[Rows], relevance: Relevance, k: int) -> _Pool:
    """Unite the lists of each user and mark the relevant items."""
    pooled = pool_lists(lists)
    users, items = len(lists[0]), relevance.relevant.shape[1]
    starts = np.searchsorted(pooled.users, np.arange(users + 1))
    places = np.arange(len(pooled.users)) - starts[pooled.users]
    shape = (users, max(k, int(np.diff(starts).max(initial=0))))
    values = np.zeros((*shape, len(lists)), np.float32)
    values[pooled.users, places] = pooled.values
    hits = np.zeros(shape, np.bool_)
    relevant_keys = (
        np.repeat(np.arange(users), np.diff(relevance.relevant.indptr)) * items + relevance.relevant.indices
    )
    hits[pooled.users, places] = np.isin(pooled.users * items + pooled.items, relevant_keys)
    ideal = np.cumsum(1 / np.log2(np.arange(k) + 2))[np.minimum(relevance.relevant_counts, k) - 1]
    return _Pool(values, hits, ideal, k)


def _climb(pool: _Pool, start: Weights, seed: int) -> Weights:
    """Climb from `start` to weights with a higher objective; return `start` if there are none."""
    resamples = _resample(len(pool.ideal), seed)
    base, weights, best = pool.ndcg(start), start, 0.0
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for place, change in product(range(len(weights)), (step, -step)):
                moved = _move_weight(weights, place, change)
                gains = pool.ndcg(moved) - base
                objective = float(gains.mean() - PENALTY * (resamples @ gains).std())
                if objective > best:
                    weights, best, improved = moved, objective, True
    return weights


def _move_weight(weights: Weights, place: int, change: float) -> Weights:
    """Add `change` to one weight, clip it at 0 and normalize the sum to 1; unchanged if all weights would be 0."""
    moved = weights.copy()
    moved[place] = max(moved[place] + change, 0)
    return moved / moved.sum() if moved.any() else weights


def _resample(users: int, seed: int) -> Values:
    """Draw bootstrap weights of the users, (RESAMPLES, users); rows sum to 1."""
    drawn = np.random.default_rng(seed).integers(users, size=(RESAMPLES, users))
    rows = np.arange(RESAMPLES)[:, None] * users
    return np.bincount((rows + drawn).ravel(), minlength=RESAMPLES * users).reshape(RESAMPLES, users) / users


def _ndcg_by_segment(
    pool: _Pool, ground_truth: GroundTruth, chosen: Mask, weights_by_segment: Mapping[str, Weights]
) -> Values:
    """Return the NDCG@k of each user with the weights of the user's segment, (U,)."""
    values = pool.ndcg(weights_by_segment[EVERYONE])
    for segment in (LIGHT, HEAVY):
        users = ground_truth.segments[segment][chosen]
        values[users] = pool.select(users).ndcg(weights_by_segment[segment]) if users.any() else values[users]
    return values


def _drop_member(weights: Weights, place: int) -> Weights:
    kept = weights.copy()
    kept[place] = 0
    return kept


def _round_weights(names: list[str], weights_by_segment: Mapping[str, Weights]) -> dict[str, dict[str, float]]:
    """Round weights to four decimals, drop members without any, and put the heaviest for everyone first."""
    table = {
        name: {segment: round(float(weights[place]), 4) for segment, weights in weights_by_segment.items()}
        for place, name in enumerate(names)
    }
    used = {name: weights for name, weights in table.items() if any(weights.values())}
    return dict(sorted(used.items(), key=lambda entry: (-entry[1][EVERYONE], entry[0])))
