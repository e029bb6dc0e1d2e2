"""Label propagation over the graph of users and items: the category labels of an item's two-hop neighbors."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from recsys.data.scaling import binarize
from recsys.ids import UNKNOWN, Rows

Shares = NDArray[np.float32]

# A difference below this share of the subtracted term is rounding error.
ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class LabelPropagation:
    """Labels of items, propagated to their users and on to the items of these users.

    A label has weight 1 / (item's users), so that items that everybody has count little, and a user 1 / (1 + user's
    labeled items), so that users with many items count little. Confidences are not used.
    """

    item_users: csr_matrix  # items x users: the weight of each user for an item
    user_labels: csr_matrix  # users x classes: the summed weights of the labels of a user's items
    own: NDArray[np.float64]  # (items,) what an item's own label contributes to its sum
    labels: Rows

    @classmethod
    def build(cls, positives: csr_matrix, labels: Rows, classes: int) -> "LabelPropagation":
        """Propagate `labels` (items,), `UNKNOWN` without a label, over `positives` (users x items)."""
        edges = binarize(positives)
        labeled = labels != UNKNOWN
        item_weight = 1 / np.maximum(np.bincount(positives.indices, minlength=len(labels)), 1)
        user_weight = 1 / (1 + edges @ labeled.astype(np.float64))
        one_hot = csr_matrix(
            (item_weight[labeled], (np.flatnonzero(labeled), labels[labeled])), shape=(len(labels), classes)
        )
        item_users = csr_matrix((diags_array(user_weight) @ edges).T)
        own = np.where(labeled, item_weight * (user_weight @ edges), 0)
        return cls(item_users, csr_matrix(edges @ one_hot), own, labels)

    def shares(self, item_rows: Rows) -> Shares:
        """Compute the share of each class in the labels that reach the items, (len(item_rows), classes).

        An item's own label is left out. Rows sum to 1, or are all 0 when no label reaches the item.
        """
        sums = (self.item_users[item_rows] @ self.user_labels).toarray()
        labeled = np.flatnonzero(self.labels[item_rows] != UNKNOWN)
        own, label = self.own[item_rows[labeled]], self.labels[item_rows[labeled]]
        rest = sums[labeled, label] - own
        sums[labeled, label] = np.where(rest > ROUNDING * own, rest, 0)
        return (sums / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)).astype(np.float32)
