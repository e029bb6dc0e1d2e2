"""Several ranked lists of the same users made one: what a place in a list is worth, and the lists side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.ids import UNKNOWN, Rows


@dataclass(frozen=True)
class Pool:
    """Every item that any list holds for a user, N entries in order of user, then item."""

    users: NDArray[np.int64]  # (N,) place of the user in the lists
    items: Rows  # (N,)
    values: NDArray[np.float32]  # (N, lists) what the item's place in each list is worth, 0 where it is not there


def rank_values(depth: int) -> NDArray[np.float32]:
    """What the places 1 to `depth` of a list are worth: 1 - log(place) / log(depth + 1), from 1 down to near 0.

    Scores of different models have no common scale, places have: only the order that a model gives counts.
    """
    return (1 - np.log(np.arange(1, depth + 1)) / np.log(depth + 1)).astype(np.float32)


def pool_lists(lists: Sequence[Rows]) -> Pool:
    """Put lists (users, depth) of item rows, -1 where there is none, side by side."""
    depth = lists[0].shape[1]
    items = 1 + max(int(rows.max(initial=UNKNOWN)) for rows in lists)
    owners = np.arange(len(lists[0]), dtype=np.int64)[:, None] * max(items, 1)
    filled = [np.nonzero(rows != UNKNOWN) for rows in lists]
    keys = [(owners + rows)[places] for rows, places in zip(lists, filled, strict=True)]
    every, places_of = np.unique(np.concatenate(keys), return_inverse=True)
    values = np.zeros((len(every), len(lists)), np.float32)
    worth, start = rank_values(depth), 0
    for column, (_, places) in enumerate(filled):
        values[places_of[start : start + len(places)], column] = worth[places]
        start += len(places)
    return Pool(every // max(items, 1), (every % max(items, 1)).astype(np.int32), values)
