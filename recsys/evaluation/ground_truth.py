"""The users' relevant items in one window, as the arrays that lists are measured against."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize
from recsys.errors import NotEnoughDataError
from recsys.evaluation.metrics.diversity import encode_paths
from recsys.evaluation.metrics.ranking import Counts, Values
from recsys.evaluation.segments import NEW, Mask, find_light_user_events, head_items, user_segments
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.schema import CATEGORY, ITEM_ID, USER_ID
from recsys.settings import Evaluation


@dataclass(frozen=True)
class Relevance:
    """The relevant items of U users; see `evaluate_lists` for the two arrays."""

    relevant: csr_matrix  # (U, items)
    relevant_counts: Counts  # (U,)

    def select(self, users: Mask) -> "Relevance":
        """Select some of the users."""
        return Relevance(self.relevant[users], self.relevant_counts[users])


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of one window, for U users with history and, separately, for new users."""

    user_rows: Rows  # (U,) rows of the interactions' users, ascending
    returning: Relevance
    new: Relevance
    segments: dict[str, Mask]  # (U,) light and heavy
    head: Mask  # (items,)
    item_users: Counts  # (items,) users who have each item before the window
    users: int  # users before the window
    history_popularity: Values  # (U, 2) means over the history: share of users who have the item, head item
    user_items: csr_matrix  # (users, items) all interactions before the window
    item_paths: NDArray[np.int32] | None  # (items, levels) category codes, where most items have one
    light_user_events: int = 1  # number of events below which a user is light

    def sample(self, limit: int, seed: int) -> "GroundTruth":
        """Draw at most `limit` of the users with history at random."""
        chosen = np.zeros(len(self.user_rows), np.bool_)
        chosen[np.random.default_rng(seed).permutation(len(chosen))[:limit]] = True
        return self.select(chosen)

    def select(self, chosen: Mask) -> "GroundTruth":
        """Select some of the users with history."""
        return replace(
            self,
            user_rows=self.user_rows[chosen],
            returning=self.returning.select(chosen),
            segments={name: mask[chosen] for name, mask in self.segments.items()},
            history_popularity=self.history_popularity[chosen],
        )

    def split_repeats(self, owned: csr_matrix) -> tuple["GroundTruth", "GroundTruth"]:
        """Divide the relevant items into those that a user has, by `owned` (users, items), and those that are new.

        All users stay in both, some of them without a relevant item. Items that nobody had before are new.
        """
        new = _without_history(self.returning, _select_history(self.user_rows, owned))
        repeats = (self.returning.relevant - new.relevant).tocsr()
        repeats.eliminate_zeros()
        again = Relevance(repeats, self.returning.relevant_counts - new.relevant_counts)
        return replace(self, returning=again), replace(self, returning=new)


def build_ground_truth(
    pairs: pl.DataFrame,
    interactions: Interactions,
    evaluation: Evaluation,
    history: csr_matrix | None,
    catalogue: pl.LazyFrame | None = None,
) -> GroundTruth:
    """Convert the `relevant_pairs` of a window to arrays over the rows of `interactions`, known before it.

    With `history` (users x items), its pairs cannot be recommended: they are removed from the relevant items.
    Users without relevant items are dropped. `catalogue` holds the items in the columns of `Items`, for their
    categories.
    Raises `NotEnoughDataError` if no user with history is left.
    """
    users = IdMap.from_ids(pairs[USER_ID])
    user_rows = interactions.users.rows(users.values)
    relevance = _all_relevance(pairs, users, interactions.items)
    if history is not None:
        relevance = _without_history(relevance, _select_history(user_rows, history))

    event_counts = _count_events(user_rows, interactions)
    has_relevant = relevance.relevant_counts > 0
    light_user_events = evaluation.light_user_events or find_light_user_events(
        event_counts[has_relevant & (event_counts > 0)], evaluation.light_user_share
    )
    segments = user_segments(event_counts, light_user_events)
    returning = has_relevant & ~segments[NEW]
    if not returning.any():
        raise NotEnoughDataError(
            "no user with events before the window has a relevant item in it: "
            "the window is too short, or evaluation.relevant_events too narrow"
        )
    item_users = interactions.positives.getnnz(axis=0)
    head = head_items(item_users, evaluation.head_share)
    item_values = np.column_stack([item_users / len(interactions.users), head.astype(np.float64)])
    return GroundTruth(
        user_rows=user_rows[returning],
        returning=relevance.select(returning),
        new=relevance.select(has_relevant & segments[NEW]),
        segments={name: mask[returning] for name, mask in segments.items() if name != NEW},
        head=head,
        item_users=item_users,
        users=len(interactions.users),
        history_popularity=_mean_over_history(interactions.positives, item_values)[user_rows[returning]],
        user_items=interactions.positives,
        item_paths=None if catalogue is None else _item_paths(interactions.items, catalogue),
        light_user_events=light_user_events,
    )


