"""RP3beta: three-step random walks from users to items, with a penalty on popularity."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize, scale
from recsys.models._item_item.item_weight_model import ItemWeightModel
from recsys.models._item_item.similarity import find_nearest_columns
from recsys.models.config import Range, SearchSpace, Share, ZeroOrMore
from recsys.models.work import common_pairs, sparse_work
from recsys.settings.types import Positive


@dataclass(frozen=True)
class Rp3BetaConfig:
    """Transition probabilities of the walk and the penalty on popularity."""

    alpha: ZeroOrMore = 0.7
    """Power of the transition probabilities."""
    beta: Share = 0.3
    """Power of an item's number of users by which its scores are divided."""
    neighbors: Positive = 200
    """Number of the most likely final items kept for walks from each item."""


class Rp3Beta(ItemWeightModel):
    """RP3beta: three-step random walks on the graph of users and items, with a penalty on popularity.

    With n_i the users of an item and n_u the items of a user, the weight of item i for item j is

        sum over common users u of (1 / n_i) ** alpha (1 / n_u) ** alpha / n_j ** beta

    Source: Paudel, Christoffel, Newell, Bernstein, "Updatable, Accurate, Diverse, and Scalable Recommendations for
    Interactive Applications" (ACM TiiS 2016): a walk goes from the user to an item, to one of its users and on to
    an item, with each transition probability to the power alpha, as in Cooper, Lee, Radzik, Siantos, "Random Walks
    in Recommender Systems" (WWW 2014). The first step has the same probability for all items of a user and is left
    out. Walks are summed exactly where the paper samples them. Each item keeps its `neighbors` largest sums and
    itself, the walk that returns, so that repeats rank high where they are allowed.
    """

    name = "rp3beta"
    config_type = Rp3BetaConfig
    search_space: ClassVar[SearchSpace] = {"alpha": Range(0.2, 1.5), "beta": Range(0.0, 1.0)}
    config: Rp3BetaConfig

    def __init__(self, config: Rp3BetaConfig = Rp3BetaConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the pairs of items of each user."""
        return sparse_work(common_pairs(users, interactions))

    def fit(self, interactions: Interactions) -> Self:
        """Sum the walks between items."""
        alpha, beta = self.config.alpha, self.config.beta
        binary = binarize(interactions.positives)
        user_items = np.maximum(np.diff(binary.indptr), 1.0)
        item_users = np.maximum(np.bincount(binary.indices, minlength=binary.shape[1]), 1.0)
        # A factor of a row does not change which of its entries are largest, so a symmetric product finds them.
        halves = scale(binary, user_items ** (-alpha / 2), item_users**-beta)
        walks = find_nearest_columns(halves, self.config.neighbors)
        return self.set_weights(interactions, scale(walks, item_users ** (beta - alpha), np.ones(len(item_users))))
