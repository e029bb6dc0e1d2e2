"""Rank fusion: the values of places in ranked lists, and several lists of the same users side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.ids import UNKNOWN, Rows


@dataclass(frozen=True)
class Pool:
    """The union of several lists of each user, N entries in order of user, then item."""

    users: NDArray[np.int64]  # (N,) row of the user in the lists
    items: Rows  # (N,)
    values: NDArray[np.float32]  # (N, lists) the value of the item's place in each list, 0 when it is absent


def rank_values(depth: int) -> NDArray[np.float32]:
    """Return the values of the places 1 to `depth`, (depth,): 1 - log(place) / log(depth + 1), from 1 to near 0.

    Places are used because scores of different models have no common scale.
    """
    return (1 - np.log(np.arange(1, depth + 1)) / np.log(depth + 1)).astype(np.float32)


def pool_lists(lists: Sequence[Rows]) -> Pool:
    """Join lists (users, depth) of item rows, padded with -1, by user and item."""
    depth = lists[0].shape[1]
    items = 1 + max(int(rows.max(initial=UNKNOWN)) for rows in lists)
    user_offsets = np.arange(len(lists[0]), dtype=np.int64)[:, None] * max(items, 1)
    filled = [np.nonzero(rows != UNKNOWN) for rows in lists]
    keys = [(user_offsets + rows)[places] for rows, places in zip(lists, filled, strict=True)]
    pairs, pair_of_entry = np.unique(np.concatenate(keys), return_inverse=True)
    values = np.zeros((len(pairs), len(lists)), np.float32)
    place_values, start = rank_values(depth), 0
    for column, (_, places) in enumerate(filled):
        values[pair_of_entry[start : start + len(places)], column] = place_values[places]
        start += len(places)
    return Pool(pairs // max(items, 1), (pairs % max(items, 1)).astype(np.int32), values)
