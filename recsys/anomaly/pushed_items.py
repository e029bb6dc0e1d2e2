"""Pushed items: items whose users came for them, never came before or after, and share other items too.

A hidden attack does not make its accounts unusual: each copies a part of a real user and acts on its own day. But
the accounts are newcomers who take the target at once and never return. No single one of them is conspicuous; the
users of few other items are like that together. For every item, the mean measures of the users whose first event
with it lies in a window are compared with those of all first events of that window, so that in a young shop
newcomers are not unusual. The distance is Hotelling's (Annals of Mathematical Statistics 1931), with the covariance
that the means of honest items have in this shop: the random-effects model of Henderson ("Estimation of variance and
covariance components", Biometrics 1953), estimated by moments without the most distant items.

Newcomers for a promoted or a new item are alike in the same way. Accounts made to bring it into the lists of
certain users also share the items of these users more than the shop's users of that time do. Without such a lift of
co-occurrence (as of an association rule; Brin, Motwani, Ullman, Tsur, SIGMOD 1997) nobody is in a group.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import ndtri
from scipy.stats import chi2, rankdata

from recsys.anomaly.attack_groups import are_members

WINDOWS_DAYS: Final = (28.0, 112.0, np.inf)
"""Ages of the first events of users with an item that are tested together."""
MIN_GROUP_SIZE: Final = 8
MIN_EFFECT_USERS: Final = 15
"""Users from which the means of an item take part in the estimate of the covariance between items."""
MIN_ITEMS: Final = 50
"""Items of so many users that a window needs for the estimate."""
TRIMMED_SHARE: Final = 0.02
ESTIMATION_STEPS: Final = 5
MAX_CHANCE: Final = 1e-4
"""Chance of a false alarm in a night, over all items and windows, if means are normal."""
TAIL: Final = 1.0
"""How much further the most distant honest items lie than normal means would."""
MIN_POSITION: Final = 0.5
MIN_LIFT: Final = 2.0
MIN_COVERAGE: Final = 0.8
COMPANIONS: Final = 100
BLOCK: Final = 1_000_000
DEBUG = False

# Columns of the measures of a first event.
BEFORE, AFTER, DAYS, REPEATS, SAME, PER_DAY = range(6)
PHRASES: Final = (
    "took it as soon as they came",
    "did not come back",
    "came on few days",
    "no item ever again",
    "it once only",
    "an unusual number of items a day",
)

Numbers = NDArray[np.float64]
Scores = NDArray[np.float32]
Rows = NDArray[np.integer]


@dataclass(frozen=True)
class FirstEvents:
    """The first events of users with items, one per entry of a matrix of users and items, in the matrix's order."""

    users: Rows
    items: Rows
    age_days: Numbers
    scores: Scores
    """Normal scores of the measures, (entries, measures)."""


@dataclass(frozen=True)
class PushedItem:
    """An item, and the users who were made to push it."""

    item: int
    users: Rows
    excess: float
    """The item's distance divided by the least that is suspicious; at least 1."""
    lift: float
    """How many pairs of the users share an item besides this one, as a multiple of chance."""
    shift: Numbers
    """How far the group's mean measures lie above those of the window, (measures,), in standard deviations."""


def measure_first_events(
    user_items: csr_matrix, events: Numbers, first_days: Numbers, last_days: Numbers, active_days: Numbers
) -> FirstEvents:
    """Measure the first event of each user with each item.

    `user_items` (users, items) has sorted indices; `events`, `first_days` and `last_days` are parallel to its
    entries: the number of events, and the days of the first and the last. `active_days` has a
    value per user.
    """
    sizes = np.diff(user_items.indptr)
    users = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    joined, left = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(joined, users, first_days)
    np.maximum.at(left, users, last_days)
    scores = np.zeros((len(users), len(PHRASES)), np.float32)
    scores[:, BEFORE] = _normal_scores(first_days - joined[users])
    scores[:, AFTER] = _normal_scores(left[users] - first_days)
    scores[:, SAME] = _normal_scores(events)
    counts = np.bincount(users, events, len(sizes)) / np.maximum(sizes, 1)
    per_user = {DAYS: active_days, REPEATS: counts, PER_DAY: sizes / np.maximum(active_days, 1)}
    for column, values in per_user.items():
        scores[:, column] = _normal_scores(values[users])
    return FirstEvents(users, user_items.indices, left.max(initial=0.0) - first_days, scores)


