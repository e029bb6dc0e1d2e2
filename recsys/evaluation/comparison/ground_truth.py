"""What users wanted in one window, as the arrays that lists are measured against."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.errors import NotEnoughDataError
from recsys.evaluation.comparison.segments import NEW, Mask, head_items, user_segments
from recsys.evaluation.metrics.diversity import encode_paths
from recsys.evaluation.metrics.ranking import Counts, Values
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.schema import CATEGORY, ITEM_ID, USER_ID
from recsys.settings import Evaluation


@dataclass(frozen=True)
class Relevance:
    """What U users wanted; see `evaluate_lists` for the three arrays."""

    relevant: csr_matrix  # (U, items)
    relevant_counts: Counts  # (U,)
    candidate_counts: Counts  # (U,)

    def select(self, users: Mask) -> "Relevance":
        """The same for some of the users."""
        return Relevance(self.relevant[users], self.relevant_counts[users], self.candidate_counts[users])


@dataclass(frozen=True)
class GroundTruth:
    """One window's answers for U users with history and, apart, for the new users without."""

    user_rows: Rows  # (U,) rows of the interactions' users, ascending
    returning: Relevance
    new: Relevance
    segments: dict[str, Mask]  # (U,) light and heavy
    head: Mask  # (items,)
    item_users: Counts  # (items,) users who have each item before the window
    users: int  # users before the window
    had: Values  # (U, 2) of the items each had: mean share of users who have them, and share of head items
    user_items: csr_matrix  # (users, items) what everybody had before the window
    item_paths: NDArray[np.int32] | None  # (items, levels) codes of categories, where most items have one

    def sample(self, most: int, seed: int) -> "GroundTruth":
        """The same for at most so many of the users with history, drawn at random."""
        chosen = np.zeros(len(self.user_rows), np.bool_)
        chosen[np.random.default_rng(seed).permutation(len(chosen))[:most]] = True
        return replace(
            self,
            user_rows=self.user_rows[chosen],
            returning=self.returning.select(chosen),
            segments={name: mask[chosen] for name, mask in self.segments.items()},
            had=self.had[chosen],
        )


def build_ground_truth(
    pairs: pl.DataFrame,
    interactions: Interactions,
    evaluation: Evaluation,
    history: csr_matrix | None,
    catalogue: pl.LazyFrame | None = None,
) -> GroundTruth:
    """Turn the `relevant_pairs` of a window into arrays over the rows of `interactions`, known before it.

    With `history` (users x items), every pair stored there is no longer a possible recommendation: it is
    dropped from what users wanted and from their candidates. Users left with nothing wanted are left out.
    `catalogue` holds the items in the columns of `Items`, for their categories.
    Raises `NotEnoughDataError` when no user with history is left.
    """
    users = IdMap.of(pairs[USER_ID])
    user_rows = interactions.users.rows(users.values)
    wanted = _all_relevance(pairs, users, interactions.items)
    if history is not None:
        wanted = _without_history(wanted, _history_of(user_rows, history))

    event_counts = _count_events(user_rows, interactions)
    segments = user_segments(event_counts, evaluation.light_user_events)
    wants_something = wanted.relevant_counts > 0
    returning = wants_something & ~segments[NEW]
    if not returning.any():
        raise NotEnoughDataError(
            "no user with events before the window has a relevant item in it: "
            "the window is too short, or evaluation.relevant_events too narrow"
        )
    item_users = interactions.positives.getnnz(axis=0)
    head = head_items(item_users, evaluation.head_share)
    of_items = np.column_stack([item_users / len(interactions.users), head.astype(np.float64)])
    return GroundTruth(
        user_rows=user_rows[returning],
        returning=wanted.select(returning),
        new=wanted.select(wants_something & segments[NEW]),
        segments={name: mask[returning] for name, mask in segments.items() if name != NEW},
        head=head,
        item_users=item_users,
        users=len(interactions.users),
        had=_mean_of_had(interactions.positives, of_items)[user_rows[returning]],
        user_items=interactions.positives,
        item_paths=None if catalogue is None else _item_paths(interactions.items, catalogue),
    )


def restrict(relevance: Relevance, items: Mask, *, with_unknown: bool) -> tuple[Relevance, Mask]:
    """Only the wanted items that are in `items` (items,), for the users (U,) who want any of those.

    `with_unknown` says whether wanted items that the model does not know belong to them too.
    """
    kept = relevance.relevant.copy()
    kept.data = items[kept.indices].astype(np.float32)
    kept.eliminate_zeros()
    counts = kept.getnnz(axis=1)
    if with_unknown:
        counts = counts + relevance.relevant_counts - relevance.relevant.getnnz(axis=1)
    users = counts > 0
    return Relevance(kept, counts, relevance.candidate_counts).select(users), users


def _all_relevance(pairs: pl.DataFrame, users: IdMap, items: IdMap) -> Relevance:
    user_rows, item_rows = users.rows(pairs[USER_ID]), items.rows(pairs[ITEM_ID])
    known = item_rows != UNKNOWN
    relevant = _ones(user_rows[known], item_rows[known], (len(users), len(items)))
    return Relevance(
        relevant=relevant,
        relevant_counts=np.bincount(user_rows, minlength=len(users)),
        candidate_counts=np.full(len(users), len(items)),
    )


def _mean_of_had(wanted: csr_matrix, of_items: Values) -> Values:
    """Means of `of_items` (items, C) over what each user has, (users, C); not a number for one without any."""
    counts = wanted.getnnz(axis=1)[:, None]
    had = csr_matrix((np.ones(wanted.nnz), wanted.indices, wanted.indptr), wanted.shape)
    sums: Values = np.asarray(had @ of_items)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _item_paths(items: IdMap, catalogue: pl.LazyFrame) -> NDArray[np.int32] | None:
    """The items' categories in codes; None where half of the items or more have none."""
    known = pl.LazyFrame({ITEM_ID: items.values})
    paths = known.join(catalogue.select(ITEM_ID, CATEGORY), on=ITEM_ID, how="left", maintain_order="left")
    categories = paths.collect()[CATEGORY]
    named = (categories.list.len() > 0).sum()
    return encode_paths(categories) if named > len(items) / 2 else None


def _history_of(user_rows: Rows, history: csr_matrix) -> csr_matrix:
    """What each user has had, (len(user_rows), items); nothing for an unknown user."""
    padded = csr_matrix(
        (np.ones(history.nnz, dtype=np.float32), history.indices, np.append(history.indptr, history.nnz)),
        shape=(history.shape[0] + 1, history.shape[1]),
    )
    return padded[user_rows]  # UNKNOWN, -1, takes the empty last row


def _without_history(wanted: Relevance, history: csr_matrix) -> Relevance:
    had = wanted.relevant.multiply(history).tocsr()
    relevant = (wanted.relevant - had).tocsr()
    relevant.eliminate_zeros()
    return Relevance(
        relevant=relevant,
        relevant_counts=wanted.relevant_counts - had.getnnz(axis=1),
        candidate_counts=wanted.candidate_counts - history.getnnz(axis=1),
    )


def _count_events(user_rows: Rows, interactions: Interactions) -> NDArray[np.int64]:
    """How many events each of `user_rows` has, 0 for an unknown user."""
    counts = np.bincount(interactions.user_rows, minlength=len(interactions.users))
    return np.append(counts, 0)[user_rows]  # UNKNOWN, -1, takes the last


def _ones(rows: Rows, columns: Rows, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)
