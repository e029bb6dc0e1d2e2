"""The interface of all models: fit, score, rank, save and load."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.models.config import SearchSpace
from recsys.models.work import row_work, sort_work, vector_work
from recsys.ranking.top_k import Exclusion, Scores, empty_lists, rank_blocks

NO_EXCLUSION = Exclusion()

Precision = Literal["auto", "float32", "bfloat16"]


class Model(ABC):
    """Ranks items for users.

    A subclass sets `name`, by which settings and files refer to it, and `config_type`, the frozen dataclass of its
    settings. Every method but `fit` and `load` reads only what was fitted.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[Any]]
    search_space: ClassVar[SearchSpace] = {}

    config: Any

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def fit(self, interactions: Interactions) -> Self:
        """Learn from `interactions` and return the model; raise `ModelError` when the result is not finite."""

    @abstractmethod
    def scores(self, user_rows: Rows) -> Scores:
        """Score every item for known users, (len(user_rows), items)."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write what was fitted to `directory`, which exists."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raise `ModelError` when it is missing or of another format."""

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:  # noqa: ARG002 (an interface)
        """Estimate the peak memory of a fit beyond the interactions; 0 when it takes no more than they do."""
        return 0

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Estimate the work of a fit in billions of elementary operations; see `recsys.models.work`."""
        return sort_work(interactions)

    def ranking_work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Estimate the work of ranking items for users who have `interactions` together."""
        return row_work(users) + vector_work(users * items)

    def recommend(self, user_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank items for users: item rows and scores, both (len(user_rows), n), best first, ties by item row.

        Where fewer than n items are left, and for an unknown user (row -1), the rest is item row -1 with score
        -inf.
        """
        return rank_blocks(self.scores, user_rows, n, exclude)


class ItemModel(Model):
    """A model that also ranks the items most similar to an item."""

    @abstractmethod
    def similar(self, item_rows: Rows, n: int, exclude: Exclusion = NO_EXCLUSION) -> tuple[Rows, Scores]:
        """Rank similar items: item rows and scores, both (len(item_rows), n), best first, without the item itself.

        Of `exclude`, only `items` applies.
        """


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a fit of many epochs that, unlike its config, do not change what it converges to."""

    checkpoint: Path | None = None
    """The file to which the state is written after each epoch, and from which a fit resumes when it exists."""
    seconds: float | None = None
    """The time limit. No step starts after it, and an incomplete epoch is discarded."""
    on_epoch: Callable[[int, int], None] = lambda _done, _epochs: None
    """Called after each epoch with the number of finished epochs and the maximum number of epochs."""
    precision: Precision = "auto"
    """Precision of the products of a batch; `auto` is bfloat16 on CUDA and float32 elsewhere."""


class NeuralModel(Model):
    """A model trained epoch by epoch, with early stopping: it obeys `training`, and its config has `epochs`."""

    training: TrainingOptions = TrainingOptions()
    epochs: int
    """The number of epochs after which validation was best; set by `fit`."""


def rank_users_in_blocks(
    rank: Callable[[Rows], tuple[Rows, Scores]], user_rows: Rows, n: int, block_users: int
) -> tuple[Rows, Scores]:
    """Call `rank` for blocks of users and stack its lists: item rows and scores, both (len(user_rows), n)."""
    rows, scores = empty_lists(len(user_rows), n)
    for start in range(0, len(user_rows), block_users):
        block = slice(start, start + block_users)
        rows[block], scores[block] = rank(user_rows[block])
    return rows, scores


def write_list_scores(scores: Scores, rows: Rows, list_scores: Scores) -> None:
    """Overwrite entries of `scores` (users, items) with the scores of lists of items, `rows` (users, n)."""
    users, places = np.nonzero(rows != UNKNOWN)
    scores[users, rows[users, places]] = list_scores[users, places]
