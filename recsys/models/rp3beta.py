"""RP3beta: random walks of three steps from a user to items, the popular ones held back."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recsys.data.interactions import Interactions
from recsys.data.scaling import once_each, scaled
from recsys.models._item_item.item_weights import ItemWeightModel
from recsys.models._item_item.neighbors import closest_columns
from recsys.models.config import Share, ZeroOrMore
from recsys.settings.types import Positive


@dataclass(frozen=True)
class Rp3BetaConfig:
    """How the walk goes and how much popular items are held back."""

    alpha: ZeroOrMore = 0.7
    """Power of the probability of each step."""
    beta: Share = 0.3
    """Scores are divided by the item's users ** beta."""
    neighbors: Positive = 200
    """Items that a walk from each item ends at, the most likely ones."""


class Rp3Beta(ItemWeightModel):
    """Item i says of item j: sum over their shared users u of (1 / n_i) ** alpha (1 / n_u) ** alpha, / n_j ** beta.

    Paudel, Christoffel, Newell, Bernstein, "Updatable, Accurate, Diverse, and Scalable Recommendations for
    Interactive Applications" (ACM TiiS 2016), with n_i the users of an item and n_u the items of a user: a walk
    from the user to an item, to one of its users and on, each step's probability to the power alpha, as in
    Cooper, Lee, Radzik, Siantos, "Random Walks in Recommender Systems" (WWW 2014). The first step is the same for
    all items of a user and so left out. Walks are summed exactly where the paper samples them, and each item
    keeps its `neighbors` greatest sums and itself, the walk that comes back, by which repeats rank high where
    they are allowed.
    """

    name = "rp3beta"
    config_type = Rp3BetaConfig

    def __init__(self, config: Rp3BetaConfig = Rp3BetaConfig()) -> None:
        super().__init__(config)

    def fit(self, interactions: Interactions) -> Self:
        """Sum the walks between items."""
        alpha, beta = self.config.alpha, self.config.beta
        once = once_each(interactions.wanted)
        user_items = np.maximum(np.diff(once.indptr), 1.0)
        item_users = np.maximum(np.bincount(once.indices, minlength=once.shape[1]), 1.0)
        # What a row is multiplied by does not change which are its greatest: a symmetric product finds them.
        halves = scaled(once, user_items ** (-alpha / 2), item_users**-beta)
        walks = closest_columns(halves, self.config.neighbors)
        return self.take(interactions, scaled(walks, item_users ** (beta - alpha), np.ones(len(item_users))))
