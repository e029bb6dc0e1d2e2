"""Attacks that the detectors were not built on: their profiles, sizes, times and targets differ.

They are for the last measurement only; no constant of a detector was chosen by them.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.attacks import Attack

BLENDED: Final = "blended"
WAVES: Final = "waves"
TRICKLE: Final = "trickle"
HELD_OUT_KINDS: Final = (BLENDED, WAVES, TRICKLE)

MIN_PROFILE: Final = 6
MIN_TARGET_USERS: Final = 5
COPIED_SHARE: Final = (0.25, 0.8)
"""Least and greatest share of two real users' items in an account."""
COMPANIONS: Final = (2, 10)
"""Least and greatest number of items of the target's users in an account."""
WAVE_ACCOUNTS: Final = 7
WAVE_GAP_DAYS: Final = 9.0
VISITS: Final = 3
VISIT_GAP_DAYS: Final = 5.0
HOUR: Final = 1 / 24


def draw_held_out_attack(kind: str, user_items: csr_matrix, accounts: int, days: float, seed: int) -> Attack:
    """Draw an attack of one of `HELD_OUT_KINDS`.

    `blended` accounts come at random times of the whole history, one visit each; `waves` come in groups of about
    seven accounts within hours, nine days apart; `trickle` accounts come ever more often towards the end of the
    data, each on three visits with random gaps.
    """
    random = np.random.default_rng([seed, 71 + HELD_OUT_KINDS.index(kind), accounts])
    users = np.bincount(user_items.indices, minlength=user_items.shape[1])
    candidates = np.flatnonzero((users >= MIN_TARGET_USERS) & (users <= np.quantile(users[users > 0], 0.7)))
    target = int(random.choice(candidates))
    profiles = [_draw_profile(user_items, target, users, random) for _ in range(accounts)]
    sizes = [len(profile) for profile in profiles]
    ages = np.concatenate([_draw_ages(kind, number, size, days, random) for number, size in enumerate(sizes)])
    rows = np.repeat(np.arange(accounts), sizes).astype(np.int32)
    return Attack(kind, target, accounts, rows, np.concatenate(profiles), ages)


def _draw_profile(
    user_items: csr_matrix, target: int, users: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int32]:
    """Draw parts of two users' items, and companions by how often the target's users have them."""
    sizes = np.diff(user_items.indptr)
    copied = np.concatenate(
        [
            user_items.indices[user_items.indptr[user] : user_items.indptr[user + 1]]
            for user in random.choice(np.flatnonzero((sizes >= MIN_PROFILE) & (sizes <= 200)), 2)
        ]
    )
    share = random.uniform(*COPIED_SHARE) / 2
    copied = random.choice(copied, max(1, round(share * len(copied))), replace=False)
    owners = user_items[:, [target]].tocsc().indices
    together = np.bincount(user_items[owners].indices, minlength=len(users)) / np.sqrt(np.maximum(users, 1))
    together[target] = 0
    wanted = min(int(random.integers(*COMPANIONS, endpoint=True)), int((together > 0).sum()))
    companions = random.choice(len(together), wanted, replace=False, p=together**2 / (together**2).sum())
    return np.unique(np.concatenate([[target], copied, companions])).astype(np.int32)


def _draw_ages(kind: str, number: int, size: int, days: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw ages in days of the events of one account."""
    if kind == BLENDED:
        return np.minimum(random.random() * days + random.random(size) * HOUR, days)
    if kind == WAVES:
        wave = number // WAVE_ACCOUNTS * WAVE_GAP_DAYS + random.exponential(4 * HOUR)
        return np.minimum(wave % max(days, HOUR) + random.random(size) * HOUR, days)
    first = min(days, 120.0) * random.beta(1.0, 2.5)
    visits = first + np.cumsum(random.exponential(VISIT_GAP_DAYS, VISITS))
    return np.minimum(visits[random.integers(0, VISITS, size)] + random.random(size) * HOUR / 60, days)
