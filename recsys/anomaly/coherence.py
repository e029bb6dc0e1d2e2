"""Profile coherence: how well the items of a user belong together.

The items of a customer do, random filler items do not, and those of a collusion ring do too well.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

from recsys.data.truncated_svd import truncated_svd

RANK: Final = 32
POWER_STEPS: Final = 2
MIN_ITEMS: Final = 2

Numbers = NDArray[np.float64]


def profile_coherence(user_items: csr_matrix, seed: int) -> Numbers:
    """Compute the mean cosine of all pairs of each user's items, (users,), about -0.1 to 1; both ends are unusual.

    `user_items` (users, items) holds ones. An item's vector is its part in the largest singular vectors of the
    matrix whose rows and columns are normalized. nan for users with fewer than `MIN_ITEMS` items. Linear in the
    entries: the mean over pairs follows from the squared length of the sum of unit vectors.
    """
    items = np.diff(user_items.indptr)
    if not user_items.nnz:
        return np.full(len(items), np.nan)
    sums = user_items @ _item_vectors(user_items, seed)
    squares = np.einsum("ur,ur->u", sums, sums, dtype=np.float64)
    pairs = items * (items - 1.0)
    return np.where(items < MIN_ITEMS, np.nan, (squares - items) / np.maximum(pairs, 1))


def _item_vectors(user_items: csr_matrix, seed: int) -> NDArray[np.float32]:
    """Compute vectors of length 1, (items, rank); 0 for an item without users."""
    per_user = np.maximum(np.diff(user_items.indptr), 1)
    per_item = np.maximum(np.bincount(user_items.indices, minlength=user_items.shape[1]), 1)
    scaled = (
        diags_array((per_user**-0.5).astype(np.float32))
        @ user_items
        @ diags_array((per_item**-0.5).astype(np.float32))
    )
    values, vectors = truncated_svd(csr_matrix(scaled), RANK, seed, POWER_STEPS)
    weighted = vectors * values
    lengths = np.sqrt(np.einsum("ir,ir->i", weighted, weighted))
    return weighted / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