def find_pushed_items(user_items: csr_matrix, first: FirstEvents) -> list[PushedItem]:
    """Find the items that were pushed and the accounts that did it, the most distant items first.

    A user is in at most one group. Nobody is if the data has no times or all users came on one day only. Linear in
    entries times measures and windows.
    """
    groups: list[PushedItem] = []
    taken = np.zeros(user_items.shape[0], np.bool_)
    candidates = [
        candidate for window in WINDOWS_DAYS for candidate in _find_in_window(first, user_items.shape[1], window)
    ]
    numbers = np.arange(user_items.nnz)
    by_item = csr_matrix((numbers, user_items.indices, user_items.indptr), user_items.shape).T.tocsr()
    for candidate in sorted(candidates, key=lambda one: (-one.excess, one.item, one.window)):
        group = _find_group(user_items, by_item, first, candidate, taken)
        if group is not None:
            taken[group.users] = True
            groups.append(group)
    return groups


@dataclass(frozen=True)
class _Candidate:
    """An item that is distant in a window, with the mean of the window and the line to the item's mean."""

    item: int
    window: float
    excess: float
    mean: Numbers
    line: Numbers


def _find_in_window(first: FirstEvents, number: int, window: float) -> Iterator[_Candidate]:
    """Find the items whose users of the window are distant from all first events in it."""
    entries = np.flatnonzero(first.age_days <= window)
    if not len(entries):
        return
    items = first.items[entries]
    counts = np.bincount(items, minlength=number).astype(np.float64)
    mean, within = _window_moments(first.scores, entries)
    varying = np.diag(within) > 0
    estimated = counts >= MIN_EFFECT_USERS
    if not varying[DAYS] or estimated.sum() < MIN_ITEMS:
        return
    sums = [np.bincount(items, first.scores[entries, column], len(counts)) for column in np.flatnonzero(varying)]
    means = np.column_stack(sums) / np.maximum(counts, 1)[:, None] - mean[varying]
    within = within[np.ix_(varying, varying)]
    between, scale = estimate_between_items(means[estimated], counts[estimated], within)
    large = np.flatnonzero(counts >= MIN_GROUP_SIZE)
    shifts = np.zeros((len(large), len(PHRASES)))
    shifts[:, varying] = means[large]
    distances = _distances(means[large], counts[large], within, between)
    chance = MAX_CHANCE / (len(large) * len(WINDOWS_DAYS))
    limit = scale * TAIL * chi2.isf(chance, int(varying.sum()))
    excess = np.where(_are_suspicious(shifts), distances / limit, 0.0)
    if DEBUG:
        o = np.argsort(-excess)[:4]
        print(
            "  w",
            window,
            "scale",
            scale,
            [
                (int(large[i]), int(counts[large[i]]), round(float(distances[i]), 1), round(float(excess[i]), 2))
                for i in o
            ],
        )
    for place in np.flatnonzero(excess >= 1):
        line = np.zeros(len(PHRASES))
        line[varying] = np.linalg.solve(within, means[large[place]])
        line[varying] /= np.sqrt(line[varying] @ within @ line[varying])
        yield _Candidate(int(large[place]), window, float(excess[place]), mean, line)


def _are_suspicious(shifts: Numbers) -> NDArray[np.bool_]:
    """Return which shifts, (items, measures), are those of newcomers who take nothing again."""
    is_low = shifts <= 0
    return is_low[:, BEFORE] & is_low[:, REPEATS] & is_low[:, SAME] & (is_low[:, DAYS] | is_low[:, PER_DAY])


def _window_moments(scores: Scores, entries: Rows) -> tuple[Numbers, Numbers]:
    """Compute mean and covariance of the scores of the entries, block by block."""
    total, squares = np.zeros(scores.shape[1]), np.zeros((scores.shape[1], scores.shape[1]))
    for start in range(0, len(entries), BLOCK):
        block = scores[entries[start : start + BLOCK]].astype(np.float64)
        total += block.sum(axis=0)
        squares += block.T @ block
    mean = total / len(entries)
    return mean, squares / len(entries) - np.outer(mean, mean)


def estimate_between_items(means: Numbers, counts: Numbers, within: Numbers) -> tuple[Numbers, float]:
    """Estimate the covariance of items' true means, without the most distant items.

    Also returns by how much the median distance exceeds that of a chi-square variable, at least 1.
    """
    between = np.zeros_like(within)
    floor = 1e-3 * np.diag(within).mean()
    distances = np.zeros(len(means))
    for _ in range(ESTIMATION_STEPS):
        distances = _distances(means, counts, within, between)
        kept = distances <= np.quantile(distances, 1 - TRIMMED_SHARE)
        moments = means[kept].T @ means[kept] / kept.sum() - within * float(np.mean(1 / counts[kept]))
        values, vectors = np.linalg.eigh(moments)
        between = (vectors * np.maximum(values, floor)) @ vectors.T
    distances = _distances(means, counts, within, between)
    return between, max(1.0, float(np.median(distances) / chi2.median(means.shape[1])))


