"""TIFU-KNN: a user's item frequencies with time decay, mixed with those of the nearest users."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.models._item_item.item_weight_model import fill_with_popularity
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NO_EXCLUSION
from recsys.models.config import Range, SearchSpace, Share
from recsys.models.next_basket.baskets import Baskets, group_into_baskets
from recsys.models.user_knn import UserNeighborModel
from recsys.ranking.top_k import Exclusion, Scores, rank_entries
from recsys.settings.types import Positive


@dataclass(frozen=True)
class TifuKnnConfig:
    """Decay of past baskets, and number and weight of neighbors."""

    neighbors: Positive = 300
    """Number of nearest users whose frequencies are averaged."""
    group_baskets: Positive = 7
    """Number of consecutive baskets of a group; groups are counted back from the user's latest basket."""
    basket_decay: Share = 0.9
    """Factor by which a basket counts less than the next one of its group."""
    group_decay: Share = 0.7
    """Factor by which a group counts less than the next one."""
    own_share: Share = 0.7
    """Weight of the user's own frequencies; the neighbors' mean has the rest."""


class TifuKnn(UserNeighborModel):
    """TIFU-KNN: personal item frequencies with decay by baskets and groups of them, and the mean of neighbors.

    Source: Hu, He, Gao, Zhang, "Modeling Personalized Item Frequency Information for Next-basket Recommendation"
    (SIGIR 2020). A basket is what a user bought on one day. An item's frequency in a group is the mean over its
    baskets of `basket_decay` ** position, 0 without the item; the user's frequency is the mean over groups of
    `group_decay` ** position times that. Positions count back from the latest. Neighbors are the users at the
    smallest Euclidean distance. The oldest group may be shorter, and is divided by its own number of baskets. Items
    without a frequency come after all others, scored by their share of the users less 1.
    """

    name = "tifu_knn"
    config_type = TifuKnnConfig
    search_space: ClassVar[SearchSpace] = {
        "basket_decay": Range(0.6, 1.0),
        "group_decay": Range(0.3, 1.0),
        "own_share": Range(0.05, 0.95),
    }
    config: TifuKnnConfig

    def __init__(self, config: TifuKnnConfig = TifuKnnConfig()) -> None:
        super().__init__(config)

    def fit(self, interactions: Interactions) -> Self:
        """Compute the frequencies and find each user's neighbors."""
        return self.fit_baskets(group_into_baskets(purchase_days(interactions)))

    def fit_baskets(self, baskets: Baskets) -> Self:
        """Fit to baskets that were grouped already."""
        self.frequencies = baskets.sum_entries(_entry_weights(baskets, self.config))
        self.closest = _find_nearest_users(self.frequencies, baskets.counts > 0, self.config.neighbors)
        self.item_share = baskets.item_share
        check_finite(self.name, frequencies=self.frequencies.data)
        return self

    def scores(self, user_rows: Rows) -> Scores:
        """Mix own and neighbors' frequencies; other items score their share of users less 1."""
        return fill_with_popularity(self._entries(user_rows), self.item_share)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank like `Model.recommend`, from the items with a frequency alone, then by the share of users."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """Compute the scores above 0, (len(user_rows), items)."""
        share = np.float32(self.config.own_share)
        mixed = self.frequencies[user_rows] * share + self.neighbor_frequencies(user_rows) * (1 - share)
        entries = csr_matrix(mixed, dtype=np.float32)
        entries.eliminate_zeros()
        return entries

    def neighbor_frequencies(self, user_rows: Rows) -> csr_matrix:
        """Average the frequencies of each user's neighbors, (len(user_rows), items)."""
        return csr_matrix(_average(self.closest[user_rows], len(self.closest)) @ self.frequencies)

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002 (an interface)
        """Estimate the peak memory: the rows and distances of all neighbors."""
        return 8 * users * min(self.config.neighbors, users)

    def save(self, directory: Path) -> None:
        """Write the frequencies, the neighbors and the share of users of every item."""
        arrays = sparse_arrays("frequencies", self.frequencies)
        save_model(
            directory, self.name, self.config, arrays | {"closest": self.closest, "item_share": self.item_share}
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the frequencies, the neighbors and the share of users of every item."""
        config, arrays = load_model(directory, cls.name, cls.config_type)
        model = cls(config)
        model.frequencies = sparse_matrix("frequencies", arrays)
        model.closest, model.item_share = arrays["closest"], arrays["item_share"]
        return model


def _entry_weights(baskets: Baskets, config: TifuKnnConfig) -> NDArray[np.float64]:
    """Weigh each entry of the baskets by its decay within the group and that of the group, (N,)."""
    size = config.group_baskets
    groups, places = np.divmod(baskets.positions, size)
    counts = baskets.counts[baskets.user_rows]
    group_sizes = np.minimum(size, counts - groups * size)
    decay = np.power(config.basket_decay, places) * np.power(config.group_decay, groups)
    return decay / group_sizes / -(-counts // size)


def _find_nearest_users(vectors: csr_matrix, has_baskets: NDArray[np.bool_], neighbors: int) -> Rows:
    """Find the users at the smallest distance from each user, (users, neighbors), nearest first, padded with -1.

    Of |u - v|², |u|² is the same for every v: users are ranked by 2uv - |v|², which is -|v|² for those without an
    item of u, so only products of users with common items are computed. Users without baskets neither have
    neighbors nor are any.
    """
    lengths = np.asarray(vectors.multiply(vectors).sum(axis=1), np.float32).ravel()
    transposed = csr_matrix(vectors.T)

    def products(user_rows: Rows) -> csr_matrix:
        entries = csr_matrix(vectors[user_rows] @ transposed)
        entries.data = 2 * entries.data - lengths[entries.indices]
        return entries

    users = np.where(has_baskets, np.arange(len(lengths)), UNKNOWN).astype(np.int32)
    others = Exclusion(identity(len(lengths), np.float32, "csr"), ~has_baskets)
    return rank_entries(products, -lengths, users, min(neighbors, max(len(lengths) - 1, 1)), others)[0]


def _average(neighbor_rows: Rows, users: int) -> csr_matrix:
    """Return a matrix whose product with one of users averages the neighbors' rows, (len(neighbor_rows), users)."""
    rows, places = np.nonzero(neighbor_rows != UNKNOWN)
    shares = (1 / np.maximum((neighbor_rows != UNKNOWN).sum(axis=1), 1))[rows].astype(np.float32)
    return csr_matrix((shares, (rows, neighbor_rows[rows, places])), (len(neighbor_rows), users))
