"""The measures by which attack groups are found: how far each user is from the median, on the suspicious side.

Tastes differ: customers of one town or hobby share coherent, unpopular items without being an attack. Therefore a
measure counts on one side only where just that side is suspicious.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.anomaly.coherence import profile_coherence
from recsys.anomaly.dense_blocks import find_dense_blocks
from recsys.anomaly.near_duplicates import find_near_duplicates
from recsys.anomaly.synchrony import synchrony

COHERENCE: Final = "coherence"
SIMILARITY: Final = "similarity"
COPIES: Final = "copies"
SYNCHRONY: Final = "synchrony"
BLOCK_DENSITY: Final = "block_density"
MAX_REPEATS: Final = "most_repeats"
REPEATS: Final = "repeats"
COPY_SIMILARITY: Final = 0.6
"""Similarity to another profile that is more than a shared taste."""

ABOVE, BELOW, BOTH = 1, -1, 0


@dataclass(frozen=True)
class Measure:
    """A measure of users, and the words that describe a group with unusual values."""

    name: str
    side: int
    """The side of the median that counts: `ABOVE`, `BELOW` or `BOTH`."""
    high: str
    """Words for a group above the median; empty for `BELOW`."""
    low: str = ""
    """Words for a group below the median."""


MEASURES: Final = (
    Measure(COHERENCE, BELOW, "", "items that do not belong together"),
    Measure(SIMILARITY, ABOVE, "profiles copied from each other"),
    Measure("log_popularity_mean", ABOVE, "hardly anything but popular items"),
    Measure("log_popularity_deviation", ABOVE, "very popular items beside unknown ones"),
    Measure("items", BOTH, "unusually many items", "unusually few items"),
    Measure(MAX_REPEATS, BOTH, "one item again and again", "no item ever again"),
    Measure(REPEATS, BOTH, "many events an item", "one event an item"),
    Measure("days_since_first", BELOW, "", "new accounts"),
    Measure("active_days", BELOW, "", "hardly a day with an event"),
    Measure("busiest_day_share", ABOVE, "everything on one day"),
    Measure("most_in_minute", ABOVE, "many events within a minute"),
    Measure("users_per_ip", ABOVE, "addresses shared by many"),
)


def measure_graph(user_items: csr_matrix, events: NDArray[np.float64], seed: int) -> pl.DataFrame:
    """Compute the measures of the user-item graph, one row per user.

    `user_items` (users, items) holds ones, `events` the number of events of each entry. Null where a user has too
    few items for a measure. Near-linear in the entries.
    """
    duplicates = find_near_duplicates(user_items, seed)
    density = np.zeros(user_items.shape[0])
    for block in find_dense_blocks(user_items):
        density[block.users] = np.maximum(density[block.users], block.density)
    per_user = np.diff(user_items.indptr)
    rows = np.repeat(np.arange(len(per_user)), per_user)
    max_events = np.zeros(len(per_user))
    np.maximum.at(max_events, rows, events)
    event_counts = np.bincount(rows, events, len(per_user))
    columns = {
        COHERENCE: profile_coherence(user_items, seed),
        SIMILARITY: duplicates.similarity,
        COPIES: duplicates.copies,
        SYNCHRONY: synchrony(user_items),
        BLOCK_DENSITY: density,
        MAX_REPEATS: max_events,
        REPEATS: np.where(per_user > 0, event_counts / np.maximum(per_user, 1), np.nan),
    }
    return pl.DataFrame(columns).fill_nan(None)


def one_sided_measures(table: pl.DataFrame) -> NDArray[np.float64]:
    """Return the columns of `MEASURES`, (users, measures): 0 on the side that does not count, nan where unknown."""
    columns = [_one_sided_measure(table, measure) for measure in MEASURES]
    return np.column_stack(columns)


def _one_sided_measure(table: pl.DataFrame, measure: Measure) -> NDArray[np.float64]:
    if measure.name not in table.columns:
        return np.full(table.height, np.nan)
    values = table[measure.name].cast(pl.Float64).to_numpy()
    if measure.name == SIMILARITY:
        return np.maximum(values - COPY_SIMILARITY, 0)
    if measure.side == BOTH or not np.isfinite(values).any():
        return values
    distance = values - np.nanmedian(values)
    return np.maximum(distance, 0) if measure.side == ABOVE else np.minimum(distance, 0)
