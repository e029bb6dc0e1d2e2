"""Pushed items: items whose users came for them, never came before or after, and share other items too.

A hidden attack does not make its accounts unusual: each copies a part of a real user and acts on its own day. But
the accounts are newcomers who take the target at once and never return. No single one of them is conspicuous; the
users of few other items are like that together. For every item, the mean measures of the users whose first event
with it lies in a window are compared with those of all first events of that window, so that in a young shop
newcomers are not unusual. The distance is Hotelling's (Annals of Mathematical Statistics 1931), with the covariance
that the means of honest items have in this shop: the random-effects model of Henderson ("Estimation of variance and
covariance components", Biometrics 1953), estimated by moments without the most distant items.

Newcomers for a promoted or a new item are alike in the same way. Two more tests tell them apart. Where an item is
in vogue, customers of long standing take it in the same weeks, too: their number is tested against their usual
rate. And accounts made to bring an item into the lists of certain users have more companions of the item, the
items that its other users have, than by chance: a lift of co-occurrence, as of an association rule (Brin, Motwani,
Ullman, Tsur, SIGMOD 1997).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import binom, chi2

from recsys.anomaly.attack_groups import are_members
from recsys.anomaly.first_events import (
    BEFORE,
    DAYS,
    PER_DAY,
    PHRASES,
    REPEATS,
    SAME,
    FirstEvents,
    Numbers,
    Rows,
    Scores,
)

WINDOWS_DAYS: Final = (28.0, 112.0, np.inf)
"""Ages of the first events that are tested together."""
MIN_GROUP_SIZE: Final = 8
MIN_EFFECT_USERS: Final = 15
"""Users from which the mean of an item takes part in the estimate of the covariance between items."""
MIN_ITEMS: Final = 50
"""Items of so many users that the estimate needs."""
TRIMMED_SHARE: Final = 0.02
ESTIMATION_STEPS: Final = 5
MAX_CHANCE: Final = 1e-4
"""Chance of a distant item in a night, over all items and windows, if the means of items are normal."""
MIN_POSITION: Final = 0.5
"""Least distance of a member from the window's mean, in standard deviations along the line to the item's mean."""
STANDING_DAYS: Final = 7.0
"""Days since the first event from which a user is a customer of long standing."""
VOGUE_QUANTILES: Final = (0.25, 0.75)
VOGUE_CHANCE: Final = 0.01
COMPANIONS: Final = 100
MIN_COMPANION_EXCESS: Final = 0.4
"""Companions of the item that a member has beyond chance, at least."""
EXCESS_DEVIATIONS: Final = 2.0
"""Standard errors of the mean excess that are in doubt."""
BLOCK: Final = 1_000_000


@dataclass(frozen=True)
class PushedItem:
    """An item, and the users who were made to push it."""

    item: int
    users: Rows
    excess: float
    """The item's distance divided by the least that is suspicious; at least 1."""
    lift: float
    """Number of companions of the item that the users have, as a multiple of chance."""
    shift: Numbers
    """How far the group's mean measures lie above those of the window, (measures,), in standard deviations."""


@dataclass(frozen=True)
class _Candidate:
    """An item that is distant in a window, with the mean of the window and the line to the item's mean."""

    item: int
    window: float
    excess: float
    mean: Numbers
    line: Numbers


def find_pushed_items(user_items: csr_matrix, first: FirstEvents) -> list[PushedItem]:
    """Find the items that were pushed and the accounts that did it, the most distant items first.

    `user_items` (users, items) holds ones. A user is in at most one group; in data without times, or of one day,
    nobody is. Linear in entries times measures and windows.
    """
    shop = _Shop(user_items, first)
    candidates = [one for window in WINDOWS_DAYS for one in _find_distant_items(first, user_items.shape[1], window)]
    groups: list[PushedItem] = []
    taken = np.zeros(user_items.shape[0], np.bool_)
    for candidate in sorted(candidates, key=lambda one: (-one.excess, one.item, one.window)):
        group = _find_group(shop, candidate, taken)
        if group is not None:
            taken[group.users] = True
            groups.append(group)
    return groups


def _find_distant_items(first: FirstEvents, number: int, window: float) -> Iterator[_Candidate]:
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
    sums = [np.bincount(items, first.scores[entries, column], number) for column in np.flatnonzero(varying)]
    means = np.column_stack(sums) / np.maximum(counts, 1)[:, None] - mean[varying]
    within = within[np.ix_(varying, varying)]
    between, scale = estimate_between_items(means[estimated], counts[estimated], within)
    large = np.flatnonzero(counts >= MIN_GROUP_SIZE)
    shifts = np.zeros((len(large), len(PHRASES)))
    shifts[:, varying] = means[large]
    chance = MAX_CHANCE / (len(large) * len(WINDOWS_DAYS))
    limit = scale * float(chi2.isf(chance, int(varying.sum())))
    excess = np.where(_are_suspicious(shifts), _distances(means[large], counts[large], within, between) / limit, 0)
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


