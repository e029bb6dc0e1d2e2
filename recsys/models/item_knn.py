"""Item-based nearest neighbors, found by `implicit`."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from implicit.nearest_neighbours import bm25_weight
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize, scale
from recsys.ids import Rows
from recsys.models._item_item.item_regression import user_weights
from recsys.models._item_item.item_weight_model import ItemWeightModel
from recsys.models._item_item.similarity import find_nearest_columns
from recsys.models.artifacts import Array
from recsys.models.config import AboveZero, Range, SearchSpace, Share, ZeroOrMore
from recsys.models.work import common_pairs, sparse_work
from recsys.settings.types import Positive


@dataclass(frozen=True)
class ItemKnnConfig:
    """Similarity measure and number of neighbors."""

    similarity: Literal["cosine", "bm25"] = "cosine"
    """Cosine of the items' columns, or dot product of the columns after BM25 weighting."""
    neighbors: Positive = 100
    """Number of most similar items kept for each item."""
    shrinkage: ZeroOrMore = 20.0
    """Cosine: users added to each item's own, so that few common users do not make items similar."""
    asymmetry: Share = 0.15
    """Cosine: power of the neighbor's number of users in the denominator of the similarity; 0.5 is the cosine."""
    user_exponent: ZeroOrMore = 0.6
    """Cosine: a common user counts 1 / (user's items) ** user_exponent; with 0 all users count the same."""
    locality: AboveZero = 1.3
    """Cosine: power of a similarity; larger values give less weight to less similar neighbors."""
    bm25_k1: ZeroOrMore = 1.2
    """BM25: how slowly further confidence of a user in the same item saturates."""
    bm25_b: Share = 0.75
    """BM25: how strongly a user counts less for an item of more total confidence, from 0 to 1."""


class ItemKnn(ItemWeightModel):
    """Item-based nearest neighbors: a score is the sum of similarities to the user's items.

    By cosine, the similarity of a user's item with n users to a neighbor with m is

        (common users / ((n + shrinkage) ** (1 - asymmetry) (m + shrinkage) ** asymmetry)) ** locality

    Source: Aiolli, "Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets" (RecSys 2013). Three
    things differ: the shrinkage, that only the `neighbors` most similar items by the symmetric cosine count, and
    that a user counts 1 / (user's items) ** user_exponent, in n and m too, times a constant that makes the mean
    over interactions 1. Similar items are ranked by the symmetric cosine, which prefers popular items less than
    good scores do. With `asymmetry` 0.5, `user_exponent` 0 and `locality` 1 it is the model of Sarwar, Karypis,
    Konstan, Riedl, "Item-based Collaborative Filtering Recommendation Algorithms" (WWW 2001), on binary
    interactions.

    BM25 weights a user's confidence c in an item as c (k1 + 1) / (c + k1 (1 - b + b confidence in the item / mean
    of all items)) x log(items / (1 + user's items)). An item is among its own neighbors, the first by cosine, so
    that repeats rank high where they are allowed. Items similar to none of the user's come after all others, scored
    by their share of the users less 1.
    """

    name = "item_knn"
    config_type = ItemKnnConfig
    search_space: ClassVar[SearchSpace] = {
        "shrinkage": Range(0.5, 100.0, logarithmic=True),
        "asymmetry": Range(0.0, 1.0),
        "user_exponent": Range(0.0, 1.5),
        "locality": Range(0.3, 2.5),
    }
    config: ItemKnnConfig
    popularity: NDArray[np.float32]
    """The factor, (items,), by which a neighbor scores more than its symmetric cosine says."""

    def __init__(self, config: ItemKnnConfig = ItemKnnConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the pairs of items of each user."""
        return sparse_work(common_pairs(users, interactions))

    def fit(self, interactions: Interactions) -> Self:
        """Find each item's neighbors."""
        config, positives = self.config, interactions.positives
        if config.similarity == "bm25":
            weighted = csr_matrix(bm25_weight(positives.T, config.bm25_k1, config.bm25_b).T)
            self.popularity = np.ones(positives.shape[1], np.float32)
            return self.set_weights(interactions, find_nearest_columns(weighted, config.neighbors))
        binary = binarize(positives)
        weights = user_weights(binary, config.user_exponent / 2)
        item_users = np.maximum(binary.T @ weights + config.shrinkage, 1.0)
        cosine = find_nearest_columns(scale(binary, np.sqrt(weights), item_users**-0.5), config.neighbors)
        cosine.data **= config.locality
        skew = item_users ** (config.locality * (0.5 - config.asymmetry))
        self.popularity = skew.astype(np.float32)
        return self.set_weights(interactions, scale(cosine, 1 / skew, skew))

    def neighbor_weights(self, item_rows: Rows) -> csr_matrix:
        """Return the symmetric cosines to the power of `locality`, (len(item_rows), items)."""
        weights = super().neighbor_weights(item_rows)
        return scale(weights, self.popularity[item_rows], 1 / self.popularity)

    def arrays(self) -> dict[str, Array]:
        """Return what was fitted, by name."""
        return super().arrays() | {"popularity": self.popularity}

    def set_arrays(self, arrays: dict[str, Array]) -> None:
        """Set what `arrays` returned."""
        super().set_arrays(arrays)
        self.popularity = arrays["popularity"]
