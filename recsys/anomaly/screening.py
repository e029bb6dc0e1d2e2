"""Who is no shopper: the nightly detectors put together.

Crowds decide: users of one item who are unusual in the same way. So do rates that no shopper has, and, from so many
labels on, a detector that learned from analysts. Being an outlier, a part of a dense block, a copy of somebody else
or one of a ring of reviewers gives a score, which is reported, but screens nobody out alone: somebody always is the
most unusual.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.attack_groups import AttackGroup, find_attack_groups, normal_scores
from recsys.anomaly.collusion import collusion_scores, count_co_raters, split_point
from recsys.anomaly.group_measures import (
    BLOCK_DENSITY,
    COHERENCE,
    COPIES,
    MEASURES,
    SIMILARITY,
    measure_graph,
    one_sided,
)
from recsys.anomaly.label_classifier import has_enough_labels, score_with_labels
from recsys.anomaly.outliers import find_outliers
from recsys.anomaly.reason_texts import FEATURE_PHRASES
from recsys.ids import IdMap
from recsys.schema import BOT, EVENTS, FLAGGED, ITEM_ID, LABEL, REASONS, SCORE, USER_ID
from recsys.settings.anomalies import Anomalies

CERTAIN: Final = 80.0
"""Score of what decides alone, at least; what does not stays below it."""
OUTLIER_SCORE: Final = 75.0
OUTLIER_POWER: Final = 20
"""The most unusual user gets the score above, one of a hundred 61, one of twenty 27."""
TOLD_SCORE: Final = 40.0
"""From it on an outlier's reasons are put into words."""
RING_SCORE: Final = 70.0
RATES: Final = ("most_in_minute", "most_in_hour", "events_per_active_hour", "most_items_in_minute")
RATE_QUANTILE: Final = 0.99
RATE_EXCESS: Final = 5.0
"""So many times what 99 % of the users stay below is no shopper's rate."""
MIN_RATES: Final = 2
MIN_USERS: Final = 100
TOLD_SHIFT: Final = 0.5
MAX_REASONS: Final = 3
# What stands before the colon is the same for all users, so that reasons can be counted.
CROWD_REASON: Final = "made for an item: one of {users} users of {item} who are alike: {alike}"
RATE_REASON: Final = "rates that no shopper has: {rates}"
LABEL_REASON: Final = "behaves like users whom analysts called bots: {probability:.0%}"
RING_REASON: Final = (
    "rates like a ring: shares three items and more with {co_raters:,.0f} others and agrees with them"
)
BLOCK_REASON: Final = "part of a block that is denser than its users and items explain: {density:.0%} of its pairs"
COPY_REASON: Final = "nearly the same items as others: {copies:,.0f} users"

Numbers = NDArray[np.float64]


@dataclass
class _Found:
    """What the detectors have found so far, by row of the user."""

    scores: Numbers
    reasons: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: int, score: float, reason: str) -> None:
        """A stronger reason comes first."""
        place = 0 if score >= self.scores[row] else len(self.reasons[row])
        self.reasons[row].insert(place, reason)
        self.scores[row] = max(self.scores[row], score)


def screen_users(
    pairs: pl.DataFrame, behavior: pl.DataFrame, labels: pl.DataFrame, settings: Anomalies, seed: int
) -> pl.DataFrame:
    """Score every user of `behavior`: user_id, score 0 to 100, flagged, reasons, in order of user.

    `pairs` has a row a user and item, with the number of events; `labels` what analysts said. High scores are
    suspicious; from `settings.screen_threshold` on a user is flagged. Warm-up: nobody among fewer than `MIN_USERS`
    users, and what each detector says. Nothing is learned from whom an earlier night flagged: each begins anew.
    """
    behavior = behavior.sort(USER_ID)
    users = behavior[USER_ID]
    found = _Found(np.zeros(len(users)))
    if len(users) >= MIN_USERS:
        user_items, events, items = _graph_of(pairs, IdMap.of(users))
        graph = measure_graph(user_items, events, seed)
        table = pl.concat([behavior.drop(USER_ID), graph], how="horizontal")
        _add_outliers(found, table, seed)
        _add_rings(found, table, user_items)
        _add_rates(found, table)
        for crowd in find_attack_groups(user_items, normal_scores(one_sided(table))):
            reason = _crowd_reason(crowd, items)
            for row in crowd.users.tolist():
                found.add(row, CERTAIN + (100 - CERTAIN) * (1 - 1 / crowd.times), reason)
        _add_labelled(found, table, labels, users, user_items, seed)
    return pl.DataFrame(
        {
            USER_ID: users,
            SCORE: np.round(found.scores, 1),
            FLAGGED: found.scores >= settings.screen_threshold,
            REASONS: [found.reasons.get(row, []) for row in range(len(users))],
        },
        schema_overrides={REASONS: pl.List(pl.String)},
    )


def _graph_of(pairs: pl.DataFrame, users: IdMap) -> tuple[csr_matrix, Numbers, IdMap]:
    """Users x items, ones; the events of each of its entries; the items."""
    items = IdMap.of(pairs[ITEM_ID])
    entries = (pairs[EVENTS].cast(pl.Float64).to_numpy(), (users.rows(pairs[USER_ID]), items.rows(pairs[ITEM_ID])))
    counts = csr_matrix(entries, shape=(len(users), len(items)))
    counts.sort_indices()
    ones = csr_matrix((np.ones(counts.nnz, np.float32), counts.indices, counts.indptr), shape=counts.shape)
    return ones, counts.data, items


def _add_outliers(found: _Found, table: pl.DataFrame, seed: int) -> None:
    """Those who behave, or are placed in the graph, like nobody else."""
    outliers = find_outliers(table, seed)
    found.scores[:] = OUTLIER_SCORE * np.nan_to_num(outliers.scores) ** OUTLIER_POWER
    density, copies = table[BLOCK_DENSITY].to_numpy(), table[COPIES].to_numpy()
    for row in np.flatnonzero(found.scores >= TOLD_SCORE).tolist():
        found.reasons[row] = outliers.reasons(row)
        if density[row] > 0:
            found.reasons[row].append(BLOCK_REASON.format(density=density[row]))
        if copies[row] > 0:
            found.reasons[row].append(COPY_REASON.format(copies=copies[row]))


def _add_rings(found: _Found, table: pl.DataFrame, user_items: csr_matrix) -> None:
    """Rings of reviewers, in a shop most of whose users rate."""
    if 2 * table["rating_mean"].count() < table.height:
        return
    shared = count_co_raters(user_items)
    coherence, deviation, dissent = (
        table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in (COHERENCE, "rating_deviation", "rating_dissent")
    )
    scores = collusion_scores(coherence, table[SIMILARITY].to_numpy(), shared, deviation, dissent)
    for row in np.flatnonzero((scores > split_point(scores)) & (shared > 0)).tolist():
        found.add(row, RING_SCORE, RING_REASON.format(co_raters=shared[row]))


def _add_rates(found: _Found, table: pl.DataFrame) -> None:
    """Those with several rates that no shopper has."""
    rates = table.select(pl.col(RATES).cast(pl.Float64).fill_null(0)).to_numpy()
    usual = np.maximum(np.quantile(rates, RATE_QUANTILE, axis=0), 1.0)
    beyond = (rates > RATE_EXCESS * usual).sum(axis=1)
    for row in np.flatnonzero(beyond >= MIN_RATES).tolist():
        told = zip(RATES, rates[row], strict=True)
        words = ", ".join(f"{FEATURE_PHRASES[name]} {rate:,.0f}" for name, rate in told)
        found.add(row, CERTAIN + 5.0 * (beyond[row] - MIN_RATES), RATE_REASON.format(rates=words))


def _crowd_reason(crowd: AttackGroup, items: IdMap) -> str:
    """What the crowd has in common, its farthest measures first."""
    order = np.argsort(-np.abs(crowd.shift), kind="stable")[:MAX_REASONS]
    said = [
        MEASURES[place].high if crowd.shift[place] > 0 else MEASURES[place].low
        for place in map(int, order)
        if abs(crowd.shift[place]) >= TOLD_SHIFT
    ]
    item = items.ids(np.array([crowd.item], np.int32))[0]
    return CROWD_REASON.format(users=len(crowd.users), item=item, alike=", ".join(filter(None, said)))


def _add_labelled(
    found: _Found,
    table: pl.DataFrame,
    labels: pl.DataFrame,
    users: pl.Series,
    user_items: csr_matrix,
    seed: int,
) -> None:
    """What was learned from labels, where there are enough."""
    said = {user: float(label == BOT) for user, label in labels.select(USER_ID, LABEL).rows()}
    bots = users.replace_strict(said, default=None, return_dtype=pl.Float64).fill_null(np.nan).to_numpy()
    if not has_enough_labels(bots):
        return
    learned = score_with_labels(table, bots, seed, user_items)
    for row in np.flatnonzero(100 * learned > found.scores).tolist():
        found.add(row, 100 * learned[row], LABEL_REASON.format(probability=learned[row]))
