"""Simulated attacks on a recommender: fake accounts that push one item, the target.

Profiles are drawn from what an attacker can see of the shop: how popular items are, which are bought together, and
how many items a user usually has. The kinds follow Mobasher, Burke, Bhaumik, Williams, "Toward trustworthy
recommender systems: An analysis of attack models and algorithm robustness" (ACM TOIT 2007), with positive events
in place of ratings, and "Ride Item's Coattails" attacks (ICDE 2021) for `coattail`. The last three kinds hide: each
account copies half the items of a real user, and acts when few others of the attack do.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

RANDOM: Final = "random"
AVERAGE: Final = "average"
BANDWAGON: Final = "bandwagon"
SEGMENT: Final = "segment"
REVERSE_BANDWAGON: Final = "reverse_bandwagon"
COATTAIL: Final = "coattail"
CLICK_BURST: Final = "click_burst"
SLOW_FARM: Final = "slow_farm"
MIXED: Final = "mixed"
SLOW_MIXED: Final = "slow_mixed"
DILUTED: Final = "diluted"
KINDS: Final = (
    RANDOM,
    AVERAGE,
    BANDWAGON,
    SEGMENT,
    REVERSE_BANDWAGON,
    COATTAIL,
    CLICK_BURST,
    SLOW_FARM,
    MIXED,
    SLOW_MIXED,
    DILUTED,
)

# A target has some users, but few: an attacker pushes neither an item that nobody has nor one that all have.
MIN_TARGET_USERS: Final = 3
TARGET_QUANTILES: Final = (0.25, 0.5)
# The target of a diluted attack has many genuine users.
POPULAR_QUANTILES: Final = (0.85, 0.95)
# Popular items in the profiles of a bandwagon attack, and their share of a profile.
BANDWAGON_ITEMS: Final = 50
SELECTED_SHARE: Final = 0.3
SEGMENT_ITEMS: Final = 50
# A coattail account clicks a few popular items once, and the target often.
HOT_ITEMS: Final = 20
HOT_PER_ACCOUNT: Final = 3
COATTAIL_CLICKS: Final = 20
BURST_CLICKS: Final = (20, 50)
# A farm pushes several items; each account takes a share of them, and several ordinary items for each as
# camouflage.
FARM_ITEMS: Final = 10
FARM_DENSITY: Final = 0.5
CAMOUFLAGE: Final = 5
# A mixed account has this share of a real user's items, and several of the items most similar to the target.
COPIED_SHARE: Final = 0.5
MIN_COPIED_PROFILE: Final = 8
PUSHED_PER_ACCOUNT: Final = (3, 8)

SPREAD_DAYS: Final = 7.0
BURST_DAYS: Final = 60 / 86_400
FARM_DAYS: Final = 60.0
APART_DAYS: Final = 3.0
"""Days between the sessions of successive accounts, or between the two sessions of one."""
SLOW_DAYS: Final = 120.0
SESSION_DAYS: Final = 0.02
DAY: Final = 1.0

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Attack:
    """Events of fake accounts, in three parallel arrays."""

    kind: str
    target: int
    accounts: int
    account_rows: Rows
    """Number of the account, from 0."""
    item_rows: Rows
    age_days: NDArray[np.float64]
    """Days from the event to the end of the data."""


def draw_attack(kind: str, user_items: csr_matrix, accounts: int, days: float, seed: int) -> Attack:
    """Draw an attack of one kind by `accounts` fake accounts on a shop with `user_items` (users, items).

    `days` is the time span of the data. Sizes of profiles are those of the middle half of the shop's users, except
    for farms, whose size follows from their camouflage, and mixed accounts.
    """
    random = np.random.default_rng([seed, KINDS.index(kind), accounts])
    shop = _ShopView(user_items, random)
    target = shop.target(POPULAR_QUANTILES if kind == DILUTED else TARGET_QUANTILES)
    if kind == CLICK_BURST:
        return _draw_burst(kind, target, accounts, random)
    if kind == SLOW_FARM:
        profiles = [shop.farm_profile(target) for _ in range(accounts)]
        return _build_attack(kind, target, profiles, _draw_scattered_ages(profiles, min(days, FARM_DAYS), random))
    if kind in (MIXED, DILUTED):
        profiles = [np.concatenate(shop.mixed_profile(target)) for _ in range(accounts)]
        return _build_attack(kind, target, profiles, _draw_successive_ages(profiles, days, random))
    if kind == SLOW_MIXED:
        halves = [shop.mixed_profile(target) for _ in range(accounts)]
        profiles = [np.concatenate(both) for both in halves]
        return _build_attack(kind, target, profiles, _draw_two_session_ages(halves, min(days, SLOW_DAYS), random))
    profiles = [shop.profile(kind, target) for _ in range(accounts)]
    return _build_attack(kind, target, profiles, _draw_session_ages(profiles, min(days, SPREAD_DAYS), random))


class _ShopView:
    """What an attacker sees of a shop, and the profiles drawn from it."""

    def __init__(self, user_items: csr_matrix, random: np.random.Generator) -> None:
        self._user_items = user_items
        self._random = random
        self._users = np.bincount(user_items.indices, minlength=user_items.shape[1])
        sizes = np.diff(user_items.indptr)
        self._copied_users = np.flatnonzero(sizes >= min(MIN_COPIED_PROFILE, int(sizes.max())))
        sizes = sizes[sizes > 0]
        low, high = np.quantile(sizes, [0.25, 0.75])
        self._sizes = sizes[(sizes >= low) & (sizes <= high)]
        self._used_items = np.flatnonzero(self._users > 0)
        self._by_popularity = self._used_items[np.argsort(-self._users[self._used_items], kind="stable")]
        self._farm: Rows | None = None
        self._segment: Rows | None = None

    def target(self, quantiles: tuple[float, float]) -> int:
        candidates = self._used_items[self._users[self._used_items] >= MIN_TARGET_USERS]
        low, high = np.quantile(self._users[candidates], quantiles)
        middle = candidates[(self._users[candidates] >= low) & (self._users[candidates] <= high)]
        return int(self._random.choice(middle))

    def profile(self, kind: str, target: int) -> Rows:
        """Draw the items of one account, the target included, each as often as it is clicked."""
        random = self._random
        size = max(int(random.choice(self._sizes)), 2)
        if kind == COATTAIL:
            hot = random.choice(self._by_popularity[:HOT_ITEMS], HOT_PER_ACCOUNT, replace=False)
            return np.concatenate([hot, np.repeat(target, COATTAIL_CLICKS)]).astype(np.int32)
        selected = np.zeros(0, np.int64)
        pool = self._selected_pool(kind, target)
        if pool is not None:
            count = min(max(1, round(SELECTED_SHARE * size)), len(pool))
            selected = random.choice(pool, count, replace=False)
        fillers = self._fillers(kind, size - 1 - len(selected))
        return np.unique(np.concatenate([[target], selected, fillers])).astype(np.int32)

    def mixed_profile(self, target: int) -> tuple[Rows, Rows]:
        """Draw the copied items of one account, and, apart from them, the target and items of its segment."""
        random, matrix = self._random, self._user_items
        if self._segment is None:
            self._segment = self._similar_items(target)
        wanted = int(random.integers(*PUSHED_PER_ACCOUNT, endpoint=True))
        segment = random.choice(self._segment, min(wanted, len(self._segment)), replace=False)
        pushed = np.concatenate([[target], segment])
        user = int(random.choice(self._copied_users))
        items = np.setdiff1d(matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]], pushed)
        copied = random.choice(items, round(COPIED_SHARE * len(items)), replace=False)
        return np.sort(copied).astype(np.int32), np.sort(pushed).astype(np.int32)

    def _selected_pool(self, kind: str, target: int) -> NDArray[np.int64] | Rows | None:
        if kind == BANDWAGON:
            return self._by_popularity[:BANDWAGON_ITEMS]
        if kind == REVERSE_BANDWAGON:
            return self._by_popularity[-BANDWAGON_ITEMS:]
        if kind == SEGMENT:
            if self._segment is None:
                self._segment = self._similar_items(target)
            return self._segment
        return None

    def _similar_items(self, target: int) -> Rows:
        """Return the items shared the most with users of the target, relative to their popularity."""
        column = self._user_items[:, [target]].tocsc()
        together = np.asarray((self._user_items[column.indices] > 0).sum(axis=0)).ravel()
        score = together / np.sqrt(np.maximum(self._users, 1))
        score[target] = 0
        similar = np.argsort(-score, kind="stable")[:SEGMENT_ITEMS]
        return similar[score[similar] > 0].astype(np.int32)

    def _fillers(self, kind: str, count: int) -> NDArray[np.int64]:
        count = min(max(count, 0), len(self._used_items))
        if kind == AVERAGE:
            return self._sample_by_popularity(count)
        return self._random.choice(self._used_items, count, replace=False)

    def _sample_by_popularity(self, count: int) -> NDArray[np.int64]:
        """Draw distinct items with probability proportional to popularity."""
        keys = self._random.exponential(size=len(self._used_items)) / self._users[self._used_items]
        count = min(count, len(keys) - 1)
        return self._used_items[np.argpartition(keys, count)[:count]]

    def farm_profile(self, target: int) -> Rows:
        """Draw a share of the farm's items, with or without the target, among ordinary items."""
        random = self._random
        if self._farm is None:
            others = random.choice(self._used_items[self._used_items != target], FARM_ITEMS - 1, replace=False)
            self._farm = np.concatenate([[target], others]).astype(np.int32)
        pushed = self._farm[random.random(FARM_ITEMS) < FARM_DENSITY]
        if not len(pushed):
            pushed = self._farm[:1]
        return np.unique(np.concatenate([pushed, self._sample_by_popularity(CAMOUFLAGE * len(pushed))])).astype(
            np.int32
        )


