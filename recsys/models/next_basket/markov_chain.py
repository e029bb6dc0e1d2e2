"""Markov chain of baskets: which items are bought after the items of a user's history."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import scale
from recsys.ids import Rows
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.base import NO_EXCLUSION
from recsys.models.config import Range, SearchSpace, Share, ZeroOrMore
from recsys.models.next_basket.basket_model import BasketModel
from recsys.models.next_basket.baskets import Baskets, group_into_baskets
from recsys.models.work import common_pairs, row_work, sort_work, sparse_work
from recsys.ranking.top_k import rank_entries
from recsys.settings.types import Positive


@dataclass(frozen=True)
class MarkovChainConfig:
    """Decay of past baskets, and normalization of the transitions."""

    neighbors: Positive = 400
    """Number of the most likely next items kept for each item."""
    recent_baskets: Positive = 15
    """Number of a user's latest baskets that the next one is predicted from."""
    basket_decay: Share = 0.8
    """Factor by which a basket counts less than the next one."""
    length_exponent: Share = 0.5
    """Power of the sum of a user's decayed items by which each is divided."""
    from_exponent: Share = 0.8
    """Power of an item's transitions to others by which they are divided; with 1 they are probabilities."""
    to_exponent: Share = 0.3
    """Power of an item's transitions from others by which they are divided; 0 does not damp popular items."""
    shrinkage: ZeroOrMore = 5.0
    """Transitions added to an item's own, so that a few do not make an item likely."""


class MarkovChain(BasketModel):
    """Transitions from the items of a user's latest baskets to those of the next one, repeats among them.

    A basket is what a user bought on one day. Let x(i) be the sum of `basket_decay` ** age over the latest
    `recent_baskets` baskets with item i before a basket, divided by the sum of all x ** `length_exponent`. The
    weight of item i for item j is

        sum of x(i) over all baskets with j / ((n_i + shrinkage) ** from_exponent (n_j + shrinkage) ** to_exponent)

    where n_i sums x(i) over all baskets and n_j counts those with j. The weight of an item for itself says how
    readily it is bought again. Source: Rendle, Freudenthaler, Schmidt-Thieme, "Factorizing Personalized Markov
    Chains for Next-Basket Recommendation" (WWW 2010): with a decay of 0 and exponents of 1, 1 and 0 it is their
    chain of all users, not factorized. What differs is the longer memory, the exponents and the shrinkage.
    """

    name = "markov_chain"
    config_type = MarkovChainConfig
    search_space: ClassVar[SearchSpace] = {
        "basket_decay": Range(0.4, 1.0),
        "length_exponent": Range(0.0, 1.0),
        "from_exponent": Range(0.3, 1.0),
        "to_exponent": Range(0.0, 0.6),
    }
    config: MarkovChainConfig

    def __init__(self, config: MarkovChainConfig = MarkovChainConfig()) -> None:
        super().__init__(config)

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002 (an interface)
        """Estimate the peak memory: the largest weights of each item, and histories of every basket."""
        histories = 16 * interactions * self.config.recent_baskets
        return 20 * items * min(self.config.neighbors, items) + histories

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the pairs of items of each user, and the sorted entries of histories."""
        pairs = common_pairs(users, interactions)
        return sparse_work(pairs) + sort_work(float(interactions) * self.config.recent_baskets)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:
        """Count the transitions of each user's items."""
        return row_work(users) + sparse_work(float(interactions) * min(self.config.neighbors, items))

    def fit(self, interactions: Interactions) -> Self:
        """Sum the transitions of all users, and decay their histories as of now."""
        return self.fit_baskets(group_into_baskets(purchase_days(interactions)))

    def fit_baskets(self, baskets: Baskets) -> Self:
        """Fit to baskets that were grouped already."""
        config = self.config
        recent = baskets.positions < config.recent_baskets
        decayed = baskets.sum_entries(np.where(recent, np.power(config.basket_decay, baskets.positions), 0))
        histories = _divide_by_length(decayed, config.length_exponent)
        return self.set_weights(histories, _find_transitions(baskets, config), baskets.item_share)


def _find_transitions(baskets: Baskets, config: MarkovChainConfig) -> csr_matrix:
    """Compute each item's largest weights for items of the next basket, (items, items)."""
    items = baskets.shape[1]
    basket_rows = (np.cumsum(baskets.counts) - baskets.counts)[baskets.user_rows] + baskets.positions
    histories = _histories_before(baskets, basket_rows, config)
    has_history = baskets.positions < baskets.counts[baskets.user_rows] - 1
    next_items = csr_matrix((has_history.astype(np.float64), (basket_rows, baskets.item_rows)), histories.shape)
    next_items.eliminate_zeros()
    from_scale = _damp(np.bincount(histories.indices, histories.data, items), config.from_exponent, config)
    to_scale = _damp(np.bincount(baskets.item_rows, has_history, items), config.to_exponent, config)
    item_histories = csr_matrix(histories.T)

    def weights(item_rows: Rows) -> csr_matrix:
        sums = csr_matrix(item_histories[item_rows] @ next_items)
        return csr_matrix(scale(sums, from_scale[item_rows], to_scale), dtype=np.float32)

    every_item, nothing = np.arange(items, dtype=np.int32), np.full(items, -np.inf, np.float32)
    columns, values = rank_entries(weights, nothing, every_item, min(config.neighbors, items), NO_EXCLUSION)
    rows, places = np.nonzero(values > 0)
    return csr_matrix((values[rows, places], (rows, columns[rows, places])), (items, items))


def _histories_before(baskets: Baskets, basket_rows: NDArray[np.int64], config: MarkovChainConfig) -> csr_matrix:
    """Compute the decayed items of the baskets before each one, (baskets, items); `basket_rows` (N,) are entries'.

    An entry adds to the baskets that follow it, whose rows are just before its own.
    """
    followers = np.minimum(baskets.positions, config.recent_baskets)
    entries = np.repeat(np.arange(len(followers)), followers)
    steps = np.arange(len(entries)) - np.repeat(np.cumsum(followers) - followers, followers)
    rows, columns = basket_rows[entries] - 1 - steps, baskets.item_rows[entries]
    shape = int(baskets.counts.sum()), baskets.shape[1]
    histories = csr_matrix((np.power(config.basket_decay, steps), (rows, columns)), shape)
    return _divide_by_length(histories, config.length_exponent)


def _divide_by_length(histories: csr_matrix, exponent: float) -> csr_matrix:
    """Divide each row by its sum ** `exponent`; a row without entries stays."""
    lengths = np.asarray(histories.sum(axis=1), np.float64).ravel()
    divisors = np.where(lengths > 0, lengths, 1) ** exponent
    return scale(histories, 1 / divisors, np.ones(histories.shape[1]))


def _damp(counts: NDArray[np.number], exponent: float, config: MarkovChainConfig) -> NDArray[np.float64]:
    """Return (counts + shrinkage) ** -exponent, and 1 for an item without any."""
    return np.where(counts > 0, counts + config.shrinkage, 1) ** -exponent
