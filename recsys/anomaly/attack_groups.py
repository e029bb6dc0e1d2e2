"""Crowds that are no cross-section of the shop: the users of an item who are all unusual in the same way.

One unusual shopper is a shopper. A hundred accounts that want the same item and have the same unusual measures -
all new, all of the same incoherent taste, none ever coming back - were made for it. For every item the mean of its
users' measures is set against that of all users, in units of how users differ (Hotelling, "The generalization of
Student's ratio", Annals of Mathematical Statistics 1931). Where they are far apart, the item's users are told apart
along the line between the two means (Fisher 1936) as a mixture: those who are as everybody, and those of the crowd.
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
"""By so many times more than chance alone do the means of an item's users differ: users who share one are alike."""
RIDGE: Final = 0.1
ROUNDS: Final = 8
STEPS: Final = 30
BEYOND: Final = 1.64
"""A user of the crowd lies so many standard deviations from the mean of all, along the line to the crowd's."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class AttackGroup:
    """Users of one item who are unusual in the same way."""

    item: int
    users: NDArray[np.int64]
    distance: float
    """Squared Mahalanobis distance of the mean of all users of the item from that of all users."""
    times: float
    """The distance over the least that is suspicious in an item of so many users, 1 or more."""
    shift: Numbers
    """By how much the crowd's measures lie above those of all users, (measures,), in standard deviations."""


def normal_scores(measures: Numbers) -> Numbers:
    """Each column by rank on the scale of a normal distribution, (users, measures); unknown is 0, constant is 0."""
    scores = np.zeros(measures.shape)
    for column in range(measures.shape[1]):
        known = np.isfinite(measures[:, column])
        values: Numbers = measures[known, column]
        if len(values) and values.min() < values.max():
            scores[known, column] = ndtri((np.asarray(rankdata(values)) - 0.5) / len(values))
    return scores


def find_attack_groups(user_items: csr_matrix, measures: Numbers) -> list[AttackGroup]:
    """The crowds among the users of each item, the most distant first, each user in one at most.

    `user_items` (users x items) has ones, `measures` (users, measures) are `normal_scores`. A crowd that is found
    is taken out of the background before the next is looked for. Linear in entries times measures. Warm-up: none in
    items of fewer than `MIN_GROUP_SIZE` users.
    """
    found: list[AttackGroup] = []
    active = np.ones(user_items.shape[0], np.bool_)
    by_item = csr_matrix(user_items.T)
    varying = measures.std(axis=0) > 0
    scores = measures[:, varying]
    for _ in range(ROUNDS):
        crowds = _round(by_item, scores, active) if scores.shape[1] else []
        if not crowds:
            break
        for item, users, distance, times in crowds:
            shift = np.zeros(measures.shape[1])
            shift[varying] = scores[users].mean(axis=0)
            found.append(AttackGroup(item, users, distance, times, shift))
    return sorted(found, key=lambda crowd: -crowd.distance)


def _round(
    by_item: csr_matrix, scores: Numbers, active: NDArray[np.bool_]
) -> list[tuple[int, NDArray[np.int64], float, float]]:
    """The crowds that stand out from the active users; they become inactive."""
    weight: Numbers = np.asarray(by_item.sum(axis=0), np.float64).ravel() * active
    mean, covariance = _background(scores, weight)
    inverse = np.linalg.inv(covariance)
    centred = np.where(active[:, None], scores - mean, 0.0)
    counts = by_item @ active.astype(float)
    means = (by_item @ centred) / np.maximum(counts, 1)[:, None]
    distances = np.einsum("if,fg,ig->i", means, inverse, means)
    large = counts >= MIN_GROUP_SIZE
    chance = OVERDISPERSION * _greatest_by_chance(scores.shape[1], int(large.sum())) / np.maximum(counts, 1)
    times = np.where(large, distances / (MIN_DISTANCE + chance), 0.0)
    suspicious = np.flatnonzero(times >= 1)
    found: list[tuple[int, NDArray[np.int64], float, float]] = []
    for item in suspicious[np.argsort(-distances[suspicious], kind="stable")]:
        users = by_item.indices[by_item.indptr[item] : by_item.indptr[item + 1]]
        users = users[active[users]]
        if len(users) < MIN_GROUP_SIZE:
            continue
        line = inverse @ means[item]
        line /= np.sqrt(line @ covariance @ line)
        members = users[_of_crowd(centred[users] @ line)]
        if len(members) >= MIN_GROUP_SIZE:
            active[members] = False
            found.append((int(item), members.astype(np.int64), float(distances[item]), float(times[item])))
    return found


def _greatest_by_chance(measures: int, items: int) -> float:
    """What the greatest of so many chi-square variables rarely exceeds (Laurent and Massart 2000)."""
    logarithm = np.log(max(items, 1))
    return float(measures + 2 * np.sqrt(measures * logarithm) + 2 * logarithm)


def _background(scores: Numbers, weight: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and covariance of the users, each as often as it has items: so often is it met among an item's users."""
    share = weight / weight.sum()
    mean = share @ scores
    centred = scores - mean
    return mean, (centred * share[:, None]).T @ centred + RIDGE * np.eye(scores.shape[1])


def _of_crowd(places: Numbers) -> NDArray[np.bool_]:
    """Which of the users, by their places along the line, are rather of the crowd than of the background, which is
    standard normal: a mixture of the two, fitted by expectation and maximisation.
    """
    mean, deviation, share = float(np.quantile(places, 0.75)), max(float(places.std()), 0.25), 0.5
    posterior = np.ones(len(places))
    for _ in range(STEPS):
        crowd = share * np.exp(-0.5 * ((places - mean) / deviation) ** 2) / deviation
        background = (1 - share) * np.exp(-0.5 * places**2)
        posterior = crowd / np.maximum(crowd + background, np.finfo(float).tiny)
        total = float(posterior.sum())
        if total < 1:
            break
        mean = float(posterior @ places) / total
        deviation = max(float(np.sqrt(posterior @ (places - mean) ** 2 / total)), 0.25)
        share = min(max(total / len(places), 0.01), 0.99)
    return (posterior > 0.5) & (places > BEYOND)
