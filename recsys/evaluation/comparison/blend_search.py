"""Search for blend weights on validation lists, accepted on users that did not choose them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from recsys.evaluation.comparison.acceptance import MIN_USERS, is_accepted
from recsys.evaluation.comparison.list_pool import ListPool, Users, Weights, build_list_pool
from recsys.evaluation.ground_truth import GroundTruth
from recsys.evaluation.metrics.ranking import Values
from recsys.evaluation.segments import HEAVY, LIGHT, Mask
from recsys.ids import Rows

MAX_SEARCHED_USERS: Final = 5_000
FOLDS: Final = 3
PENALTY: Final = 2.0  # standard errors of the gain that are subtracted from it
STEPS: Final = (0.5, 0.25, 0.1, 0.05)
MIN_SEGMENT_USERS: Final = 200  # of a segment with its own weights
EVERYONE: Final = "everyone"


@dataclass(frozen=True)
class BlendChoice:
    """The blend weights that the search chose; members with a positive weight, the heaviest first."""

    weights: dict[str, dict[str, float]]
    """Member -> segment (everyone, light, heavy) -> weight; the weights of a segment sum to 1."""
    gain: float
    """Mean NDCG minus that of the best single model, each user with weights found without the user."""
    gain_deviation: float
    """Standard error of the gain."""
    cost_of_leaving_out: dict[str, float]
    """Member -> loss of NDCG when the member is removed and the other weights stay, each user with weights found
    without the user."""


@dataclass(frozen=True)
class _CrossFit:
    """A search whose users are divided into folds: a row of weights is found without the users of its fold."""

    pool: ListPool
    fold_of_user: Rows  # (U,)
    min_gain: float
    seed: int

    def held_out_ndcg(self, weights: Weights, users: Users) -> Values:
        """Return the NDCG of users, each with the weights of the user's fold, (len(users),)."""
        values = np.empty(len(users))
        for fold, fold_weights in enumerate(weights):
            chosen = self.fold_of_user[users] == fold
            values[chosen] = self.pool.ndcg(fold_weights, users[chosen])
        return values

    def improve(self, start: Weights, users: Users) -> Weights:
        """Search for weights of users, (folds, models), from `start` on; return `start` if none are accepted."""
        if len(users) < MIN_USERS:
            return start
        found = self._climb_folds(start, users, np.ones_like(start[0], np.bool_))
        members = self._find_members(found, users)
        if not members.any():
            return start
        if found[:, ~members].any():
            found = self._climb_folds(_restrict(found, members), users, members)
        candidate, incumbent = self.held_out_ndcg(found, users), self.held_out_ndcg(start, users)
        return found if is_accepted(candidate, incumbent, self.min_gain, self.seed) else start

    def _climb_folds(self, start: Weights, users: Users, members: Mask) -> Weights:
        folds = self.fold_of_user[users]
        return np.array(
            [_climb(self.pool, users[folds != fold], weights, members) for fold, weights in enumerate(start)]
        )

    def _find_members(self, weights: Weights, users: Users) -> Mask:
        """Return the models with a weight in every fold without which the NDCG is lower, (M,).

        The least needed of the others is removed first, because two similar models may stand in for each other.
        """
        members: Mask = np.all(weights > 0, axis=0)
        while members.sum() > 1:
            kept = weights * members
            whole = self.held_out_ndcg(kept, users)
            without = {
                place: self.held_out_ndcg(_drop(kept, place), users) for place in np.flatnonzero(members).tolist()
            }
            weakest = min(without, key=lambda place: _t_statistic(whole - without[place]))
            if is_accepted(whole, without[weakest], 0.0, self.seed):
                break
            members[weakest] = False
        return members


