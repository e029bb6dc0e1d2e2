"""Nightly screening: all detectors of bots and attackers, combined to one score per user.

Four detectors flag a user alone: membership of an attack group or of a group that pushes an item, rates that no
human reaches, and, given enough labels, the classifier trained on them. Outliers, members of dense blocks,
near-duplicates and rings of reviewers get a score that is reported but does not flag by itself, because some user
is always the most unusual.
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
from recsys.anomaly.first_events import PER_DAY, PHRASES, measure_first_events
from recsys.anomaly.group_measures import (
    BLOCK_DENSITY,
    COHERENCE,
    COPIES,
    MEASURES,
    SIMILARITY,
    measure_graph,
    one_sided_measures,
)
from recsys.anomaly.label_classifier import has_enough_labels, score_with_labels
from recsys.anomaly.outliers import find_outliers
from recsys.anomaly.pushed_items import PushedItem, find_pushed_items
from recsys.anomaly.reason_texts import FEATURE_PHRASES
from recsys.ids import IdMap
from recsys.schema import (
    BOT,
    EVENTS,
    FIRST_AT,
    FLAGGED,
    ITEM_ID,
    LABEL,
    LAST_AT,
    REASONS,
    SCORE,
    USER_ID,
)
from recsys.settings.anomalies import Anomalies

CERTAIN: Final = 80.0
"""Least score of a detector that flags alone; the others stay below it."""
OUTLIER_SCORE: Final = 75.0
OUTLIER_POWER: Final = 20
"""The most unusual user gets the score above, one of a hundred 61, one of twenty 27."""
MIN_EXPLAINED_SCORE: Final = 40.0
"""Outlier score from which reasons are given."""
RING_SCORE: Final = 70.0
RATES: Final = ("most_in_minute", "most_in_hour", "events_per_active_hour", "most_items_in_minute")
RATE_QUANTILE: Final = 0.99
RATE_EXCESS: Final = 5.0
"""A rate is not human above this multiple of the rate that 99 % of the users stay below."""
MIN_RATES: Final = 2
MIN_USERS: Final = 100
MIN_EXPLAINED_SHIFT: Final = 0.5
"""Standard deviations from which a measure is named in the reason of an attack group."""
MAX_REASONS: Final = 3
MICROSECONDS_PER_DAY: Final = 86_400e6
# The words before the colon are the same for all users, so that reasons can be counted.
GROUP_REASON: Final = "made for an item: one of {users} users of {item} who are alike: {alike}"
PUSH_REASON: Final = (
    "came for an item: one of {users} users of {item} who are alike: {alike}; they have its companions {lift:.1f} "
    "times as often as by chance"
)
RATE_REASON: Final = "rates that no shopper has: {rates}"
LABEL_REASON: Final = "behaves like users whom analysts called bots: {probability:.0%}"
RING_REASON: Final = (
    "rates like a ring: shares three items and more with {co_raters:,.0f} others and agrees with them"
)
BLOCK_REASON: Final = "part of a block that is denser than its users and items explain: {density:.0%} of its pairs"
COPY_REASON: Final = "nearly the same items as others: {copies:,.0f} users"

Numbers = NDArray[np.float64]


@dataclass
class _Scores:
    """Scores and reasons of the detectors so far, by row of the user."""

    values: Numbers
    reasons: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: int, score: float, reason: str) -> None:
        """Raise the score of a user to at least `score`; a stronger reason comes first."""
        place = 0 if score >= self.values[row] else len(self.reasons[row])
        self.reasons[row].insert(place, reason)
        self.values[row] = max(self.values[row], score)


def screen_users(
    pairs: pl.DataFrame, behavior: pl.DataFrame, labels: pl.DataFrame, settings: Anomalies, seed: int
) -> pl.DataFrame:
    """Score every user of `behavior`; return user_id, score from 0 to 100, flagged and reasons, in order of user.

    `pairs` has a row per user and item with the number of events, and the times of the first and the last, without
    which no pushed items are found; `labels` has the labels of analysts. Users are flagged from
    `settings.screen_threshold` on; with fewer than `MIN_USERS` users nobody is scored. Flags of earlier nights are
    not used.
    """
    behavior = behavior.sort(USER_ID)
    users = behavior[USER_ID]
    scores = _Scores(np.zeros(len(users)))
    if len(users) >= MIN_USERS:
        graph = _build_graph(pairs, IdMap.from_ids(users))
        user_items, items = graph.user_items, graph.items
        measures = measure_graph(user_items, graph.events, seed)
        table = pl.concat([behavior.drop(USER_ID), measures], how="horizontal")
        _add_outliers(scores, table, seed)
        _add_rings(scores, table, user_items)
        _add_rates(scores, table)
        for group in find_attack_groups(user_items, normal_scores(one_sided_measures(table))):
            reason = _group_reason(group, items)
            for row in group.users.tolist():
                scores.add(row, CERTAIN + (100 - CERTAIN) * (1 - 1 / group.excess), reason)
        _add_pushes(scores, table, graph)
        _add_classifier(scores, table, labels, users, user_items, seed)
    return pl.DataFrame(
        {
            USER_ID: users,
            SCORE: np.round(scores.values, 1),
            FLAGGED: scores.values >= settings.screen_threshold,
            REASONS: [scores.reasons.get(row, []) for row in range(len(users))],
        },
        schema_overrides={REASONS: pl.List(pl.String)},
    )


@dataclass(frozen=True)
class _Graph:
    """The users' items, with the items' ids, and parallel to the entries the number and times of their events."""

    user_items: csr_matrix
    """Ones, (users, items)."""
    items: IdMap
    events: Numbers
    times: pl.DataFrame
    """First and last time of each entry, if the data has times; otherwise without columns."""


def _build_graph(pairs: pl.DataFrame, users: IdMap) -> _Graph:
    items = IdMap.from_ids(pairs[ITEM_ID])
    rows, columns = users.rows(pairs[USER_ID]), items.rows(pairs[ITEM_ID])
    order = np.lexsort((columns, rows))
    ones = (np.ones(len(order), np.float32), (rows[order], columns[order]))
    user_items = csr_matrix(ones, shape=(len(users), len(items)))
    has_times = FIRST_AT in pairs.columns
    times = pairs.select(FIRST_AT, LAST_AT)[order] if has_times else pl.DataFrame()
    return _Graph(user_items, items, pairs[EVENTS].cast(pl.Float64).to_numpy()[order], times)


def _add_outliers(scores: _Scores, table: pl.DataFrame, seed: int) -> None:
    """Score all users by how unusual their behavior and their place in the graph are."""
    outliers = find_outliers(table, seed)
    scores.values[:] = OUTLIER_SCORE * np.nan_to_num(outliers.scores) ** OUTLIER_POWER
    density, copies = table[BLOCK_DENSITY].to_numpy(), table[COPIES].to_numpy()
    for row in np.flatnonzero(scores.values >= MIN_EXPLAINED_SCORE).tolist():
        scores.reasons[row] = outliers.reasons(row)
        if density[row] > 0:
            scores.reasons[row].append(BLOCK_REASON.format(density=density[row]))
        if copies[row] > 0:
            scores.reasons[row].append(COPY_REASON.format(copies=copies[row]))


def _add_rings(scores: _Scores, table: pl.DataFrame, user_items: csr_matrix) -> None:
    """Score rings of reviewers, if most users of the shop rate items."""
    if 2 * table["rating_mean"].count() < table.height:
        return
    co_raters = count_co_raters(user_items)
    coherence, deviation, dissent = (
        table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in (COHERENCE, "rating_deviation", "rating_dissent")
    )
    collusion = collusion_scores(coherence, table[SIMILARITY].to_numpy(), co_raters, deviation, dissent)
    for row in np.flatnonzero((collusion > split_point(collusion)) & (co_raters > 0)).tolist():
        scores.add(row, RING_SCORE, RING_REASON.format(co_raters=co_raters[row]))


def _add_rates(scores: _Scores, table: pl.DataFrame) -> None:
    """Score users with several rates that no human reaches."""
    rates = table.select(pl.col(RATES).cast(pl.Float64).fill_null(0)).to_numpy()
    usual = np.maximum(np.quantile(rates, RATE_QUANTILE, axis=0), 1.0)
    excessive = (rates > RATE_EXCESS * usual).sum(axis=1)
    for row in np.flatnonzero(excessive >= MIN_RATES).tolist():
        named_rates = zip(RATES, rates[row], strict=True)
        words = ", ".join(f"{FEATURE_PHRASES[name]} {rate:,.0f}" for name, rate in named_rates)
        scores.add(row, CERTAIN + 5.0 * (excessive[row] - MIN_RATES), RATE_REASON.format(rates=words))


def _group_reason(group: AttackGroup, items: IdMap) -> str:
    """Describe what the group has in common, the most unusual measures first."""
    order = np.argsort(-np.abs(group.shift), kind="stable")[:MAX_REASONS]
    phrases = [
        MEASURES[place].high if group.shift[place] > 0 else MEASURES[place].low
        for place in map(int, order)
        if abs(group.shift[place]) >= MIN_EXPLAINED_SHIFT
    ]
    item = items.ids(np.array([group.item], np.int32))[0]
    return GROUP_REASON.format(users=len(group.users), item=item, alike=", ".join(filter(None, phrases)))


def _add_pushes(scores: _Scores, table: pl.DataFrame, graph: _Graph) -> None:
    """Score the users who push an item, if there are times."""
    if not graph.times.width:
        return
    days = graph.times.select(pl.all().dt.epoch("us") / MICROSECONDS_PER_DAY)
    first, last = days[FIRST_AT].to_numpy(), days[LAST_AT].to_numpy()
    active_days = table["active_days"].cast(pl.Float64).fill_null(0).to_numpy()
    measured = measure_first_events(graph.user_items, graph.events, first, last, active_days)
    for push in find_pushed_items(graph.user_items, measured):
        reason = _push_reason(push, graph.items)
        for row in push.users.tolist():
            scores.add(row, CERTAIN + (100 - CERTAIN) * (1 - 1 / push.excess), reason)


def _push_reason(push: PushedItem, items: IdMap) -> str:
    """Describe what the accounts have in common, the most unusual measures first."""
    low = np.where(np.arange(len(PHRASES)) == PER_DAY, -np.abs(push.shift), push.shift)
    order = map(int, np.argsort(low, kind="stable")[:MAX_REASONS])
    phrases = [PHRASES[place] for place in order if low[place] <= -MIN_EXPLAINED_SHIFT]
    item = items.ids(np.array([push.item], np.int32))[0]
    return PUSH_REASON.format(users=len(push.users), item=item, lift=push.lift, alike=", ".join(phrases))


def _add_classifier(
    scores: _Scores,
    table: pl.DataFrame,
    labels: pl.DataFrame,
    users: pl.Series,
    user_items: csr_matrix,
    seed: int,
) -> None:
    """Score users by the classifier trained on labels, if there are enough."""
    is_bot = {user: float(label == BOT) for user, label in labels.select(USER_ID, LABEL).rows()}
    bots = users.replace_strict(is_bot, default=None, return_dtype=pl.Float64).fill_null(np.nan).to_numpy()
    if not has_enough_labels(bots):
        return
    probabilities = score_with_labels(table, bots, seed, user_items)
    for row in np.flatnonzero(100 * probabilities > scores.values).tolist():
        scores.add(row, 100 * probabilities[row], LABEL_REASON.format(probability=probabilities[row]))
