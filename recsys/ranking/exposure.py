"""Exposure cap: the share of users in whose first places one item is at most."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, Rows
from recsys.product_types import LIMITED_PLACES
from recsys.ranking.list_limits import ListLimits, RaisedLimits

MAX_PASSES: Final = 8
"""Passes over the lists: an item that makes way lets others move up, which may then be over the cap."""
HASH_FACTORS: Final = (np.uint32(2_654_435_761), np.uint32(2_246_822_519), np.uint32(3_266_489_917))


@dataclass(frozen=True)
class ExposureCuts:
    """How high an item has to rank for a user to be among the user's first places."""

    cuts: NDArray[np.float64]
    """The rank from which an item makes way, with a fraction by which equal ranks of users differ, (items,)."""

    @classmethod
    def find(
        cls,
        candidates: Rows,
        user_rows: Rows,
        max_share: float,
        limits: ListLimits,
        raised: RaisedLimits | None = None,
    ) -> "ExposureCuts":
        """Find the cuts with which no item is among the first places of more than a share of these users.

        An item stays in the lists of the users for whom it ranks highest. `candidates` are (users, depth).
        """
        found = cls(np.full(len(limits.labels), np.inf))
        allowed = int(max_share * len(user_rows))
        for _ in range(MAX_PASSES):
            withheld = found.withheld(candidates, user_rows)
            first = limits.apply(candidates, LIMITED_PLACES, raised, withheld)
            counts = np.bincount(first[first != UNKNOWN], minlength=len(found.cuts))
            over = np.flatnonzero(counts > allowed)
            if not len(over):
                break
            for item in over:
                users = np.flatnonzero((first == item).any(axis=1))
                ranks = np.argmax(candidates[users] == item, axis=1) + _fractions(user_rows[users], item)
                found.cuts[item] = min(found.cuts[item], np.partition(ranks, allowed)[allowed])
        return found

    def withheld(self, candidates: Rows, user_rows: Rows) -> NDArray[np.bool_]:
        """Return the candidates of users that make way for others in the first places, (users, depth)."""
        cuts = np.append(self.cuts, np.inf)[candidates]  # `UNKNOWN`, -1, takes the last
        withheld = np.zeros(candidates.shape, np.bool_)
        users, ranks = np.nonzero(np.isfinite(cuts))
        fractions = _fractions(user_rows[users], candidates[users, ranks])
        withheld[users, ranks] = ranks + fractions >= cuts[users, ranks]
        return withheld


def _fractions(user_rows: NDArray[np.integer], item_rows: NDArray[np.integer] | np.integer) -> NDArray[np.float64]:
    """Return a number from 0 to 1 for each user and item that looks like chance and is always the same."""
    first, second, third = HASH_FACTORS
    mixed = user_rows.astype(np.uint32) * first + np.asarray(item_rows).astype(np.uint32) * second
    mixed ^= mixed >> np.uint32(15)
    mixed *= third
    mixed ^= mixed >> np.uint32(13)
    return mixed / 2**32


def publish_lists(
    candidates: Rows,
    n: int,
    user_rows: Rows,
    interactions: Interactions,
    limits: ListLimits,
    max_exposure: float = 1.0,
    cuts: ExposureCuts | None = None,
) -> Rows:
    """Return the first n of each user's candidates within the limits and the exposure cap, (users, n).

    The cap holds over all users of the call; `cuts`, found for a sample of users, make it hold over many calls.
    """
    raised = limits.raised_limits(interactions, user_rows) if len(limits.limits) else None
    if cuts is None and max_exposure < 1:
        cuts = ExposureCuts.find(candidates, user_rows, max_exposure, limits, raised)
    withheld = None if cuts is None else cuts.withheld(candidates, user_rows)
    return limits.apply(candidates, n, raised, withheld)
