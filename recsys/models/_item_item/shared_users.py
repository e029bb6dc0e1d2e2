"""Whether enough users stand behind two items being alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.ids import UNKNOWN, Rows


class SharedUsers:
    """Which items have enough users in common, each counted once, whatever the confidence."""

    def __init__(self, wanted: csr_matrix, least: int) -> None:
        """`wanted` is users x items, without explicit zeros; `least` users make two items alike."""
        from recsys.compiled import compiled  # numba takes long to import

        item_users = csr_matrix(wanted.T)
        item_users.sort_indices()
        self._offsets = item_users.indptr.astype(np.int64)
        self._users = item_users.indices.astype(np.int32)
        self._least = least
        self._mark: Any = compiled(_mark_shared)

    def backed(self, item_rows: Rows, listed: Rows) -> Rows:
        """`listed` (len(item_rows), n) with -1 for items that have fewer users in common with the row's item."""
        enough = np.zeros(listed.shape, np.bool_)
        self._mark(item_rows, listed, self._offsets, self._users, self._least, enough)
        return np.where(enough, listed, np.int32(UNKNOWN))


def _mark_shared(
    item_rows: Rows,
    listed: Rows,
    offsets: NDArray[np.int64],
    users: Rows,
    least: int,
    enough: NDArray[np.bool_],
) -> None:
    """Set `enough` where the users of both items, in order, have `least` in common; looks no further than that."""
    for row in range(len(item_rows)):
        for place in range(listed.shape[1]):
            other = listed[row, place]
            if other < 0:
                continue
            one, one_end = offsets[item_rows[row]], offsets[item_rows[row] + 1]
            two, two_end = offsets[other], offsets[other + 1]
            left = least
            while left > 0 and one < one_end and two < two_end:
                if users[one] == users[two]:
                    left -= 1
                    one += 1
                    two += 1
                elif users[one] < users[two]:
                    one += 1
                else:
                    two += 1
            enough[row, place] = left == 0
