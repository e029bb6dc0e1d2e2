"""Dense blocks of users and items: click farms that promote several items, under camouflage.

Hooi, Song, Beutel, Shah, Shin, Faloutsos, "FRAUDAR: Bounding Graph Fraud in the Face of Camouflage" (KDD 2016). The
densest block of a shop is its organic core: heavy users and popular items. Therefore the entries expected from the
degrees are subtracted first, several blocks are peeled off, and a block keeps only the users and items that have
far more entries inside it than expected.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

BLOCKS: Final = 6
PEELED_SHARE: Final = 0.05
"""Share of the remaining users and items dropped in each pass, those of the least weight."""
MIN_NODES: Final = 4
MIN_EXCESS: Final = 4.0
"""Entries inside a block over those expected from the degrees, for each of its users and items."""
ROUNDS: Final = 4

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """A block of users and items that is denser than their degrees explain."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    density: float
    """Share of its user-item pairs that have an entry."""


def find_dense_blocks(user_items: csr_matrix) -> list[Block]:
    """Find at most `BLOCKS` blocks of `user_items` (users, items; ones), in the order in which they are peeled off.

    Near-linear in the entries: each pass drops a share of the remaining nodes.
    """
    remaining = csr_matrix(user_items, dtype=np.float64)
    blocks: list[Block] = []
    for _ in range(BLOCKS):
        if not remaining.nnz:
            break
        users, items = _find_densest(remaining)
        if not users.any():
            break
        block = _keep_excess_nodes(remaining, users, items)
        if block is not None:
            blocks.append(block)
        remaining = _remove_block(remaining, users, items)
    return blocks


def _find_densest(user_items: csr_matrix) -> tuple[Mask, Mask]:
    """Return masks of the users and items whose weight per node exceeds the expected weight the most.

    An entry weighs 1 / log(users of the item + 5), so that camouflage counts for little; the weight expected from
    the degrees is subtracted.
    """
    per_user = np.diff(user_items.indptr).astype(float)
    per_item = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(float)
    entry_weights = 1 / np.log(per_item + 5)
    users, items = np.flatnonzero(per_user), np.flatnonzero(per_item)
    weights = csr_matrix(csr_matrix(user_items @ diags_array(entry_weights))[users][:, items])
    user_share = per_user / user_items.nnz
    best, block = 0.0, (users[:0], items[:0])
    while min(weights.shape) >= MIN_NODES:
        expected = entry_weights[items] * per_item[items]
        user_weights = np.asarray(weights.sum(axis=1)).ravel() - user_share[users] * expected.sum()
        item_weights = np.asarray(weights.sum(axis=0)).ravel() - user_share[users].sum() * expected
        density = float(user_weights.sum()) / sum(weights.shape)
        if density > best:
            best, block = density, (users, items)
        nodes = np.concatenate([user_weights, item_weights])
        dropped = max(1, int(PEELED_SHARE * len(nodes)))
        threshold = np.partition(nodes, dropped)[dropped]
        # Nodes of equal weight go together, except where all are equal.
        kept_users, kept_items = user_weights >= threshold, item_weights >= threshold
        if kept_users.all() and kept_items.all():
            break
        weights = csr_matrix(weights[kept_users][:, kept_items])
        users, items = users[kept_users], items[kept_items]
    return _mask(block[0], user_items.shape[0]), _mask(block[1], user_items.shape[1])


def _keep_excess_nodes(user_items: csr_matrix, users: Mask, items: Mask) -> Block | None:
    """Reduce a block to users and items with `MIN_EXCESS` times their expected entries; None if few are left."""
    per_user = np.diff(user_items.indptr).astype(float)
    per_item = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(float)
    total = float(user_items.nnz)
    for _ in range(ROUNDS):
        inside = user_items.T @ users.astype(float)
        items = items & (inside >= MIN_NODES) & (inside >= MIN_EXCESS * per_item * per_user[users].sum() / total)
        inside = user_items @ items.astype(float)
        users = users & (inside >= 2) & (inside >= MIN_EXCESS * per_user * per_item[items].sum() / total)
        if users.sum() < MIN_NODES or items.sum() < 2:
            return None
    entries = float((user_items @ items.astype(float))[users].sum())
    density = entries / float(users.sum() * items.sum())
    return Block(np.flatnonzero(users), np.flatnonzero(items), density)


def _remove_block(user_items: csr_matrix, users: Mask, items: Mask) -> csr_matrix:
    """Return the entries outside the block."""
    rows = np.repeat(np.arange(user_items.shape[0]), np.diff(user_items.indptr))
    outside = ~(users[rows] & items[user_items.indices])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[outside], minlength=user_items.shape[0]))])
    return csr_matrix((user_items.data[outside], user_items.indices[outside], indptr), shape=user_items.shape)


def _mask(rows: NDArray[np.int64], count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[rows] = True
    return mask
