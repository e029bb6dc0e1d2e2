"""Whether lists show more popular items than users had and went on to want."""

from dataclasses import dataclass

import numpy as np

from recsys.evaluation.comparison.ground_truth import GroundTruth
from recsys.evaluation.comparison.segments import Mask
from recsys.evaluation.metrics.ranking import Values
from recsys.ids import Rows

ALL = "all"


@dataclass(frozen=True)
class ItemPopularity:
    """How popular some items are: means over users of each user's mean over items."""

    share_of_users: float
    """Of all users before the window, the share who have the item."""
    head_share: float
    """Share of the items that are head items."""


@dataclass(frozen=True)
class PopularityBias:
    """What one part of the users is shown, beside what it had before the window and wanted in it."""

    users: int
    recommended: ItemPopularity
    had: ItemPopularity
    wanted: ItemPopularity

    @property
    def lift(self) -> float:
        """How much more popular what is shown is than what the users had, as a share of the latter.

        Popularity lift, the change of group average popularity (Abdollahpouri et al., "The Unfairness of
        Popularity Bias in Recommendation", 2019).
        """
        return _lift(self.recommended, self.had)

    @property
    def lift_over_wanted(self) -> float:
        """The same over what the users went on to want."""
        return _lift(self.recommended, self.wanted)


def measure_popularity_bias(recommended: Rows, ground_truth: GroundTruth) -> dict[str, PopularityBias]:
    """The bias of lists (U, n) for all users and for each of their segments that has any."""
    popularity = ground_truth.item_users / ground_truth.users
    head = ground_truth.head.astype(np.float64)
    columns = [
        np.column_stack([mean_over_lists(recommended, of_items) for of_items in (popularity, head)]),
        ground_truth.had,
        _mean_of_wanted(ground_truth, np.column_stack([popularity, head])),
    ]
    everyone = np.ones(len(ground_truth.user_rows), dtype=np.bool_)
    parts = {ALL: everyone, **ground_truth.segments}
    return {name: _bias_of(columns, users) for name, users in parts.items() if users.any()}


def mean_over_lists(recommended: Rows, of_items: Values) -> Values:
    """The mean of `of_items` (items,) over each list (U, n), (U,); not a number for an empty list.

    Of an item's popularity the mean over users is the average recommendation popularity (Yin et al.,
    "Challenging the Long Tail Recommendation", 2012).
    """
    sums = np.append(of_items, 0.0)[recommended].sum(axis=1)  # -1, an empty place, takes the last
    places = (recommended >= 0).sum(axis=1)
    return np.divide(sums, places, out=np.full(len(sums), np.nan), where=places > 0)


def _mean_of_wanted(ground_truth: GroundTruth, of_items: Values) -> Values:
    """Means over what each user wanted; an item that is new in the window is one that nobody had before."""
    return (ground_truth.returning.relevant @ of_items) / ground_truth.returning.relevant_counts[:, None]


def _bias_of(columns: list[Values], users: Mask) -> PopularityBias:
    recommended, had, wanted = (_popularity_of(of_users[users]) for of_users in columns)
    return PopularityBias(int(users.sum()), recommended, had, wanted)


def _popularity_of(of_users: Values) -> ItemPopularity:
    known = of_users[~np.isnan(of_users).any(axis=1)]
    means = known.mean(axis=0) if len(known) else np.zeros(2)
    return ItemPopularity(float(means[0]), float(means[1]))


def _lift(shown: ItemPopularity, base: ItemPopularity) -> float:
    return shown.share_of_users / base.share_of_users - 1 if base.share_of_users else 0.0
