"""What a model is: it learns, scores, and is written down; ranking is the same for all."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.ranking.top_k import Exclude, Scores, rank_blocks

NOTHING = Exclude()


class Model(ABC):
    """Ranks items for users. `fit` returns the model itself; everything else reads only what was fitted."""

    @abstractmethod
    def fit(self, interactions: Interactions) -> Self:
        """Learn from `interactions`; raises `ModelError` when the result is not finite."""

    @abstractmethod
    def scores(self, user_rows: Rows) -> Scores:
        """A score for every item, (len(user_rows), items); the rows are known users."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write what was fitted to `directory`, which exists."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises `ModelError` when it is missing or of another format."""

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002
        """About what a fit takes at most beside the interactions; 0 where that is no more than they do."""
        return 0

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Item rows and scores, both (len(user_rows), n), best first, ties by item row.

        Where fewer than n items are left, and for an unknown user (row -1), the rest is item row -1 with score
        -inf.
        """
        return rank_blocks(self.scores, user_rows, n, exclude)


class ItemModel(Model):
    """A model that also knows which items are alike."""

    @abstractmethod
    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Item rows and scores, both (len(item_rows), n), best first; never the item itself.

        Of `exclude`, only `items` counts here.
        """


def rank_users_in_blocks(
    rank: Callable[[Rows], tuple[Rows, Scores]], user_rows: Rows, n: int, block_users: int
) -> tuple[Rows, Scores]:
    """What `rank` gives for so many users at a time, put together: both (len(user_rows), n)."""
    rows = np.full((len(user_rows), n), UNKNOWN, np.int32)
    scores = np.full((len(user_rows), n), -np.inf, np.float32)
    for start in range(0, len(user_rows), block_users):
        block = slice(start, start + block_users)
        rows[block], scores[block] = rank(user_rows[block])
    return rows, scores


def write_listed(scores: Scores, rows: Rows, listed: Scores) -> None:
    """Write the scores of lists, both (users, n), over those in `scores` (users, items) of the same items."""
    users, places = np.nonzero(rows != UNKNOWN)
    scores[users, rows[users, places]] = listed[users, places]
