"""What peers are asked on a split, and how the lists they hand back are measured: as ours by `recsys benchmark`."""

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
from tests.benchmarks.peer_task import HISTORY, RANK, USERS


class UnusableListsError(Exception):
    """A peer's lists break a rule of the exam."""


@dataclass(frozen=True)
class PeerExam:
    """A split on which lists of k new items are asked for."""

    exam: EvaluationWindow
    settings: Settings

    @classmethod
    def of(cls, directory: Path, k: int, protocol: Protocol) -> "PeerExam":
        """The exam of the split in a directory, the same as `recsys benchmark --repeat exclude` holds."""
        evaluation = replace(Settings().evaluation, cutoffs=(k,), metric=f"ndcg@{k}")
        settings = replace(Settings(), repeat="exclude", evaluation=evaluation)
        split = read_split(directory, protocol, settings)
        return cls(split_evaluation_window(split.history, split.test, settings), settings)

    @property
    def k(self) -> int:
        """Length of the lists."""
        return self.settings.evaluation.cutoffs[0]

    def write_task(self, directory: Path) -> None:
        """What a peer learns from and whom it ranks for; ids are whole numbers, as in the public data sets."""
        known = self.exam.interactions
        users, items = known.user_items.nonzero()
        history = {USER_ID: known.users.ids(users), ITEM_ID: known.items.ids(items)}
        pl.DataFrame(history).cast(pl.Int64).write_parquet(directory / HISTORY)
        asked = {USER_ID: known.users.ids(self.exam.ground_truth.user_rows)}
        pl.DataFrame(asked).cast(pl.Int64).write_parquet(directory / USERS)

    def measure(self, name: str, lists: Path) -> dict[str, float]:
        """Every metric of a peer's table of `user_id`, `item_id` and `rank` from 1; who is left out gets nothing.

        An item that the user has, as `implicit` fills short lists with, takes its place and was not wanted.
        Raises `UnusableListsError` for a user or an item that is not known, or that is twice in a list.
        """
        truth = self.exam.ground_truth
        return measure_model(name, self._read(lists), truth, self.settings.evaluation, self.settings.seed).metrics

    def _read(self, lists: Path) -> Rows:
        """The table as item rows, (U, k), -1 where a list has no item."""
        known, asked = self.exam.interactions, self.exam.ground_truth.user_rows
        table = pl.read_parquet(lists).filter(pl.col(RANK).is_between(1, self.k))
        users, items = known.users.rows(table[USER_ID]), known.items.rows(table[ITEM_ID])
        places = np.searchsorted(asked, users)
        if (items == UNKNOWN).any() or (np.append(asked, UNKNOWN)[places] != users).any():
            raise UnusableListsError("lists hold users or items that were not asked for")
        if (
            twice := table.select(USER_ID, ITEM_ID).is_duplicated() | table.select(USER_ID, RANK).is_duplicated()
        ).any():
            raise UnusableListsError(f"{twice.sum():,} rows of lists share their item or their place with another")
        rows = np.full((len(asked), self.k), UNKNOWN, np.int32)
        rows[places, table[RANK].to_numpy() - 1] = items
        return rows
