"""What a model is: four methods over int32 rows, and what it leaves out of its lists."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.ids import Rows

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Exclude:
    """What must not be recommended: pairs a user has seen, items nobody may be shown."""

    user_items: csr_matrix | None = None  # users x items; every stored entry is left out for that user
    items: NDArray[np.bool_] | None = None  # one entry an item; True is left out for everyone


NOTHING = Exclude()


class Model(Protocol):
    """A model ranks items for users. `fit` returns the model itself; all else reads only what was fitted."""

    def fit(self, interactions: Interactions) -> Self:
        """Learn from `interactions`; raises `ModelError` when the result is not finite."""
        ...

    def recommend(self, user_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Item rows and scores, both (len(user_rows), n), best first, ties by item row.

        Where fewer than n items are left, the rest is item row -1 and score -inf.
        """
        ...

    def save(self, directory: Path) -> None:
        """Write what was fitted to `directory`, which exists."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises `ModelError` when it is not there or of another format."""
        ...


class ItemModel(Model, Protocol):
    """A model that also knows which items are alike."""

    def similar(self, item_rows: Rows, n: int, exclude: Exclude = NOTHING) -> tuple[Rows, Scores]:
        """Item rows and scores, both (len(item_rows), n), best first; never the item itself."""
        ...
