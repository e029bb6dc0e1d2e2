"""Training data of the ranker: candidates at the start of earlier windows, and what was bought within them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.data.earlier_interactions import interactions_before
from recsys.data.interactions import Interactions
from recsys.ids import Rows
from recsys.models._purchases.purchase_days import purchase_days
from recsys.models._purchases.purchase_features import Table
from recsys.models.ranker.candidates import Candidates, pool_candidates
from recsys.models.ranker.item_facts import ItemFacts
from recsys.models.ranker.shop_features import ShopFeatures, describe_shop, shop_feature_names
from recsys.models.ranker.trees import TrainingTable
from recsys.ranking.top_k import Exclusion

MAX_USERS: Final = 20_000
"""Maximum number of training users over all windows; a random sample if there are more."""
MAX_ROWS: Final = 1_000_000
"""Number of training rows over all windows above which candidates that were not bought are sampled."""

ListMembers = Callable[[Interactions, Rows, Exclusion], Sequence[Rows]]
"""Fits the members on interactions and returns each one's list for users, (users, depth)."""


@dataclass(frozen=True)
class TrainingWindows:
    """Successive windows before now."""

    days: float
    """Length of a window."""
    maximum: int
    """Maximum number of windows."""
    half_life_days: float
    repeat: Literal["allow", "exclude"]
    candidates: int
    """Maximum number of candidates of a user."""
    seed: int

    def tables(
        self, interactions: Interactions, facts: ItemFacts, list_members: ListMembers
    ) -> Iterator[TrainingTable]:
        """Yield the table of each window that has purchases in it and events before it, the latest first."""
        for number in range(self.maximum):
            end = (
                interactions_before(interactions, self.days * number, self.half_life_days)
                if number
                else interactions
            )
            start = interactions_before(end, self.days, self.half_life_days)
            if not start.positives.nnz:
                return
            bought = self._bought(start, end)
            if len(bought):
                yield self._table(start, bought, facts, list_members)

    def _bought(self, start: Interactions, end: Interactions) -> NDArray[np.int64]:
        """Return the distinct pairs bought within the window by users with events before it, ascending."""
        items = start.shape[1]
        pairs = purchase_days(end).within(self.days)
        has_history = np.bincount(start.user_rows, minlength=start.shape[0]) > 0
        pairs = pairs[has_history[pairs // items]]
        excluded = start.excluded(self.repeat)
        return (
            pairs
            if excluded is None
            else np.setdiff1d(pairs, _pairs(excluded.tocoo().row, excluded.indices, items))
        )

    def _table(
        self, start: Interactions, bought: NDArray[np.int64], facts: ItemFacts, list_members: ListMembers
    ) -> TrainingTable:
        items = start.shape[1]
        users = np.unique(bought // items).astype(np.int32)
        random, maximum = np.random.default_rng(self.seed), max(1, MAX_USERS // self.maximum)
        if len(users) > maximum:
            users = np.sort(random.choice(users, maximum, replace=False))
        lists = list_members(start, users, Exclusion(start.excluded(self.repeat)))
        candidates = pool_candidates(lists, self.candidates)
        is_bought = np.isin(_pairs(users[candidates.users], candidates.items, items), bought)
        share = min(1.0, MAX_ROWS / self.maximum / max(len(is_bought), 1))
        chosen = is_bought | (random.random(len(is_bought)) < share)
        candidates, is_bought = candidates.select(chosen), is_bought[chosen]
        sizes = np.bincount(candidates.users)
        return TrainingTable(
            describe_candidates(describe_shop(purchase_days(start), facts), candidates, users),
            is_bought,
            sizes[sizes > 0],
            np.where(is_bought, 1, 1 / share).astype(np.float32),
        )


def describe_candidates(shop: ShopFeatures, candidates: Candidates, user_rows: Rows) -> Table:
    """Return the features of candidates of users, in the order of `feature_names`."""
    values = candidates.values
    return np.concatenate(
        [
            values,
            candidates.sums[:, None],
            (values > 0).sum(axis=1, keepdims=True),
            shop.join(user_rows[candidates.users], candidates.items),
        ],
        axis=1,
        dtype=np.float32,
    )


def feature_names(members: Sequence[str], level_names: Sequence[str]) -> list[str]:
    """Return the names of the columns of `describe_candidates`."""
    own = (*(f"place in {name}" for name in members), "sum of place values", "number of lists")
    return [*own, *shop_feature_names(level_names)]


def _pairs(user_rows: NDArray[np.integer], item_rows: NDArray[np.integer], items: int) -> NDArray[np.int64]:
    return user_rows.astype(np.int64) * items + item_rows
