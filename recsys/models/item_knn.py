"""Item neighbours: items wanted by the same users, found by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.models.artifacts import check_finite, load_model, save_model, sparse_arrays, sparse_matrix
from recsys.models.base import NOTHING, ItemModel
from recsys.models.config import Share, ZeroOrMore
from recsys.models.top_k import Exclude, Scores, rank_entries, top_k_of_entries
from recsys.settings import Positive


@dataclass(frozen=True)
class ItemKnnConfig:
    """What makes items neighbours, and how many count."""

    similarity: Literal["cosine", "bm25"] = "cosine"
    """Cosine of the items' columns, or dot product after BM25 weighting."""
    neighbors: Positive = 100
    """Most similar items kept for each item."""
    shrinkage: ZeroOrMore = 10.0
    """Cosine: users added to each item's own, so that few shared users make no likeness."""
    bm25_k1: ZeroOrMore = 1.2
    """BM25: how soon a user's further confidence in the same item adds little."""
    bm25_b: Share = 0.75
    """BM25: how much each user counts less for an item of more confidence in all, 0 to 1."""


class ItemKnn(ItemModel):
    """A user's score for an item is the sum of its similarity to the items of the user, each counted once.

    Sarwar, Karypis, Konstan, Riedl, "Item-based Collaborative Filtering Recommendation Algorithms" (WWW 2001), with
    users wanted or not in place of ratings: the similarity of items with n and m users, k of them shared, is
    k / sqrt((n + shrinkage) (m + shrinkage)). BM25 weighs a user's confidence c in an item as
    c (k1 + 1) / (c + k1 (1 - b + b confidence in the item / mean of all items)) x log(items / (1 + user's items)).
    An item is among its own neighbours, the first by cosine, so that repeats rank high where they are allowed.
    Items similar to none of the user's come after all others, scored by their share of the users less 1.
    """

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        self.config = config

    def fit(self, interactions: Interactions) -> Self:
        """Find each item's neighbours."""
        wanted = interactions.wanted
        once = csr_matrix((np.ones(wanted.nnz), wanted.indices, wanted.indptr), shape=wanted.shape)
        item_users = np.bincount(wanted.indices, minlength=wanted.shape[1])
        finder = ItemItemRecommender(K=min(self.config.neighbors + 1, wanted.shape[1]))
        finder.fit(self._weighted(wanted, once, item_users), show_progress=False)
        self.similarity = csr_matrix(finder.similarity, dtype=np.float32)  # items x items, a row's neighbours
        self.similarity.sort_indices()
        self.user_items = csr_matrix(once, dtype=np.float32)
        self.item_share = (item_users / wanted.shape[0]).astype(np.float32)
        check_finite("item_knn", similarity=self.similarity.data)
        return self

    def _weighted(self, wanted: csr_matrix, once: csr_matrix, item_users: NDArray[np.integer]) -> csr_matrix:
        if self.config.similarity == "bm25":
            items = bm25_weight(wanted.T, self.config.bm25_k1, self.config.bm25_b)
            return csr_matrix(items.T, dtype=np.float64)
        lengths = np.sqrt(np.maximum(item_users + self.config.shrinkage, 1))
        return csr_matrix(once @ diags_array(1 / lengths))

    def scores(self, user_rows: Rows) -> Scores:
        """Sums of similarities to the items of each user, below them the share of users less 1."""
        scores = self._entries(user_rows).toarray()
        np.copyto(scores, self.item_share - 1, where=scores <= 0)
        return scores

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """`Model.recommend` from the items that are like any of the user's, and the others by their share."""
        return rank_entries(self._entries, self.item_share - 1, user_rows, n, exclude)

    def _entries(self, user_rows: Rows) -> csr_matrix:
        """The scores above 0, users x items."""
        sums = csr_matrix(self.user_items[user_rows] @ self.similarity, dtype=np.float32)
        if not (sums.data > 0).all():
            sums.data[sums.data < 0] = 0
            sums.eliminate_zeros()
        return sums

    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """An item's neighbours; none that shares no user with it."""
        known = np.flatnonzero(item_rows != UNKNOWN)
        neighbors = self.similarity[item_rows[known]].tocoo()
        shown = (neighbors.col != item_rows[known][neighbors.row]) & (neighbors.data > 0)
        if exclude.items is not None:
            shown &= ~exclude.items[neighbors.col]
        entries = (known[neighbors.row[shown]], neighbors.col[shown], neighbors.data[shown])
        return top_k_of_entries(*entries, len(item_rows), n)

    def save(self, directory: Path) -> None:
        """Write the similarities, the items of every user and the share of users of every item."""
        arrays = sparse_arrays("similarity", self.similarity) | sparse_arrays("user_items", self.user_items)
        save_model(directory, "item_knn", self.config, arrays | {"item_share": self.item_share})

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the similarities, the items of every user and the share of users of every item."""
        config, arrays = load_model(directory, "item_knn", ItemKnnConfig)
        model = cls(config)
        model.similarity = sparse_matrix("similarity", arrays)
        model.user_items = sparse_matrix("user_items", arrays)
        model.item_share = arrays["item_share"]
        return model