def restrict(relevance: Relevance, items: Mask, *, with_unknown: bool) -> tuple[Relevance, Mask]:
    """Keep the relevant items in the mask `items` (items,); return them with the mask (U,) of users who have any.

    `with_unknown` keeps relevant items that are unknown to the model, too.
    """
    kept = relevance.relevant.copy()
    kept.data = items[kept.indices].astype(np.float32)
    kept.eliminate_zeros()
    counts = kept.getnnz(axis=1)
    if with_unknown:
        counts = counts + relevance.relevant_counts - relevance.relevant.getnnz(axis=1)
    users = counts > 0
    return Relevance(kept, counts).select(users), users


def _all_relevance(pairs: pl.DataFrame, users: IdMap, items: IdMap) -> Relevance:
    user_rows, item_rows = users.rows(pairs[USER_ID]), items.rows(pairs[ITEM_ID])
    is_known = item_rows != UNKNOWN
    relevant = _ones(user_rows[is_known], item_rows[is_known], (len(users), len(items)))
    return Relevance(
        relevant=relevant,
        relevant_counts=np.bincount(user_rows, minlength=len(users)),
    )


def _mean_over_history(user_items: csr_matrix, item_values: Values) -> Values:
    """Average `item_values` (items, C) over each user's items, (users, C); NaN for a user without items."""
    counts = user_items.getnnz(axis=1)[:, None]
    sums: Values = np.asarray(binarize(user_items) @ item_values)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _item_paths(items: IdMap, catalogue: pl.LazyFrame) -> NDArray[np.int32] | None:
    """Encode the items' category paths; return None if half of the items or more have no category."""
    rows = pl.LazyFrame({ITEM_ID: items.values})
    paths = rows.join(catalogue.select(ITEM_ID, CATEGORY), on=ITEM_ID, how="left", maintain_order="left")
    categories = paths.collect()[CATEGORY]
    named = (categories.list.len() > 0).sum()
    return encode_paths(categories) if named > len(items) / 2 else None


def _select_history(user_rows: Rows, history: csr_matrix) -> csr_matrix:
    """Select the history of each user, (len(user_rows), items); an unknown user has an empty one."""
    padded = csr_matrix(
        (np.ones(history.nnz, dtype=np.float32), history.indices, np.append(history.indptr, history.nnz)),
        shape=(history.shape[0] + 1, history.shape[1]),
    )
    return padded[user_rows]  # UNKNOWN, -1, takes the empty last row


def _without_history(relevance: Relevance, history: csr_matrix) -> Relevance:
    removed = relevance.relevant.multiply(history).tocsr()
    relevant = (relevance.relevant - removed).tocsr()
    relevant.eliminate_zeros()
    return Relevance(
        relevant=relevant,
        relevant_counts=relevance.relevant_counts - removed.getnnz(axis=1),
    )


def _count_events(user_rows: Rows, interactions: Interactions) -> NDArray[np.int64]:
    """Count the events of each of `user_rows`; 0 for an unknown user."""
    counts = np.bincount(interactions.user_rows, minlength=len(interactions.users))
    return np.append(counts, 0)[user_rows]  # UNKNOWN, -1, takes the last


def _ones(rows: Rows, columns: Rows, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
