"""The race of models: a model is ranked for more and more users, until it is far below the best model."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jobs.pipeline.evaluation_window import EvaluationWindow, list_depth, rank_new_items
from recsys.evaluation.metrics.ranking import Values, evaluate_lists
from recsys.ids import Rows
from recsys.models.base import Model
from recsys.settings import Settings

Places = NDArray[np.integer]

RUNGS: Final = (300, 2_000)
"""Numbers of users after which a model is compared with the best one; then follow all other users."""
MIN_SHARE: Final = 0.5
"""Share of the best model's metric below which a model is left out: a blend gives it no weight."""
MIN_USERS: Final = 100
"""Users below which no model is left out by comparison."""
UPPER_BOUND: Final = 2.33
"""Standard errors above the mean of the upper bound that a comparison is made with, one-sided 99 %."""


@dataclass(frozen=True)
class Ranking:
    """A model's lists for the window's users, and the metric of each of them."""

    lists: Rows
    """Item rows (users, depth); -1 for users who were not ranked."""
    values: Values
    """The metric of each user, (users,); 0 for users who were not ranked."""
    users: int
    """Number of users who were ranked, the first in the order of the race."""
    mean: float
    """The mean metric of the users who were ranked."""
    new_lists: Rows | None = None
    """Those of `rank_new_items`; None without such lists, or if not all users were ranked."""


class Race:
    """The users of a window in random order, and the best model so far."""

    def __init__(self, window: EvaluationWindow, settings: Settings) -> None:
        """Draw the order of users from the seed."""
        users = len(window.ground_truth.user_rows)
        self._window, self._settings = window, settings
        self._order = np.random.default_rng(settings.seed).permutation(users)
        self._depth = list_depth(settings)
        self._rungs = [*(rung for rung in RUNGS if rung < users), users]
        self._best: Values | None = None
        self._best_mean = -np.inf

    @property
    def users(self) -> int:
        """Return the number of users."""
        return len(self._order)

    @property
    def has_begun(self) -> bool:
        """Return whether a model was ranked for all users."""
        return self._best is not None

    def rank(self, model: Model, *, can_drop_out: bool, last_rung: int | None = None) -> Ranking:
        """Rank items by a fitted model rung by rung; one far below the best so far drops out where it can.

        With `last_rung` the race ends after that many users, and the model does not become the best one.
        """
        lists = np.full((self.users, self._depth), -1, np.int32)
        values = np.zeros(self.users)
        ranked = 0
        for rung in self._rungs:
            users = np.sort(self._order[ranked:rung])
            lists[users] = self._recommend(model, users)
            values[users] = self._measure(lists[users], users)
            ranked = rung
            if ranked == last_rung or (can_drop_out and ranked < self.users and self.is_far_below(values, ranked)):
                break
        new_lists = rank_new_items(model, self._window, self._settings) if ranked == self.users else None
        ranking = Ranking(lists, values, ranked, float(values[self._order[:ranked]].mean()), new_lists)
        if ranked == self.users and ranking.mean > self._best_mean:
            self._best, self._best_mean = values, ranking.mean
        return ranking

    def is_far_below(self, values: Values, ranked: int) -> bool:
        """Return whether a model with these values for the first `ranked` users is far below the best model.

        It is if the upper bound of the mean of its metric less `MIN_SHARE` of the best one's, paired by user, is
        below 0.
        """
        if self._best is None or ranked < MIN_USERS:
            return False
        users = self._order[:ranked]
        differences = values[users] - MIN_SHARE * self._best[users]
        error = differences.std() / np.sqrt(ranked)
        return bool(differences.mean() + UPPER_BOUND * error < 0)

    def rank_users(self, model: Model, users: Places) -> float:
        """Return the mean metric of a fitted model on some users, by their places in the window."""
        return float(self._measure(self._recommend(model, users), users).mean())

    def _recommend(self, model: Model, users: Places) -> Rows:
        return model.recommend(self._window.ground_truth.user_rows[users], self._depth, self._window.exclude)[0]

    def _measure(self, lists: Rows, users: Places) -> Values:
        relevance, evaluation = self._window.ground_truth.returning, self._settings.evaluation
        relevant, counts = relevance.relevant[users], relevance.relevant_counts[users]
        return evaluate_lists(lists, relevant, counts, (evaluation.cutoff,))[evaluation.metric]