def _distances(means: Numbers, counts: Numbers, within: Numbers, between: Numbers) -> Numbers:
    """Compute the squared Mahalanobis distance of each item's mean from 0."""
    covariance = between + within / counts[:, None, None]
    return np.einsum("if,if->i", means, np.linalg.solve(covariance, means[:, :, None])[:, :, 0])


def _find_group(
    user_items: csr_matrix,
    by_item: csr_matrix,
    first: FirstEvents,
    candidate: _Candidate,
    taken: NDArray[np.bool_],
) -> PushedItem | None:
    """Find the accounts among the users of a window; None if they are too few or share too little."""
    entries = by_item.data[by_item.indptr[candidate.item] : by_item.indptr[candidate.item + 1]]
    entries = entries[(first.age_days[entries] <= candidate.window) & ~taken[first.users[entries]]]
    if len(entries) < MIN_GROUP_SIZE:
        return None
    positions = (first.scores[entries] - candidate.mean) @ candidate.line
    members = entries[are_members(positions, MIN_POSITION)]
    if len(members) < MIN_GROUP_SIZE:
        return None
    users = first.users[members]
    others = np.setdiff1d(first.users[_entries_of(by_item, candidate.item)], users)
    companions, chance = _count_companions(user_items, first, candidate.item, users, others, first.age_days[members])
    lift = float(companions.sum() / chance.sum()) if chance.sum() else 0.0
    coverage = float((companions > 0).mean())
    if DEBUG:
        print(
            "   ", candidate.item, candidate.window, "excess", round(candidate.excess, 2), len(entries), len(members), "others", len(others),
            "lift", round(lift, 2), "cover", round(coverage, 2), "mean", companions.mean(), "chance", chance.mean(), "c2", (companions>=2).mean()
        )
    if lift < MIN_LIFT or coverage < MIN_COVERAGE:
        return None
    shift = first.scores[members].mean(axis=0) - candidate.mean
    return PushedItem(candidate.item, users, candidate.excess, lift, shift)


def _entries_of(by_item: csr_matrix, item: int) -> Rows:
    return by_item.data[by_item.indptr[item] : by_item.indptr[item + 1]]


def _count_companions(
    user_items: csr_matrix, first: FirstEvents, item: int, users: Rows, others: Rows, ages: Numbers
) -> tuple[Numbers, Numbers]:
    """Count the companions of an item that each of `users` has, and those by chance, (users,) each.

    Companions are what the item's `others` have most, relative to its popularity. By chance, each further item of a
    user is drawn from the first events of others in the same time.
    """
    during = (first.age_days >= ages.min()) & (first.age_days <= ages.max())
    number = user_items.shape[1]
    profiles = user_items[users]
    counts = np.bincount(first.items[during], minlength=number) - np.bincount(profiles.indices, minlength=number)
    counts = np.maximum(counts, 0)
    popularity = np.bincount(user_items.indices, minlength=number)
    segment = find_companions(user_items[others], item, popularity)
    is_companion = np.zeros(number)
    is_companion[segment] = 1.0
    share = float(counts[segment].sum()) / max(float(counts.sum() - counts[item]), 1.0)
    return np.asarray(profiles @ is_companion), (np.diff(profiles.indptr) - 1.0) * share


def find_companions(profiles: csr_matrix, item: int, popularity: NDArray[np.integer]) -> Rows:
    """Find the items that users of `item`, (users, items), have most, divided by the root of their popularity."""
    together = np.bincount(profiles.indices, minlength=profiles.shape[1]) / np.sqrt(np.maximum(popularity, 1))
    together[item] = 0
    order = np.argsort(-together, kind="stable")[:COMPANIONS]
    return order[together[order] > 0]


def _normal_scores(values: Numbers) -> Scores:
    """Map values to normal scores by rank; nan, and all of constant values, become 0."""
    scores = np.zeros(len(values), np.float32)
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite) and values[finite].min() < values[finite].max():
        scores[finite] = ndtri((rankdata(values[finite]) - 0.5) / len(finite))
    return scores
