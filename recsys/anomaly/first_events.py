"""Measures of the first events of users with items, by which pushed items are found."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.attack_groups import normal_scores

# Columns of the measures, and the words for a group whose measures are low.
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
    """Days to the end of the data."""
    before_days: Scores
    """Days since the first event of the user."""
    scores: Scores
    """Normal scores of the measures, (entries, measures)."""


def measure_first_events(
    user_items: csr_matrix, events: Numbers, first_days: Numbers, last_days: Numbers, active_days: Numbers
) -> FirstEvents:
    """Measure the first event of each user with each item.

    `user_items` (users, items) has sorted indices; `events`, `first_days` and `last_days` are parallel to its
    entries: the number of events, and the days of the first and the last. `active_days` has a value per user.
    """
    sizes = np.diff(user_items.indptr)
    users = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    joined, left = np.full(len(sizes), np.inf), np.full(len(sizes), -np.inf)
    np.minimum.at(joined, users, first_days)
    np.maximum.at(left, users, last_days)
    before = first_days - joined[users]
    scores = np.zeros((len(users), len(PHRASES)), np.float32)
    scores[:, BEFORE] = _normal_scores(before)
    scores[:, AFTER] = _normal_scores(left[users] - first_days)
    scores[:, SAME] = _normal_scores(events)
    repeats = np.bincount(users, events, len(sizes)) / np.maximum(sizes, 1)
    per_user = {DAYS: active_days, REPEATS: repeats, PER_DAY: sizes / np.maximum(active_days, 1)}
    for column, values in per_user.items():
        scores[:, column] = _normal_scores(values[users])
    end = left.max(initial=0.0)
    return FirstEvents(users, user_items.indices, end - first_days, before.astype(np.float32), scores)


def _normal_scores(values: Numbers) -> Numbers:
    return normal_scores(values[:, None])[:, 0]
