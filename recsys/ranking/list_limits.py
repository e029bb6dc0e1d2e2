"""Limits of lists: how many of consecutive places the items of one product type, or of one title, take.

An item over a limit moves down to the first place that has room for it; no item is lost. A user who is used to
buying several items of a type on one day has as many.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.interactions import Interactions
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.product_types import LIMITED_PLACES, find_product_types, normalized_title
from recsys.schema import ITEM_ID, TITLE

DEPTH_FACTOR: Final = 2
"""Candidates of a list for each of its places, from which those that move down are replaced."""
MIN_DAYS: Final = 2
"""Days on which a user bought as many items of a type together, to be used to it."""


@dataclass(frozen=True)
class ListLimits:
    """The labels of items, and how many places in `LIMITED_PLACES` consecutive ones each label may have."""

    labels: Rows
    """Number of each item's type and of its title, `UNKNOWN` without one, (items, 2); the numbers differ."""
    limits: Rows
    """Number of places for each label, (labels,)."""

    @classmethod
    def build(cls, item_ids: IdMap, items: pl.DataFrame, max_per_type: int, max_per_title: int) -> "ListLimits":
        """Build the limits of rows of items from the catalogue; 0 is no limit.

        Only titles that several items have count.
        """
        known = items.with_columns(find_product_types(items).alias("type"), normalized_title(pl.col(TITLE)))
        known = known.with_columns(pl.when(pl.len().over(TITLE) > 1).then(TITLE).alias(TITLE))
        rows = item_ids.values.alias(ITEM_ID).to_frame()
        facts = rows.join(known.select(ITEM_ID, "type", TITLE), on=ITEM_ID, how="left", maintain_order="left")
        labels = np.full((len(item_ids), 2), UNKNOWN, np.int32)
        limits: list[int] = []
        for kind, (name, maximum) in enumerate((("type", max_per_type), (TITLE, max_per_title))):
            if maximum:
                names = facts[name].drop_nulls().unique().sort()
                codes = np.arange(len(limits), len(limits) + len(names), dtype=np.int32)
                found = facts[name].replace_strict(names, codes, default=UNKNOWN, return_dtype=pl.Int32)
                labels[:, kind] = found.to_numpy()
                limits += [maximum] * len(names)
        return cls(labels, np.array(limits, np.int32))

    @classmethod
    def build_none(cls, items: int) -> "ListLimits":
        """Return no limits of a number of items."""
        return cls(np.full((items, 2), UNKNOWN, np.int32), np.empty(0, np.int32))

    def depth(self, n: int) -> int:
        """Return the number of candidates that a list of n places is made from."""
        return DEPTH_FACTOR * n if len(self.limits) else n

    def apply(
        self,
        candidates: Rows,
        n: int,
        raised: "RaisedLimits | None" = None,
        withheld: NDArray[np.bool_] | None = None,
    ) -> Rows:
        """Return the first n of each user's candidates in an order that keeps the limits, (users, n).

        `candidates`, (users, depth), end with -1. Users have the `raised_limits` where these are given. Candidates
        that are `withheld`, (users, depth), are not among the first places.
        """
        if not len(self.limits) and withheld is None:
            return candidates[:, :n]
        from recsys.ranking.limit_kernels import limit_lists  # numba takes long to import

        if raised is None:
            raised = np.zeros(len(candidates) + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)
        listed = np.full((len(candidates), min(n, candidates.shape[1])), UNKNOWN, np.int32)
        if withheld is None:
            withheld = np.zeros(candidates.shape, np.bool_)
        limit_lists(
            np.ascontiguousarray(candidates, np.int32), self.labels, self.limits, *raised, withheld, LIMITED_PLACES,
            listed,
        )  # fmt: skip
        return listed

    def raised_limits(self, interactions: Interactions, user_rows: Rows) -> "RaisedLimits":
        """Return the limits of some users that are above those of everyone, as their purchases show.

        A user who bought k items of one label on each of at least `MIN_DAYS` days has a limit of at least k.
        """
        starts = np.searchsorted(interactions.user_rows, user_rows)
        ends = np.searchsorted(interactions.user_rows, user_rows, side="right")
        ends = np.where(user_rows == UNKNOWN, starts, ends)
        events = _ranges(starts, ends - starts)
        places = np.repeat(np.arange(len(user_rows), dtype=np.int32), ends - starts)
        is_bought = interactions.is_owning[events] & (interactions.weights[events] > 0)
        events, places = events[is_bought], places[is_bought]
        items, days = interactions.item_rows[events], np.floor(interactions.age_days[events]).astype(np.int32)
        labels = self.labels[items]
        bought = pl.DataFrame(
            {"user": places, "day": days, "item": items, "type": labels[:, 0], "title": labels[:, 1]}
        )
        together = pl.concat(
            [
                bought.filter(pl.col(kind) != UNKNOWN)
                .group_by("user", pl.col(kind).alias("label"), "day")
                .agg(pl.col("item").n_unique().cast(pl.Int32).alias("count"))
                for kind in ("type", "title")
            ]
        )
        raised = (
            together.group_by("user", "label")
            .agg(pl.col("count").sort(descending=True).get(MIN_DAYS - 1, null_on_oob=True))
            .drop_nulls()
            .sort("user", "label")
        )
        above = raised["count"].to_numpy() > self.limits[raised["label"].to_numpy()]
        raised = raised.filter(pl.Series(above))
        offsets = np.searchsorted(raised["user"].to_numpy(), np.arange(len(user_rows) + 1))
        return offsets.astype(np.int64), raised["label"].to_numpy(), raised["count"].to_numpy()


RaisedLimits = tuple[NDArray[np.int64], Rows, Rows]
"""Offsets of users, (users + 1,), in two parallel arrays: labels, and the user's limit of each."""


def _ranges(starts: NDArray[np.integer], counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the numbers from each start on, as many as its count, one range after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)


NO_LIMITS: Final = ListLimits.build_none(0)
"""Limits of lists that keep their order, whatever the number of items."""
