"""Attacks on a recommender, to measure its defence by: fake accounts that push one item, the target.

All draw their profiles from what an attacker can see of the shop: how popular items are, which are alike, and how
many items a shopper usually has. The kinds follow Mobasher, Burke, Bhaumik, Williams, "Toward trustworthy
recommender systems: An analysis of attack models and algorithm robustness" (ACM TOIT 2007), with items wanted in
place of ratings, and "Ride Item's Coattails" attacks (ICDE 2021) for `coattail`.
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
KINDS: Final = (RANDOM, AVERAGE, BANDWAGON, SEGMENT, REVERSE_BANDWAGON, COATTAIL, CLICK_BURST, SLOW_FARM)

# A target has few users but some: nobody pushes what nobody has bought yet, nor what all have.
MIN_TARGET_USERS: Final = 3
TARGET_QUANTILES: Final = (0.25, 0.5)
# Popular items that a bandwagon rides on, and its share of a profile.
BANDWAGON_ITEMS: Final = 50
SELECTED_SHARE: Final = 0.3
SEGMENT_ITEMS: Final = 50
# A coattail account clicks a few hot items once and the target often.
HOT_ITEMS: Final = 20
HOT_PER_ACCOUNT: Final = 3
COATTAIL_CLICKS: Final = 20
BURST_CLICKS: Final = (20, 50)
# A farm pushes several items, each account a share of them, each under several ordinary ones.
FARM_ITEMS: Final = 10
FARM_DENSITY: Final = 0.5
CAMOUFLAGE: Final = 5

SPREAD_DAYS: Final = 7.0
BURST_DAYS: Final = 60 / 86_400
FARM_DAYS: Final = 60.0
SESSION_DAYS: Final = 0.02
DAY: Final = 1.0

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Attack:
    """Events of fake accounts; the three arrays are parallel, one entry an event."""

    kind: str
    target: int
    accounts: int
    account_rows: Rows
    """Which account, from 0 on."""
    item_rows: Rows
    age_days: NDArray[np.float64]
    """Days from the event to the end of the data."""


def draw_attack(kind: str, user_items: csr_matrix, accounts: int, days: float, seed: int) -> Attack:
    """An attack of one kind by so many accounts on the shop whose users have `user_items` (users x items).

    `days` is how long the data is. Profiles have as many items as the shop's middle half of users; those of a farm
    as many as its camouflage needs.
    """
    random = np.random.default_rng([seed, KINDS.index(kind), accounts])
    shop = _Shop(user_items, random)
    target = shop.target()
    if kind == CLICK_BURST:
        return _burst(kind, target, accounts, random)
    if kind == SLOW_FARM:
        profiles = [shop.farm_profile(target) for _ in range(accounts)]
        return _attack(kind, target, profiles, _scattered(profiles, min(days, FARM_DAYS), random))
    profiles = [shop.profile(kind, target) for _ in range(accounts)]
    return _attack(kind, target, profiles, _in_sessions(profiles, min(days, SPREAD_DAYS), random))


class _Shop:
    """What an attacker sees of a shop."""

    def __init__(self, user_items: csr_matrix, random: np.random.Generator) -> None:
        self._user_items = user_items
        self._random = random
        self._users = np.bincount(user_items.indices, minlength=user_items.shape[1])
        sizes = np.diff(user_items.indptr)
        sizes = sizes[sizes > 0]
        low, high = np.quantile(sizes, [0.25, 0.75])
        self._sizes = sizes[(sizes >= low) & (sizes <= high)]
        self._known = np.flatnonzero(self._users > 0)
        self._by_popularity = self._known[np.argsort(-self._users[self._known], kind="stable")]
        self._farm: Rows | None = None
        self._segment: Rows | None = None

    def target(self) -> int:
        some = self._known[self._users[self._known] >= MIN_TARGET_USERS]
        low, high = np.quantile(self._users[some], TARGET_QUANTILES)
        middle = some[(self._users[some] >= low) & (self._users[some] <= high)]
        return int(self._random.choice(middle))

    def profile(self, kind: str, target: int) -> Rows:
        """The items of one account, the target among them, an item as often as it is clicked."""
        random = self._random
        size = max(int(random.choice(self._sizes)), 2)
        if kind == COATTAIL:
            hot = random.choice(self._by_popularity[:HOT_ITEMS], HOT_PER_ACCOUNT, replace=False)
            return np.concatenate([hot, np.repeat(target, COATTAIL_CLICKS)]).astype(np.int32)
        selected = np.zeros(0, np.int64)
        pool = self._selected_pool(kind, target)
        if pool is not None:
            wanted = min(max(1, round(SELECTED_SHARE * size)), len(pool))
            selected = random.choice(pool, wanted, replace=False)
        fillers = self._fillers(kind, size - 1 - len(selected))
        return np.unique(np.concatenate([[target], selected, fillers])).astype(np.int32)

    def _selected_pool(self, kind: str, target: int) -> NDArray[np.int64] | Rows | None:
        if kind == BANDWAGON:
            return self._by_popularity[:BANDWAGON_ITEMS]
        if kind == REVERSE_BANDWAGON:
            return self._by_popularity[-BANDWAGON_ITEMS:]
        if kind == SEGMENT:
            if self._segment is None:
                self._segment = self._alike(target)
            return self._segment
        return None

    def _alike(self, target: int) -> Rows:
        """The items that most of the target's users have too, for their popularity."""
        column = self._user_items[:, [target]].tocsc()
        together = np.asarray((self._user_items[column.indices] > 0).sum(axis=0)).ravel()
        score = together / np.sqrt(np.maximum(self._users, 1))
        score[target] = 0
        found = np.argsort(-score, kind="stable")[:SEGMENT_ITEMS]
        return found[score[found] > 0].astype(np.int32)

    def _fillers(self, kind: str, count: int) -> NDArray[np.int64]:
        count = min(max(count, 0), len(self._known))
        if kind == AVERAGE:
            return self._as_shoppers_do(count)
        return self._random.choice(self._known, count, replace=False)

    def _as_shoppers_do(self, count: int) -> NDArray[np.int64]:
        """Distinct items, each as likely as it is popular."""
        keys = self._random.exponential(size=len(self._known)) / self._users[self._known]
        count = min(count, len(keys) - 1)
        return self._known[np.argpartition(keys, count)[:count]]

    def farm_profile(self, target: int) -> Rows:
        """A share of the farm's items, the target or not, under ordinary ones."""
        random = self._random
        if self._farm is None:
            others = random.choice(self._known[self._known != target], FARM_ITEMS - 1, replace=False)
            self._farm = np.concatenate([[target], others]).astype(np.int32)
        pushed = self._farm[random.random(FARM_ITEMS) < FARM_DENSITY]
        if not len(pushed):
            pushed = self._farm[:1]
        return np.unique(np.concatenate([pushed, self._as_shoppers_do(CAMOUFLAGE * len(pushed))])).astype(np.int32)


def _attack(kind: str, target: int, profiles: list[Rows], age_days: NDArray[np.float64]) -> Attack:
    accounts = np.repeat(np.arange(len(profiles)), [len(profile) for profile in profiles]).astype(np.int32)
    return Attack(kind, target, len(profiles), accounts, np.concatenate(profiles), age_days)


def _burst(kind: str, target: int, accounts: int, random: np.random.Generator) -> Attack:
    clicks = random.integers(*BURST_CLICKS, size=accounts)
    rows = np.repeat(np.arange(accounts), clicks).astype(np.int32)
    ages = DAY + random.random(len(rows)) * BURST_DAYS
    return Attack(kind, target, accounts, rows, np.full(len(rows), target, np.int32), ages)


def _in_sessions(profiles: list[Rows], days: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Each account does everything in one session of half an hour, some time in the last `days`."""
    lengths = [len(profile) for profile in profiles]
    starts = np.repeat(random.random(len(profiles)) * days, lengths)
    return starts + random.random(sum(lengths)) * SESSION_DAYS


def _scattered(profiles: list[Rows], days: float, random: np.random.Generator) -> NDArray[np.float64]:
    return random.random(sum(len(profile) for profile in profiles)) * days
