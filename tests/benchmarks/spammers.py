"""Spammers that people labelled by hand: how many of them are found, from five-fold cross-validation.

Amazon reviewers, 1,907 of 4,902 of them spammers (Coder-Yu/SDLib). The best published F1 is .910 (SA-GPSA, Security
and Communication Networks 2022, 2323132). The threshold of each fold is chosen inside its training part.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from features.behavior import behavior
from features.behavior_partials import ip_counts, item_counts
from recsys.anomaly.attack_groups import normal_scores
from recsys.anomaly.collusion import collusion_scores, count_co_raters, split_point
from recsys.anomaly.detection_metrics import area_under_roc, f1_score
from recsys.anomaly.group_measures import measure_graph
from recsys.anomaly.label_classifier import fit_and_score, stratified_folds
from recsys.contract import Events
from recsys.schema import EVENT, EVENT_ID, ITEM_ID, RATING, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID, VALUE

SPAMMERS: Final = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "spammers"
AS_OF: Final = datetime(2014, 1, 1, tzinfo=UTC)
RATED_AT: Final = datetime(2013, 12, 31, tzinfo=UTC)  # the data has no times
SEEDS: Final = 3
MIN_F1: Final = 0.91
MIN_F1_ALONE: Final = 0.75
MIN_AUC_ALONE: Final = 0.85
RATINGS_ALONE: Final = ("rating_mean", "rating_deviation")

Floats = NDArray[np.float64]
Figures = dict[str, float]


def spammers(_work: Path) -> Iterator[tuple[str, Figures]]:
    """What the labelled detector reaches, with less and more to go by, means over seeds."""
    if not SPAMMERS.is_dir():
        print(f"\nno public data sets at {SPAMMERS.parent}: spammers are left out")
        return
    table, user_items, bots = labelled_spammers()
    tried = {
        "mean and deviation of ratings": (table.select(RATINGS_ALONE), None),
        "all behaviour": (table, None),
        "votes of items alone": (table.select(), user_items),
        "all behaviour and votes of items": (table, user_items),
    }
    print("\nHand-labelled spammers, 5 folds, with labels\n\n| from | F1 | AUC |\n| --- | --- | --- |")
    for name, (features, items) in tried.items():
        result = cross_validated(features, items, bots)
        missed = result["F1"] < MIN_F1
        f1 = f"**missed: {result['F1']:.3f}**" if missed else f"{result['F1']:.3f}"
        print(f"| {name} | {f1} | {result['AUC']:.3f} |", flush=True)
        yield f"labelled, {name}", result
    print(f"asked: F1 ≥ {MIN_F1:.2f}")
    yield from _without_labels(table, user_items, bots)


def _without_labels(table: pl.DataFrame, user_items: csr_matrix, bots: Floats) -> Iterator[tuple[str, Figures]]:
    """What is found by nobody's help: each signal alone, and the score of rings, split where its two groups
    part."""
    graph = measure_graph(csr_matrix(user_items, dtype=np.float32), np.ones(user_items.nnz), 0)
    signals = {
        "coherence": graph["coherence"].fill_null(np.nan).to_numpy(),
        "similarity to another profile": graph["similarity"].to_numpy(),
        "users who share three items": count_co_raters(user_items),
        "agreement with others' ratings": -table["rating_dissent"].fill_null(np.nan).to_numpy(),
        "evenness of the own ratings": -table["rating_deviation"].fill_null(np.nan).to_numpy(),
    }
    coherence, similarity, shared, agreement, evenness = signals.values()
    tried = {name: normal_scores(values[:, None])[:, 0] for name, values in signals.items()}
    tried["collusion, of all five"] = collusion_scores(coherence, similarity, shared, -evenness, -agreement)
    print("\nThe same without labels\n\n| from | F1 | AUC |\n| --- | --- | --- |")
    for name, scores in tried.items():
        f1, auc = f1_score(scores > split_point(scores), bots == 1), area_under_roc(scores, bots == 1)
        missed = f1 < MIN_F1_ALONE or auc < MIN_AUC_ALONE
        print(f"| {name} | {'**missed:** ' if missed else ''}{f1:.3f} | {auc:.3f} |", flush=True)
        yield f"without labels, {name}", {"F1": f1, "AUC": auc}
    print(f"asked: F1 ≥ {MIN_F1_ALONE:.2f}, AUC ≥ {MIN_AUC_ALONE:.2f}")


def labelled_spammers() -> tuple[pl.DataFrame, csr_matrix, Floats]:
    """Behaviour (U rows, by user id), who rated what (U, I), and labels (U,), 1 for a spammer."""
    ratings = pl.read_parquet(SPAMMERS / "ratings.parquet")
    labels = pl.read_parquet(SPAMMERS / "labels.parquet").sort(USER_ID)
    events = _as_events(ratings)
    shop = item_counts(events, AS_OF).collect().lazy()
    table = behavior(events, AS_OF, shop, ip_counts(events, AS_OF)).collect()
    assert table[USER_ID].equals(labels[USER_ID])
    rows, columns = (
        ratings[name].cast(pl.Enum(ratings[name].unique().sort())).to_physical().to_numpy()
        for name in (USER_ID, ITEM_ID)
    )
    user_items = csr_matrix((np.ones(len(rows)), (rows, columns)))
    user_items.data[:] = 1  # some rated an item twice
    return table.drop(USER_ID), user_items, labels["spammer"].to_numpy().astype(np.float64)


def cross_validated(features: pl.DataFrame, user_items: csr_matrix | None, bots: Floats) -> Figures:
    """F1 and AUC of users scored by models fitted without them."""
    values = features.select(cs.numeric().cast(pl.Float64)).to_numpy().reshape(len(bots), -1)
    result: list[tuple[float, float]] = []
    for seed in range(SEEDS):
        scores, called = np.empty(len(bots)), np.empty(len(bots), bool)
        for train, held_out in stratified_folds(np.arange(len(bots)), bots, seed):
            threshold = _threshold(values, bots, train, seed, user_items)
            scores[held_out] = fit_and_score(values, bots, train, held_out, seed, user_items)
            called[held_out] = scores[held_out] > threshold
        result.append((f1_score(called, bots == 1), area_under_roc(scores, bots == 1)))
    f1, auc = np.mean(result, axis=0)
    return {"F1": float(f1), "AUC": float(auc)}


def _threshold(
    values: Floats, bots: Floats, train: NDArray[np.intp], seed: int, user_items: csr_matrix | None
) -> float:
    """The score above which users of the training part are best called bots, each scored without the own label."""
    inner = np.empty(len(bots))
    for fitted, rest in stratified_folds(train, bots, seed):
        inner[rest] = fit_and_score(values, bots, fitted, rest, seed, user_items)
    tried = np.quantile(inner[train], np.linspace(0.3, 0.9, 121))
    return float(max(tried, key=lambda threshold: f1_score(inner[train] > threshold, bots[train] == 1)))


def _as_events(ratings: pl.DataFrame) -> pl.LazyFrame:
    rated = ratings.with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias(EVENT_ID),
        pl.lit(RATING).alias(EVENT),
        pl.lit(RATED_AT, dtype=TIMESTAMP_DTYPE).alias(TIMESTAMP),
        pl.col("rating").cast(pl.Float64).alias(VALUE),
    ).drop("rating")
    schema = pl.Schema(Events)
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in rated.columns]
    return rated.with_columns(missing).select(*schema).lazy()
