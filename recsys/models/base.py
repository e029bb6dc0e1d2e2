"""What a model is: it learns, scores, and is written down; ranking is the same for all."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from recsys.data.interactions import Interactions
from recsys.ids import Rows
from recsys.models.top_k import Exclude, Scores, rank_blocks

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
