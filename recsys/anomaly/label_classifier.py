"""A classifier of bots trained on analysts' labels: boosted trees on behavior and on votes of shared items.

A label also informs about users who share items with the labeled user. The vote of an item is the log-odds of a bot
among its labeled users, without the label of the user who is scored; a user gets the sum and the mean of the votes.
Scores of labeled users come from models, and from votes, that do not use the user's own label.
"""

from typing import Any, Final

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

MIN_LABELS: Final = 200
FOLDS: Final = 5
PRIOR_VOTERS: Final = 2.0  # users of the average label, added to those of each item
TREES: Final = 200


def score_with_labels(
    features: pl.DataFrame, bots: Floats, seed: int, user_items: csr_matrix | None = None
) -> Floats:
    """Estimate the probability that each user is a bot, (U,).

    `bots` (U,) is 1 for a user labeled as a bot, 0 for one labeled as fine, nan without a label. `features` has a
    row per user, of which the numeric columns are used; `user_items` (U, I) is nonzero where a user has events with
    an item. Labeled users are scored by models fitted without them, in `FOLDS` stratified folds, the others by the
    model of all labels. Raises `ValueError` for fewer than `MIN_LABELS` labels, or than `FOLDS` of each kind.
    """
    labeled = np.flatnonzero(~np.isnan(bots))
    if not has_enough_labels(bots):
        raise ValueError(f"{len(labeled)} labels: expected {MIN_LABELS} and more, {FOLDS} and more of each kind")
    values = features.select(cs.numeric().cast(pl.Float64)).to_numpy().reshape(features.height, -1)
    scores = np.empty(len(bots))
    others = np.flatnonzero(np.isnan(bots))
    scores[others] = fit_and_score(values, bots, labeled, others, seed, user_items)
    for train, held_out in stratified_folds(labeled, bots, seed):
        scores[held_out] = fit_and_score(values, bots, train, held_out, seed, user_items)
    return scores


def has_enough_labels(bots: Floats) -> bool:
    """Return whether there are `MIN_LABELS` labels, and at least one of each kind for every fold."""
    kinds = int((bots == 1).sum()), int((bots == 0).sum())
    return sum(kinds) >= MIN_LABELS and min(kinds) >= FOLDS


def fit_and_score(
    values: Floats, bots: Floats, train: Rows, scored: Rows, seed: int, user_items: csr_matrix | None = None
) -> Floats:
    """Fit on the labels of the rows `train` alone, and return the probabilities of the rows `scored`, (S,)."""
    import lightgbm  # takes a second to import

    if len(scored) == 0:
        return np.empty(0)
    table = values if user_items is None else np.hstack([values, item_votes(user_items, bots, train)])
    labels = bots[train]
    share = float(labels.mean())
    weights: Floats = np.where(labels == 1, 0.5 / share, 0.5 / (1 - share))
    data = lightgbm.Dataset(table[train], labels, weight=weights)
    trees = lightgbm.train(_parameters(seed), data, TREES)  # pyright: ignore[reportUnknownMemberType]
    return np.asarray(trees.predict(table[scored]), np.float64)


def item_votes(user_items: csr_matrix, bots: Floats, train: Rows) -> Floats:
    """Compute sum and mean of the votes of each user's items, (U, 2): above 0 for users who share items with bots.

    A vote is the log-odds of a bot among the item's users in `train`, with `PRIOR_VOTERS` average users added,
    minus the log-odds among all of `train`. The user's own label is left out. Linear in the entries of
    `user_items`.
    """
    users = user_items.shape[0]
    voters, labels = np.zeros(users), np.zeros(users)
    voters[train], labels[train] = 1, bots[train]
    prior = labels.sum() / max(1.0, voters.sum())
    rows = np.repeat(np.arange(users), np.diff(user_items.indptr))
    items = user_items.indices
    all_voters = np.bincount(items, voters[rows], user_items.shape[1])
    all_bots = np.bincount(items, labels[rows], user_items.shape[1])
    share = (all_bots[items] - labels[rows] + PRIOR_VOTERS * prior) / (
        all_voters[items] - voters[rows] + PRIOR_VOTERS
    )
    votes = np.log(share / (1 - share)) - np.log(prior / (1 - prior))
    total = np.bincount(rows, votes, users).astype(np.float64)
    mean: Floats = total / np.maximum(1, np.diff(user_items.indptr))
    return np.column_stack([total, mean])


def stratified_folds(labeled: Rows, bots: Floats, seed: int) -> list[tuple[Rows, Rows]]:
    """Split labeled rows into `FOLDS` pairs of training and held-out rows, with the same share of bots in each."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labeled), np.intp)
    for kind in (0, 1):
        members = np.flatnonzero(bots[labeled] == kind)
        fold[rng.permutation(members)] = np.arange(len(members)) % FOLDS
    return [(labeled[fold != number], labeled[fold == number]) for number in range(FOLDS)]


def _parameters(seed: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 10,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
