"""What is known of an item from the labels of its neighbours: two hops over the graph of users and items."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from recsys.ids import UNKNOWN, Rows

Shares = NDArray[np.float32]

# What is left of a sum after its own part is taken out, below this share of that part, is rounding.
ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class LabelHops:
    """The labels of items, spread to the users who want them and on to the items that those want.

    A label counts 1 / the number of the item's users, so that what everybody has says little, and a user
    1 / (1 + the number of labelled items that the user wants): the more a user has, the less it says. How much an
    item was wanted plays no part.
    """

    item_users: csr_matrix  # items x users: the weight of each user for an item
    user_labels: csr_matrix  # users x classes: the weights of the labels that reach a user
    own: NDArray[np.float64]  # (items,) the part of an item's own label in what reaches it
    labels: Rows

    @classmethod
    def of(cls, wanted: csr_matrix, labels: Rows, classes: int) -> "LabelHops":
        """The hops of `labels` (items,), `UNKNOWN` where there is none, over `wanted` (users x items)."""
        edges = csr_matrix((np.ones(wanted.nnz), wanted.indices, wanted.indptr), shape=wanted.shape)
        known = labels != UNKNOWN
        item_weight = 1 / np.maximum(np.bincount(wanted.indices, minlength=len(labels)), 1)
        user_weight = 1 / (1 + edges @ known.astype(np.float64))
        one_hot = csr_matrix(
            (item_weight[known], (np.flatnonzero(known), labels[known])), shape=(len(labels), classes)
        )
        item_users = csr_matrix((diags_array(user_weight) @ edges).T)
        own = np.where(known, item_weight * (user_weight @ edges), 0)
        return cls(item_users, csr_matrix(edges @ one_hot), own, labels)

    def shares(self, item_rows: Rows) -> Shares:
        """How the labels that reach each item are shared out, (len(item_rows), classes).

        An item's own label never reaches itself. Rows add up to 1, or are all 0 where no label reaches the item.
        """
        sums = (self.item_users[item_rows] @ self.user_labels).toarray()
        labelled = np.flatnonzero(self.labels[item_rows] != UNKNOWN)
        own, label = self.own[item_rows[labelled]], self.labels[item_rows[labelled]]
        left = sums[labelled, label] - own
        sums[labelled, label] = np.where(left > ROUNDING * own, left, 0)
        return (sums / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)).astype(np.float32)
