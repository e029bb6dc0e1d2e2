"""Dense blocks of users and items: click farms that click for each other's customers, under camouflage.

Hooi, Song, Beutel, Shah, Shin, Faloutsos, "FRAUDAR: Bounding Graph Fraud in the Face of Camouflage" (KDD 2016). Its
densest block in a shop is the organic core: many heavy users and popular items. Therefore the entries that degrees
alone let expect are taken off before anything is dense, several blocks are peeled, and of each only users and items
stay that have far more entries inside than that.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

BLOCKS: Final = 6
PEELED: Final = 0.05
"""Share of the remaining users and items that is dropped at a time, those of the least weight."""
MIN_NODES: Final = 4
EXCESS: Final = 4.0
"""Users and items of a block have so many times the entries inside that their degrees let expect."""
ROUNDS: Final = 4

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """One block that is denser than degrees explain."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    density: float
    """Share of its pairs that have an entry."""


def find_dense_blocks(user_items: csr_matrix) -> list[Block]:
    """The blocks of `user_items` (users x items, ones), the one peeled first first; at most `BLOCKS`.

    Near-linear in the entries: each pass drops a share of what is left.
    """
    left = csr_matrix(user_items, dtype=np.float64)
    found: list[Block] = []
    for _ in range(BLOCKS):
        if not left.nnz:
            break
        users, items = _densest(left)
        if not users.any():
            break
        block = _beyond_degrees(left, users, items)
        if block is not None:
            found.append(block)
        left = _without(left, users, items)
    return found


def _densest(user_items: csr_matrix) -> tuple[Mask, Mask]:
    """The users and items, as masks, whose entries exceed the most, a node, what their degrees let expect.

    An entry weighs 1 / log(users of the item + 5), so that camouflage counts for little; what is expected of users
    and items of these degrees is taken off.
    """
    per_user = np.diff(user_items.indptr).astype(float)
    per_item = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(float)
    of_entry = 1 / np.log(per_item + 5)
    users, items = np.flatnonzero(per_user), np.flatnonzero(per_item)
    weights = csr_matrix(csr_matrix(user_items @ diags_array(of_entry))[users][:, items])
    user_share = per_user / user_items.nnz
    best, kept = 0.0, (users[:0], items[:0])
    while min(weights.shape) >= MIN_NODES:
        expected = of_entry[items] * per_item[items]
        of_user = np.asarray(weights.sum(axis=1)).ravel() - user_share[users] * expected.sum()
        of_item = np.asarray(weights.sum(axis=0)).ravel() - user_share[users].sum() * expected
        density = float(of_user.sum()) / sum(weights.shape)
        if density > best:
            best, kept = density, (users, items)
        nodes = np.concatenate([of_user, of_item])
        dropped = max(1, int(PEELED * len(nodes)))
        least = np.partition(nodes, dropped)[dropped]
        # Nodes of equal weight go together, except where all are equal.
        stay_users, stay_items = of_user >= least, of_item >= least
        if stay_users.all() and stay_items.all():
            break
        weights = csr_matrix(weights[stay_users][:, stay_items])
        users, items = users[stay_users], items[stay_items]
    return _mask(kept[0], user_items.shape[0]), _mask(kept[1], user_items.shape[1])


def _beyond_degrees(user_items: csr_matrix, users: Mask, items: Mask) -> Block | None:
    """Of a block the users and items that have `EXCESS` times the entries inside that are expected of them."""
    per_user = np.diff(user_items.indptr).astype(float)
    per_item = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(float)
    total = float(user_items.nnz)
    for _ in range(ROUNDS):
        inside = user_items.T @ users.astype(float)
        items = items & (inside >= MIN_NODES) & (inside >= EXCESS * per_item * per_user[users].sum() / total)
        inside = user_items @ items.astype(float)
        users = users & (inside >= 2) & (inside >= EXCESS * per_user * per_item[items].sum() / total)
        if users.sum() < MIN_NODES or items.sum() < 2:
            return None
    entries = float((user_items @ items.astype(float))[users].sum())
    density = entries / float(users.sum() * items.sum())
    return Block(np.flatnonzero(users), np.flatnonzero(items), density)


def _without(user_items: csr_matrix, users: Mask, items: Mask) -> csr_matrix:
    """The entries that are not inside."""
    rows = np.repeat(np.arange(user_items.shape[0]), np.diff(user_items.indptr))
    stay = ~(users[rows] & items[user_items.indices])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[stay], minlength=user_items.shape[0]))])
    return csr_matrix((user_items.data[stay], user_items.indices[stay], indptr), shape=user_items.shape)


def _mask(rows: NDArray[np.int64], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask
