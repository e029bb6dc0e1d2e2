"""Who is no shopper: the nightly detectors put together.

Crowds decide: users of one item who are unusual in the same way. So do rates that no shopper has, and, from so many labels
on, a detector that learned from analysts. Being an outlier, a part of a dense block or a copy of somebody else gives a
score, which is reported, but screens nobody out alone: somebody always is the most unusual.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.crowds import Crowd, find_crowds, normal_scores
from recsys.anomaly.labelled import enough_labels, labelled_scores
from recsys.anomaly.measures import BLOCK_DENSITY, COPIES, MEASURES, SYNCHRONY, measure_graph, one_sided
from recsys.anomaly.outliers import Outliers, find_outliers
from recsys.anomaly_settings import Anomalies
from recsys.ids import IdMap
from recsys.schema import BOT, EVENTS, FLAGGED, ITEM_ID, LABEL, REASONS, SCORE, USER_ID

CERTAIN: Final = 80.0
"""Score of what decides alone, at least; what does not stays below it."""
OUTLIER_SCORE: Final = 75.0
OUTLIER_POWER: Final = 20
"""The most unusual user gets the score above, one of a hundred 61, one of twenty 27."""
RATES: Final = ("most_in_minute", "most_in_hour", "events_per_active_hour", "most_items_in_minute")
RATE_QUANTILE: Final = 0.99
RATE_EXCESS: Final = 5.0
"""So many times what 99 % of the users stay below is no shopper's rate."""
LEAST_RATES: Final = 2
LEAST_USERS: Final = 100
TOLD_SHIFT: Final = 0.5
MOST_REASONS: Final = 3
BLOCK_REASON: Final = "part of a block of users and items that is denser than their numbers explain"
COPY_REASON: Final = "nearly the same items as {copies:.0f} other users"
LABEL_REASON: Final = "behaves like users whom analysts called bots: {probability:.0%}"

Numbers = NDArray[np.float64]


def screen_users(
    pairs: pl.DataFrame, behavior: pl.DataFrame, labels: pl.DataFrame, settings: Anomalies, seed: int
) -> pl.DataFrame:
    """Score every user of `behavior`: user_id, score 0 to 100, flagged, reasons, in order of user.

    `pairs` has a row a user and item, with the number of events; `labels` what analysts said. High scores are
    suspicious; from `settings.screen_score` on a user is flagged. Warm-up: nobody among fewer than `LEAST_USERS`
    users, and what each detector says. Nothing is learned from whom an earlier night flagged: each begins anew.
    """
    users = behavior[USER_ID].sort()
    behavior = behavior.sort(USER_ID)
    if behavior.height < LEAST_USERS:
        return _verdicts(users, np.zeros(len(users)), [[] for _ in users], settings)
    user_items, events, items = _graph_of(pairs, IdMap.of(users))
    graph = measure_graph(user_items, events, seed)
    table = pl.concat([behavior.drop(USER_ID), graph.table], how="horizontal")
    outliers = find_outliers(table, seed)
    scores = OUTLIER_SCORE * np.nan_to_num(outliers.scores) ** OUTLIER_POWER
    reasons = _told_reasons(scores, outliers, table)
    crowds = find_crowds(user_items, normal_scores(one_sided(table)))
    for crowd in crowds:
        scores[crowd.users] = np.maximum(scores[crowd.users], _crowd_score(crowd))
        for row in crowd.users:
            reasons[row] = [_crowd_reason(crowd, items), *reasons.get(row, [])]
    _add_rates(table, scores, reasons)
    _add_labelled(table, labels, users, user_items, seed, scores, reasons)
    return _verdicts(users, scores, [reasons.get(row, []) for row in range(len(users))], settings)


def _graph_of(pairs: pl.DataFrame, users: IdMap) -> tuple[csr_matrix, Numbers, IdMap]:
    items = IdMap.of(pairs[ITEM_ID])
    entries = (pairs[EVENTS].cast(pl.Float64).to_numpy(), (users.rows(pairs[USER_ID]), items.rows(pairs[ITEM_ID])))
    counts = csr_matrix(entries, shape=(len(users), len(items)))
    counts.sort_indices()
    ones = csr_matrix((np.ones(counts.nnz, np.float32), counts.indices, counts.indptr), shape=counts.shape)
    return ones, counts.data, items


def _told_reasons(scores: Numbers, outliers: Outliers, table: pl.DataFrame) -> dict[int, list[str]]:
    """Reasons of those whose scores may be shown, by row."""
    blocks, copies = table[BLOCK_DENSITY].to_numpy(), table[COPIES].to_numpy()
    told: dict[int, list[str]] = {}
    for row in np.flatnonzero(scores >= OUTLIER_SCORE / 2).tolist():
        told[row] = outliers.reasons(row)
        if blocks[row] > 0:
            told[row].append(BLOCK_REASON)
        if copies[row] > 0:
            told[row].append(COPY_REASON.format(copies=copies[row]))
    return told


def _crowd_score(crowd: Crowd) -> float:
    """80 for one just found, towards 100 the farther it is from everybody."""
    return CERTAIN + (100 - CERTAIN) * (1 - 1 / crowd.times)


def _crowd_reason(crowd: Crowd, items: IdMap) -> str:
    """What the crowd has in common, its farthest measures first."""
    order = np.argsort(-np.abs(crowd.shift), kind="stable")[:MOST_REASONS]
    said = [
        MEASURES[place].high if crowd.shift[place] > 0 else MEASURES[place].low
        for place in order
        if abs(crowd.shift[place]) >= TOLD_SHIFT
    ]
    item = items.ids(np.array([crowd.item], np.int32))[0]
    return f"one of {len(crowd.users)} users of item {item} who are alike: {', '.join(filter(None, said))}"


def _add_rates(table: pl.DataFrame, scores: Numbers, reasons: dict[int, list[str]]) -> None:
    """Flag those with several rates that no shopper has; `scores` and `reasons` change."""
    beyond = np.zeros(table.height, np.int64)
    for name in RATES:
        values = table[name].cast(pl.Float64).fill_null(0).to_numpy()
        beyond += values > RATE_EXCESS * max(1.0, float(np.quantile(values, RATE_QUANTILE)))
    for row in np.flatnonzero(beyond >= LEAST_RATES).tolist():
        scores[row] = max(scores[row], CERTAIN + 5.0 * beyond[row] - 5.0)
        found = ", ".join(f"{name.replace('_', ' ')} {table[name][row]:,.0f}" for name in RATES)
        reasons[row] = [f"rates that no shopper has: {found}", *reasons.get(row, [])]


def _add_labelled(
    table: pl.DataFrame,
    labels: pl.DataFrame,
    users: pl.Series,
    user_items: csr_matrix,
    seed: int,
    scores: Numbers,
    reasons: dict[int, list[str]],
) -> None:
    """What was learned from labels, where there are enough; `scores` and `reasons` change."""
    said: Mapping[str, float] = {user: float(label == BOT) for user, label in labels.select(USER_ID, LABEL).rows()}
    bots = users.replace_strict(said, default=None, return_dtype=pl.Float64).fill_null(np.nan).to_numpy()
    if not enough_labels(bots):
        return
    learned = labelled_scores(table.drop(SYNCHRONY), bots, seed, user_items)
    np.maximum(scores, 100 * learned, out=scores)
    for row in np.flatnonzero(learned >= CERTAIN / 100).tolist():
        reasons[row] = [LABEL_REASON.format(probability=learned[row]), *reasons.get(row, [])]


def _verdicts(users: pl.Series, scores: Numbers, reasons: list[list[str]], settings: Anomalies) -> pl.DataFrame:
    columns = {USER_ID: users, SCORE: np.round(scores, 1), REASONS: reasons}
    return pl.DataFrame(columns, schema_overrides={REASONS: pl.List(pl.String)}).select(
        USER_ID, SCORE, (pl.col(SCORE) >= settings.screen_score).alias(FLAGGED), REASONS
    )