def _build_attack(kind: str, target: int, profiles: list[Rows], age_days: NDArray[np.float64]) -> Attack:
    accounts = np.repeat(np.arange(len(profiles)), [len(profile) for profile in profiles]).astype(np.int32)
    return Attack(kind, target, len(profiles), accounts, np.concatenate(profiles), age_days)


def _draw_burst(kind: str, target: int, accounts: int, random: np.random.Generator) -> Attack:
    clicks = random.integers(*BURST_CLICKS, size=accounts)
    rows = np.repeat(np.arange(accounts), clicks).astype(np.int32)
    ages = DAY + random.random(len(rows)) * BURST_DAYS
    return Attack(kind, target, accounts, rows, np.full(len(rows), target, np.int32), ages)


def _draw_session_ages(profiles: list[Rows], days: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw ages of events: one session of half an hour for each account, at some time in the last `days`."""
    lengths = [len(profile) for profile in profiles]
    starts = np.repeat(random.random(len(profiles)) * days, lengths)
    return starts + random.random(sum(lengths)) * SESSION_DAYS


def _draw_scattered_ages(profiles: list[Rows], days: float, random: np.random.Generator) -> NDArray[np.float64]:
    return random.random(sum(len(profile) for profile in profiles)) * days


def _draw_successive_ages(profiles: list[Rows], days: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw ages of events: one session for each account, the next `APART_DAYS` before, or less in short data."""
    apart = min(APART_DAYS, max(days - SESSION_DAYS, 0) / len(profiles))
    lengths = [len(profile) for profile in profiles]
    starts = np.repeat(np.arange(len(profiles)) * apart, lengths)
    return starts + random.random(sum(lengths)) * min(SESSION_DAYS, days)


def _draw_two_session_ages(
    halves: list[tuple[Rows, Rows]], days: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw ages of events: the first items of each account in one session, the others `APART_DAYS` later."""
    apart = min(APART_DAYS, days / 2)
    starts = random.random(len(halves)) * (days - apart)
    ages = [
        start + np.repeat([apart, 0.0], [len(first), len(second)])
        for start, (first, second) in zip(starts, halves, strict=True)
    ]
    concatenated = np.concatenate(ages)
    return concatenated + random.random(len(concatenated)) * min(SESSION_DAYS, days / 100)
