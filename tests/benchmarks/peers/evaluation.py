"""The task of other libraries on a split, and the measurement of their lists, as ours by `recsys benchmark`."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from jobs.experiments.benchmark import Protocol, read_split, split_evaluation_window
from jobs.pipeline.evaluation_window import EvaluationWindow
from recsys.evaluation.comparison.measurement import measure_model
from recsys.ids import UNKNOWN, Rows
from recsys.schema import ITEM_ID, USER_ID
from recsys.settings import Settings
from tests.benchmarks.peers.task import HISTORY, RANK, USERS


class UnusableListsError(Exception):
    """Lists of a library that hold unknown, or duplicate, users or items."""


@dataclass(frozen=True)
class PeerEvaluation:
    """The evaluation of lists of k new items on a split."""

    window: EvaluationWindow
    settings: Settings

    @classmethod
    def read(cls, directory: Path, k: int, protocol: Protocol) -> "PeerEvaluation":
        """Read the split in a directory, as `recsys benchmark --repeat exclude` does."""
        evaluation = replace(Settings().evaluation, cutoffs=(k,), metric=f"ndcg@{k}")
        settings = replace(Settings(), repeat="exclude", evaluation=evaluation)
        split = read_split(directory, protocol, settings).without_unknown_items()
        return cls(split_evaluation_window(split.history, split.test, settings), settings)

    @property
    def k(self) -> int:
        """The length of the lists."""
        return self.settings.evaluation.cutoffs[0]

    def write_task(self, directory: Path) -> None:
        """Write the history and the users to rank for, with ids as whole numbers, as in the public data sets."""
        interactions = self.window.interactions
        users, items = interactions.user_items.nonzero()
        history = {USER_ID: interactions.users.ids(users), ITEM_ID: interactions.items.ids(items)}
        pl.DataFrame(history).cast(pl.Int64).write_parquet(directory / HISTORY)
        users_to_rank = {USER_ID: interactions.users.ids(self.window.ground_truth.user_rows)}
        pl.DataFrame(users_to_rank).cast(pl.Int64).write_parquet(directory / USERS)

    def measure(self, name: str, lists: Path) -> dict[str, float]:
        """Measure a table of `user_id`, `item_id` and `rank` from 1; users without a list count with zeros.

        Items that the user already has, with which `implicit` fills short lists, count as irrelevant. Raises
        `UnusableListsError` for unknown users or items, and for duplicates in a list.
        """
        truth = self.window.ground_truth
        return measure_model(name, self._read(lists), truth, self.settings.evaluation, self.settings.seed).metrics

    def _read(self, lists: Path) -> Rows:
        """Read the table as item rows, (users, k), -1 where a list is shorter."""
        interactions, user_rows = self.window.interactions, self.window.ground_truth.user_rows
        table = pl.read_parquet(lists).filter(pl.col(RANK).is_between(1, self.k))
        users, items = interactions.users.rows(table[USER_ID]), interactions.items.rows(table[ITEM_ID])
        places = np.searchsorted(user_rows, users)
        if (items == UNKNOWN).any() or (np.append(user_rows, UNKNOWN)[places] != users).any():
            raise UnusableListsError("lists hold users or items that are not part of the task")
        if (
            duplicates := table.select(USER_ID, ITEM_ID).is_duplicated()
            | table.select(USER_ID, RANK).is_duplicated()
        ).any():
            raise UnusableListsError(f"{duplicates.sum():,} rows of lists repeat an item or a rank")
        rows = np.full((len(user_rows), self.k), UNKNOWN, np.int32)
        rows[places, table[RANK].to_numpy() - 1] = items
        return rows
