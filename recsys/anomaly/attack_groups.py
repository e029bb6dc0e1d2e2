"""Group attack detection: users of one item who are all unusual in the same way.

One unusual customer is a customer. A hundred accounts that act on the same item and have the same unusual
measures - all new, all incoherent, none ever returning - were created for that item. For every item, the mean of
its users' measures is compared with the mean of all users by the Mahalanobis distance (Hotelling, "The
generalization of Student's ratio", Annals of Mathematical Statistics 1931). Where they are far apart, the item's
users are projected on the line between the two means (Fisher 1936) and separated as a mixture of ordinary users and
members of the group.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import ndtri
from scipy.stats import rankdata

MIN_GROUP_SIZE: Final = 8
MIN_DISTANCE: Final = 4.2
OVERDISPERSION: Final = 2.5
"""How much more the means of items differ than by chance alone: users who share an item are alike."""
RIDGE: Final = 0.1
ROUNDS: Final = 8
STEPS: Final = 30
MIN_MEMBER_DISTANCE: Final = 1.64
"""Least distance of a member from the mean of all users, in standard deviations along the line to the group."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class AttackGroup:
    """Users of one item who are unusual in the same way."""

    item: int
    users: NDArray[np.int64]
    distance: float
    """Squared Mahalanobis distance of the mean of all users of the item from that of all users."""
    excess: float
    """The distance divided by the least that is suspicious for an item of that many users; at least 1."""
    shift: Numbers
    """How far the group's mean measures lie above those of all users, (measures,), in standard deviations."""


def normal_scores(measures: Numbers) -> Numbers:
    """Map each column to normal scores by rank, (users, measures); nan and constant columns become 0."""
    scores = np.zeros(measures.shape)
    for column in range(measures.shape[1]):
        finite = np.isfinite(measures[:, column])
        values: Numbers = measures[finite, column]
        if len(values) and values.min() < values.max():
            scores[finite, column] = ndtri((np.asarray(rankdata(values)) - 0.5) / len(values))
    return scores


def find_attack_groups(user_items: csr_matrix, measures: Numbers) -> list[AttackGroup]:
    """Find the attack groups among the users of each item, the most distant first; a user is in at most one.

    `user_items` (users, items) holds ones, `measures` (users, measures) are `normal_scores`. Members of a group are
    removed from the background before the next groups are searched. Linear in entries times measures. Items with
    fewer than `MIN_GROUP_SIZE` users have no groups.
    """
    groups: list[AttackGroup] = []
    active = np.ones(user_items.shape[0], np.bool_)
    by_item = csr_matrix(user_items.T)
    varying = measures.std(axis=0) > 0
    scores = measures[:, varying]
    for _ in range(ROUNDS):
        round_groups = _find_in_round(by_item, scores, active) if scores.shape[1] else []
        if not round_groups:
            break
        for item, users, distance, excess in round_groups:
            shift = np.zeros(measures.shape[1])
            shift[varying] = scores[users].mean(axis=0)
            groups.append(AttackGroup(item, users, distance, excess, shift))
    return sorted(groups, key=lambda group: -group.distance)


def _find_in_round(
    by_item: csr_matrix, scores: Numbers, active: NDArray[np.bool_]
) -> list[tuple[int, NDArray[np.int64], float, float]]:
    """Find item, users, distance and excess of the groups among the active users, and make these inactive."""
    weight: Numbers = np.asarray(by_item.sum(axis=0), np.float64).ravel() * active
    mean, covariance = _background(scores, weight)
    inverse = np.linalg.inv(covariance)
    centered = np.where(active[:, None], scores - mean, 0.0)
    counts = by_item @ active.astype(float)
    means = (by_item @ centered) / np.maximum(counts, 1)[:, None]
    distances = np.einsum("if,fg,ig->i", means, inverse, means)
    large = counts >= MIN_GROUP_SIZE
    chance = OVERDISPERSION * _greatest_by_chance(scores.shape[1], int(large.sum())) / np.maximum(counts, 1)
    excess = np.where(large, distances / (MIN_DISTANCE + chance), 0.0)
    suspicious = np.flatnonzero(excess >= 1)
    groups: list[tuple[int, NDArray[np.int64], float, float]] = []
    for item in suspicious[np.argsort(-distances[suspicious], kind="stable")]:
        users = by_item.indices[by_item.indptr[item] : by_item.indptr[item + 1]]
        users = users[active[users]]
        if len(users) < MIN_GROUP_SIZE:
            continue
        line = inverse @ means[item]
        line /= np.sqrt(line @ covariance @ line)
        members = users[are_members(centered[users] @ line, MIN_MEMBER_DISTANCE)]
        if len(members) >= MIN_GROUP_SIZE:
            active[members] = False
            groups.append((int(item), members.astype(np.int64), float(distances[item]), float(excess[item])))
    return groups


def _greatest_by_chance(measures: int, items: int) -> float:
    """Bound the greatest of `items` chi-square variables with high probability (Laurent and Massart 2000)."""
    logarithm = np.log(max(items, 1))
    return float(measures + 2 * np.sqrt(measures * logarithm) + 2 * logarithm)


def _background(scores: Numbers, weight: Numbers) -> tuple[Numbers, Numbers]:
    """Compute mean and covariance of the users, weighted by their number of items."""
    share = weight / weight.sum()
    mean = share @ scores
    centered = scores - mean
    return mean, (centered * share[:, None]).T @ centered + RIDGE * np.eye(scores.shape[1])


def are_members(positions: Numbers, min_distance: float) -> NDArray[np.bool_]:
    """Return which users belong to the group rather than to the background, by their positions along the line.

    Members lie at least `min_distance` standard deviations from the mean of all users. Fits a mixture of a normal
    group and the standard normal background by expectation maximization.
    """
    mean, deviation, share = float(np.quantile(positions, 0.75)), max(float(positions.std()), 0.25), 0.5
    posterior = np.ones(len(positions))
    for _ in range(STEPS):
        group = share * np.exp(-0.5 * ((positions - mean) / deviation) ** 2) / deviation
        background = (1 - share) * np.exp(-0.5 * positions**2)
        posterior = group / np.maximum(group + background, np.finfo(float).tiny)
        total = float(posterior.sum())
        if total < 1:
            break
        mean = float(posterior @ positions) / total
        deviation = max(float(np.sqrt(posterior @ (positions - mean) ** 2 / total)), 0.25)
        share = min(max(total / len(positions), 0.01), 0.99)
    return (posterior > 0.5) & (positions > min_distance)