class _Shop:
    """What the users of a candidate are compared with."""

    def __init__(self, user_items: csr_matrix, first: FirstEvents) -> None:
        self.first = first
        self._user_items = user_items
        numbers = np.arange(user_items.nnz)
        self._by_item = csr_matrix((numbers, user_items.indices, user_items.indptr), user_items.shape).T.tocsr()

    def entries_of(self, item: int) -> Rows:
        """Return the entries of an item."""
        return self._by_item.data[self._by_item.indptr[item] : self._by_item.indptr[item + 1]]

    def is_in_vogue(self, item: int, members: Rows) -> bool:
        """Return whether customers of long standing took the item more often in the members' time than else.

        Their number in the time of the middle half of the members is compared with the share that they then had of
        all first events with any item (binomial test).
        """
        first, time = self.first, self._time_of(members, VOGUE_QUANTILES)
        is_standing = first.before_days >= STANDING_DAYS
        standing = self.entries_of(item)
        standing = standing[is_standing[standing]]
        share = float((time & is_standing).sum()) / max(int(is_standing.sum()), 1)
        return float(binom.sf(int(time[standing].sum()) - 1, len(standing), share)) < VOGUE_CHANCE

    def count_companions(self, item: int, members: Rows) -> tuple[Numbers, Numbers]:
        """Count the companions of the item that each member has, and those by chance, (members,) each.

        By chance, each further item of a user is drawn from the first events of others in the members' time.
        """
        number = self._user_items.shape[1]
        users = self.first.users[members]
        profiles = self._user_items[users]
        others = np.setdiff1d(self.first.users[self.entries_of(item)], users)
        popularity = np.bincount(self._user_items.indices, minlength=number)
        companions = find_companions(self._user_items[others], item, popularity)
        is_companion = np.zeros(number)
        is_companion[companions] = 1.0
        counts = np.bincount(self.first.items[self._time_of(members, (0, 1))], minlength=number)
        counts = np.maximum(counts - np.bincount(profiles.indices, minlength=number), 0)
        share = float(counts[companions].sum()) / max(float(counts.sum() - counts[item]), 1.0)
        return np.asarray(profiles @ is_companion), (np.diff(profiles.indptr) - 1.0) * share

    def _time_of(self, members: Rows, quantiles: tuple[float, float]) -> NDArray[np.bool_]:
        """Return which first events lie between two quantiles of those of the members."""
        low, high = np.quantile(self.first.age_days[members], quantiles)
        return (self.first.age_days >= low) & (self.first.age_days <= high)


def _find_group(shop: _Shop, candidate: _Candidate, taken: NDArray[np.bool_]) -> PushedItem | None:
    """Find the accounts among the users of a window; None if they are few or may be honest newcomers."""
    first = shop.first
    entries = shop.entries_of(candidate.item)
    entries = entries[(first.age_days[entries] <= candidate.window) & ~taken[first.users[entries]]]
    if len(entries) < MIN_GROUP_SIZE:
        return None
    positions = (first.scores[entries] - candidate.mean) @ candidate.line
    members = entries[are_members(positions, MIN_POSITION)]
    if len(members) < MIN_GROUP_SIZE or shop.is_in_vogue(candidate.item, members):
        return None
    companions, chance = shop.count_companions(candidate.item, members)
    if companion_excess(companions, chance) < MIN_COMPANION_EXCESS:
        return None
    lift = float(companions.sum() / max(chance.sum(), 1.0))
    shift = first.scores[members].mean(axis=0) - candidate.mean
    return PushedItem(candidate.item, first.users[members], candidate.excess, lift, shift)


def companion_excess(companions: Numbers, chance: Numbers) -> float:
    """Compute how many companions a member has beyond chance, the mean less `EXCESS_DEVIATIONS` standard errors.

    `companions` and `chance` are the numbers of each member and by chance, (members,).
    """
    excess = companions - chance
    return float(excess.mean() - EXCESS_DEVIATIONS * excess.std() / np.sqrt(len(excess)))


def find_companions(profiles: csr_matrix, item: int, popularity: NDArray[np.integer]) -> Rows:
    """Find the items that users of `item`, (users, items), have most, divided by the root of their popularity."""
    together = np.bincount(profiles.indices, minlength=profiles.shape[1]) / np.sqrt(np.maximum(popularity, 1))
    together[item] = 0
    order = np.argsort(-together, kind="stable")[:COMPANIONS]
    return order[together[order] > 0]
