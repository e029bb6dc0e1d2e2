"""Popularity bias: popularity of recommended items relative to history and relevant items."""

from dataclasses import dataclass

import numpy as np

from recsys.evaluation.ground_truth import GroundTruth
from recsys.evaluation.metrics.ranking import Values
from recsys.evaluation.segments import Mask
from recsys.ids import Rows

ALL = "all"


@dataclass(frozen=True)
class ItemPopularity:
    """The popularity of sets of items: means over users of each user's mean over items."""

    share_of_users: float
    """Share of all users before the window who have the item."""
    head_share: float
    """Share of the items that are head items."""


@dataclass(frozen=True)
class PopularityBias:
    """The popularity of recommended, history (`had`) and relevant (`wanted`) items, for one segment of users."""

    users: int
    recommended: ItemPopularity
    had: ItemPopularity
    wanted: ItemPopularity

    @property
    def lift(self) -> float:
        """Return the relative increase in popularity of the recommended items over the history.

        This is the popularity lift, or change in group average popularity, of Abdollahpouri et al., "The Unfairness
        of Popularity Bias in Recommendation" (2019).
        """
        return _lift(self.recommended, self.had)

    @property
    def lift_over_wanted(self) -> float:
        """Return the relative increase in popularity of the recommended items over the relevant items."""
        return _lift(self.recommended, self.wanted)


def measure_popularity_bias(recommended: Rows, ground_truth: GroundTruth) -> dict[str, PopularityBias]:
    """Measure the bias of lists (U, n) for all users and for each segment that has users."""
    popularity = ground_truth.item_users / ground_truth.users
    head = ground_truth.head.astype(np.float64)
    columns = [
        np.column_stack([mean_over_lists(recommended, item_values) for item_values in (popularity, head)]),
        ground_truth.history_popularity,
        _mean_over_relevant(ground_truth, np.column_stack([popularity, head])),
    ]
    everyone = np.ones(len(ground_truth.user_rows), dtype=np.bool_)
    segments = {ALL: everyone, **ground_truth.segments}
    return {name: _segment_bias(columns, users) for name, users in segments.items() if users.any()}


def mean_over_lists(recommended: Rows, item_values: Values) -> Values:
    """Average `item_values` (items,) over each list (U, n), (U,); NaN for an empty list.

    For item popularity, the mean over users is the average recommendation popularity of Yin et al., "Challenging
    the Long Tail Recommendation" (2012).
    """
    sums = np.append(item_values, 0.0)[recommended].sum(axis=1)  # -1, an empty position, takes the last
    lengths = (recommended >= 0).sum(axis=1)
    return np.divide(sums, lengths, out=np.full(len(sums), np.nan), where=lengths > 0)


def _mean_over_relevant(ground_truth: GroundTruth, item_values: Values) -> Values:
    """Average over each user's relevant items; an item unknown before the window has no users."""
    return (ground_truth.returning.relevant @ item_values) / ground_truth.returning.relevant_counts[:, None]


def _segment_bias(columns: list[Values], users: Mask) -> PopularityBias:
    recommended, history, relevant = (_mean_popularity(values[users]) for values in columns)
    return PopularityBias(int(users.sum()), recommended, history, relevant)


def _mean_popularity(user_values: Values) -> ItemPopularity:
    values = user_values[~np.isnan(user_values).any(axis=1)]
    means = values.mean(axis=0) if len(values) else np.zeros(2)
    return ItemPopularity(float(means[0]), float(means[1]))


def _lift(shown: ItemPopularity, base: ItemPopularity) -> float:
    return shown.share_of_users / base.share_of_users - 1 if base.share_of_users else 0.0