def choose_blend(
    lists: Mapping[str, Rows], ground_truth: GroundTruth, k: int, min_gain: float, seed: int
) -> BlendChoice:
    """Choose blend weights for models, given their lists (U, depth) for `ground_truth.user_rows` by name.

    The users are divided into `FOLDS` folds. Without each fold, hill climbing from the best single model finds
    weights: one weight changes at a time as long as the objective grows, which is the mean gain in NDCG@k minus
    `PENALTY` of its standard errors. The users of the fold measure them. Models without a weight in every fold are
    removed, and models without which the NDCG of these users is not lower, by the rule of `is_accepted`. The blend
    is accepted by the same rule with `min_gain`; otherwise the single model stays. The weights are the means over
    the folds. A segment with at least `MIN_SEGMENT_USERS` users gets its own weights if these are accepted in place
    of the weights of all users.

    Sources: Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble Selection from Libraries of Models" (ICML 2004); for
    cross-fitting, Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions" (1974).
    """
    names = list(lists)
    chosen = _sample(len(ground_truth.user_rows), seed)
    pool = build_list_pool([lists[name][chosen] for name in names], ground_truth.returning.select(chosen), k)
    users = np.arange(len(pool.ideal))
    folds = np.random.default_rng(seed).permutation(len(users)).astype(np.int32) % FOLDS
    search = _CrossFit(pool, folds, min_gain, seed)
    singles = np.eye(len(names), dtype=np.float32)
    best = singles[np.argmax([pool.ndcg(weights, users).mean() for weights in singles])]
    everyone = search.improve(np.tile(best, (FOLDS, 1)), users)
    by_segment, values = {EVERYONE: everyone}, search.held_out_ndcg(everyone, users)
    for segment in (LIGHT, HEAVY):
        own = np.flatnonzero(ground_truth.segments[segment][chosen])
        by_segment[segment] = search.improve(everyone, own) if len(own) >= MIN_SEGMENT_USERS else everyone
        values[own] = search.held_out_ndcg(by_segment[segment], own)
    gains = values - pool.ndcg(best, users)
    whole = search.held_out_ndcg(everyone, users)
    return BlendChoice(
        weights=_round_weights(names, {segment: weights.mean(axis=0) for segment, weights in by_segment.items()}),
        gain=float(gains.mean()),
        gain_deviation=_standard_error(gains),
        cost_of_leaving_out={
            name: float((whole - search.held_out_ndcg(_drop(everyone, place), users)).mean())
            for place, name in enumerate(names)
            if everyone[:, place].any() and np.delete(everyone, place, axis=1).any()
        },
    )


def _sample(users: int, seed: int) -> Mask:
    """Draw at most `MAX_SEARCHED_USERS` users, as a mask (users,)."""
    chosen = np.zeros(users, np.bool_)
    chosen[np.random.default_rng(seed).permutation(users)[:MAX_SEARCHED_USERS]] = True
    return chosen


def _climb(pool: ListPool, users: Users, start: Weights, members: Mask) -> Weights:
    """Climb from `start` to weights of `members` with a higher objective; return `start` if there are none."""
    base, weights, best = pool.ndcg(start, users), start, 0.0
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for place, change in product(np.flatnonzero(members), (step, -step)):
                if change < 0 and not weights[place]:
                    continue
                moved = _move_weight(weights, place, change)
                gains = pool.ndcg(moved, users) - base
                objective = float(gains.mean()) - PENALTY * _standard_error(gains)
                if objective > best:
                    weights, best, improved = moved, objective, True
    return weights


def _move_weight(weights: Weights, place: np.intp, change: float) -> Weights:
    """Add `change` to one weight, clip it at 0 and normalize the sum to 1; unchanged if all weights would be 0."""
    moved = weights.copy()
    moved[place] = max(moved[place] + change, 0)
    return moved / moved.sum() if moved.any() else weights


def _restrict(weights: Weights, members: Mask) -> Weights:
    """Keep the weights of `members`, summing to 1 in each row; equal weights in a row where none is left."""
    kept = weights * members
    kept[~kept.any(axis=1)] = members
    return kept / kept.sum(axis=1, keepdims=True)


def _drop(weights: Weights, place: int) -> Weights:
    """Set the weight of one model to 0 in all folds."""
    kept = weights.copy()
    kept[:, place] = 0
    return kept


def _standard_error(values: Values) -> float:
    return float(values.std() / len(values) ** 0.5)


def _t_statistic(differences: Values) -> float:
    """Return the mean in standard errors; 0 without any difference."""
    error = _standard_error(differences)
    return float(differences.mean()) / error if error else 0.0


def _round_weights(names: list[str], weights_by_segment: Mapping[str, Weights]) -> dict[str, dict[str, float]]:
    """Round weights to four decimals, drop members without any, and put the heaviest for everyone first."""
    table = {
        name: {segment: round(float(weights[place]), 4) for segment, weights in weights_by_segment.items()}
        for place, name in enumerate(names)
    }
    used = {name: weights for name, weights in table.items() if any(weights.values())}
    return dict(sorted(used.items(), key=lambda entry: (-entry[1][EVERYONE], entry[0])))
