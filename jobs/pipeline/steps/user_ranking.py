"""The ranking of items for all users of a run, block by block, within the limits of lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from jobs.pipeline.steps.list_writing import BLOCK, list_blocks
from recsys.data.interactions import Interactions
from recsys.ids import Rows
from recsys.models.base import Model
from recsys.ranking.exposure import ExposureCuts, publish_lists
from recsys.ranking.list_limits import ListLimits
from recsys.ranking.top_k import Exclusion

SAMPLED_USERS: Final = 20_000
"""Users, at equal distances, from whose lists the cuts of the exposure cap are found."""


@dataclass(frozen=True)
class UserRanking:
    """The published model's lists of all users."""

    model: Model
    interactions: Interactions
    exclude: Exclusion
    limits: ListLimits
    depth: int
    """Number of the model's items that lists are made from, at least."""
    max_exposure: float = 1.0

    def blocks(self, n: int) -> Iterator[tuple[Rows, Rows]]:
        """Yield users in blocks: their rows, and their lists of n items."""
        for rows in list_blocks(len(self.interactions.users)):
            yield rows, self.rank(rows, n)

    def rank(self, rows: Rows, n: int) -> Rows:
        """Return the lists of some users, (users, n), padded with -1."""
        candidates = self._candidates(rows, n)
        return publish_lists(candidates, n, rows, self.interactions, self.limits, cuts=self._cuts)

    def _candidates(self, rows: Rows, n: int) -> Rows:
        count = max(self.depth, self.limits.depth(n)) if self._is_limited else n
        return self.model.recommend(rows, count, self.exclude)[0]

    @property
    def _is_limited(self) -> bool:
        return len(self.limits.limits) > 0 or self.max_exposure < 1

    @cached_property
    def _cuts(self) -> ExposureCuts | None:
        """Return the cuts of the exposure cap, None without one."""
        if self.max_exposure == 1:
            return None
        users = len(self.interactions.users)
        sampled = np.arange(0, users, -(-users // SAMPLED_USERS), dtype=np.int32)
        parts = np.array_split(sampled, -(-len(sampled) // BLOCK))
        candidates = np.concatenate([self._candidates(rows, self.depth) for rows in parts])
        raised = self.limits.raised_limits(self.interactions, sampled)
        return ExposureCuts.find(candidates, sampled, self.max_exposure, self.limits, raised)
