"""Item-based nearest neighbors, found by `implicit`."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from implicit.nearest_neighbours import bm25_weight
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize, inverse_norms, scale
from recsys.models._item_item.item_weight_model import ItemWeightModel
from recsys.models._item_item.similarity import find_nearest_columns
from recsys.models.config import Range, SearchSpace, Share, ZeroOrMore
from recsys.models.work import common_pairs, sparse_work
from recsys.settings.types import Positive


@dataclass(frozen=True)
class ItemKnnConfig:
    """Similarity measure and number of neighbors."""

    similarity: Literal["cosine", "bm25"] = "cosine"
    """Cosine of the items' columns, or dot product of the columns after BM25 weighting."""
    neighbors: Positive = 100
    """Number of most similar items kept for each item."""
    shrinkage: ZeroOrMore = 10.0
    """Cosine: users added to each item's own, so that few common users do not make items similar."""
    bm25_k1: ZeroOrMore = 1.2
    """BM25: how slowly further confidence of a user in the same item saturates."""
    bm25_b: Share = 0.75
    """BM25: how strongly a user counts less for an item of more total confidence, from 0 to 1."""


class ItemKnn(ItemWeightModel):
    """Item-based nearest neighbors: a score is the sum of similarities to the user's items.

    Source: Sarwar, Karypis, Konstan, Riedl, "Item-based Collaborative Filtering Recommendation Algorithms" (WWW
    2001), with binary interactions in place of ratings. The similarity of items with n and m users, k of them in
    common, is

        k / sqrt((n + shrinkage) (m + shrinkage))

    BM25 weights a user's confidence c in an item as c (k1 + 1) / (c + k1 (1 - b + b confidence in the item / mean
    of all items)) x log(items / (1 + user's items)). An item is among its own neighbors, the first by cosine, so
    that repeats rank high where they are allowed. Items similar to none of the user's come after all others, scored
    by their share of the users less 1.
    """

    name = "item_knn"
    config_type = ItemKnnConfig
    search_space: ClassVar[SearchSpace] = {"shrinkage": Range(0.5, 100.0, logarithmic=True)}
    config: ItemKnnConfig

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the pairs of items of each user."""
        return sparse_work(common_pairs(users, interactions))

    def fit(self, interactions: Interactions) -> Self:
        """Find each item's neighbors."""
        weighted = self._weight(interactions.positives)
        return self.set_weights(interactions, find_nearest_columns(weighted, self.config.neighbors))

    def _weight(self, positives: csr_matrix) -> csr_matrix:
        """Weight the columns so that their dot products are the similarities."""
        if self.config.similarity == "bm25":
            return csr_matrix(bm25_weight(positives.T, self.config.bm25_k1, self.config.bm25_b).T)
        item_users = np.bincount(positives.indices, minlength=positives.shape[1])
        norms = inverse_norms(item_users, self.config.shrinkage)
        return scale(binarize(positives), np.ones(positives.shape[0]), norms)
