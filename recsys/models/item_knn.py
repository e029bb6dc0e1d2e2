"""Item neighbours: items wanted by the same users, found by `implicit`."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from implicit.nearest_neighbours import bm25_weight
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import cosine_weights, once_each, scaled
from recsys.models._item_item.item_weights import ItemWeightModel
from recsys.models._item_item.neighbors import closest_columns
from recsys.models.config import Share, ZeroOrMore
from recsys.settings.types import Positive


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


class ItemKnn(ItemWeightModel):
    """A user's score for an item is the sum of its similarity to the items of the user, each counted once.

    Sarwar, Karypis, Konstan, Riedl, "Item-based Collaborative Filtering Recommendation Algorithms" (WWW 2001), with
    users wanted or not in place of ratings: the similarity of items with n and m users, k of them shared, is
    k / sqrt((n + shrinkage) (m + shrinkage)). BM25 weighs a user's confidence c in an item as
    c (k1 + 1) / (c + k1 (1 - b + b confidence in the item / mean of all items)) x log(items / (1 + user's items)).
    An item is among its own neighbours, the first by cosine, so that repeats rank high where they are allowed.
    Items similar to none of the user's come after all others, scored by their share of the users less 1.
    """

    name = "item_knn"
    config_type = ItemKnnConfig

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        super().__init__(config)

    def fit(self, interactions: Interactions) -> Self:
        """Find each item's neighbours."""
        wanted = interactions.wanted
        return self.take(interactions, closest_columns(self._weighted(wanted), self.config.neighbors))

    def _weighted(self, wanted: csr_matrix) -> csr_matrix:
        if self.config.similarity == "bm25":
            return csr_matrix(bm25_weight(wanted.T, self.config.bm25_k1, self.config.bm25_b).T)
        item_users = np.bincount(wanted.indices, minlength=wanted.shape[1])
        lengths = cosine_weights(item_users, self.config.shrinkage)
        return scaled(once_each(wanted), np.ones(wanted.shape[0]), lengths)
