"""Times between purchases of an item by one user, as a survival curve of each item (Kaplan and Meier 1958).

A gap is the number of days between two successive days, in the shop's time zone, on which a user bought the item.
The time since the user's last purchase is an open gap: it is censored at the last whole day, as nobody knows when
it will end. Leaving open gaps out would make long cycles look short; counting them as "not bought again" would make
new items look bad.

Gaps are counted on a grid of days, so that counts add up over buckets of users. With d gaps that end in a cell of
the grid, c that are censored in it, and later ones beyond, the number at risk and the hazard are

    n = later + d + c (w + 1) / 2w          h = (d + PRIOR_GAPS * p) / (n + PRIOR_GAPS)

for a cell of w days: with single days n is that of Kaplan and Meier, in wider cells that of a life table (Cutler
and Ederer 1958). The prior p of an item is the hazard of its category, whose prior is that of the shop (a beta
process on the grid, Hjort 1990). The share bought again within a time is 1 - prod (1 - h).
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.events import pack_columns, purchase_day
from features.pairs import LAST_DAY, PURCHASE_DAYS
from recsys.schema import CATEGORY, EVENT, ITEM_ID, PURCHASE, USER_ID

PRIOR_GAPS: Final = 20.0
"""Strength of the priors: the gaps at risk that the hazard of the category, or of the shop, counts for."""
REPURCHASE_DAYS: Final = 90
YEAR_DAYS: Final = 365
# fmt: off
GRID: Final = (
    *range(1, 15), 16, 18, 20, 22, 24, 26, 28, 31, 34, 37, 40, 44, 48, 52, 56, 62, 68, 75, 82, 90,
    99, 109, 120, 132, 145, 160, 176, 194, 213, 234, 258, 284, 312, 340, 365,
)
"""The last day of each cell: single days for two weeks, then about ten percent."""
# fmt: on

REPURCHASE_RATE: Final = "repurchase_rate"
RETURN_RATE: Final = "repurchase_rate_365d"
CYCLE_DAYS: Final = "cycle_days"

CELL: Final = "cell"
ENDED: Final = "ended"
OPEN: Final = "open"

_DAYS: Final = "days"
_PAIR: Final = "pair"
_BEYOND: Final = len(GRID)
_BLOCK_ITEMS: Final = 16_384
_WIDTHS: Final = np.diff(GRID, prepend=0).astype(np.float64)
# A little less than 1/2, so that rounding does not decide in which cell a median at an edge is.
_HALF: Final = 0.5 * (1 - 1e-12)

Table = NDArray[np.float64]


def gap_counts(pairs: pl.LazyFrame, events: pl.LazyFrame, as_of: datetime, time_zone: str = "UTC") -> pl.LazyFrame:
    """Count the gaps of each item that ended in each cell of the grid, and the open ones, for `sum_gap_counts`.

    `pairs` are the rows of `user_item_pairs`, computed from `events`, which are those of one bucket of users.
    Days begin in `time_zone`.
    """
    open_gaps = pairs.filter(pl.col(PURCHASE_DAYS) > 0).select(
        ITEM_ID, (pl.lit(last_whole_day(as_of, time_zone)) - pl.col(LAST_DAY)).dt.total_days().alias(_DAYS)
    )
    parts = [_count_cells(_ended_gaps(events, time_zone), ENDED), _count_cells(open_gaps, OPEN)]
    return sum_gap_counts(pl.concat(parts, how="diagonal")).with_columns(pl.col(ITEM_ID).cast(pl.String))


def last_whole_day(as_of: datetime, time_zone: str = "UTC") -> date:
    """Return the last day of the time zone that is over at `as_of`."""
    return as_of.astimezone(ZoneInfo(time_zone)).date() - timedelta(days=1)


def sum_gap_counts(counts: pl.LazyFrame) -> pl.LazyFrame:
    """Add up rows of `gap_counts` of any number of buckets, in any order: one row per item and cell."""
    return counts.group_by(ITEM_ID, CELL).agg(pl.col(ENDED, OPEN).sum())


def _ended_gaps(events: pl.LazyFrame, time_zone: str) -> pl.LazyFrame:
    """Return the days between successive purchase days of each pair."""
    days = events.filter(pl.col(EVENT) == PURCHASE).select(
        ITEM_ID,
        pack_columns(pl.col(USER_ID), pl.col(ITEM_ID), 32).alias(_PAIR),
        purchase_day(time_zone).alias(_DAYS),
    )
    ordered = days.unique().sort(pack_columns(pl.col(_PAIR), pl.col(_DAYS), 32))
    is_same_pair = pl.col(_PAIR) == pl.col(_PAIR).shift()
    return ordered.select(ITEM_ID, pl.when(is_same_pair).then(pl.col(_DAYS).diff().dt.total_days()).alias(_DAYS))


def _count_cells(gaps: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Count the gaps of at least a day in each cell, those beyond the grid in a last cell."""
    cell = pl.col(_DAYS).clip(upper_bound=GRID[-1] + 1).replace_strict(_CELL_OF_DAY, return_dtype=pl.UInt8)
    positive = gaps.filter(pl.col(_DAYS) > 0)
    return positive.group_by(ITEM_ID, cell.alias(CELL)).agg(pl.len().cast(pl.UInt32).alias(name))


_CELL_OF_DAY: Final = {day: int(np.searchsorted(GRID, day)) for day in range(1, GRID[-1] + 2)}


def repurchase_curves(counts: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Estimate when buyers buy an item again, for each row of `items` (`item_id`, `category`), in their order.

    `counts` are the rows of `sum_gap_counts`. The columns are `item_id`, `REPURCHASE_RATE` within
    `REPURCHASE_DAYS`, `RETURN_RATE` within a year, and `CYCLE_DAYS`, the median gap in days of those who return
    within a year. Later than the longest gap at risk in the shop the curves are flat. All are null if no gap of the
    shop has lasted a day, and cycles if nobody returned.
    """
    curves = pl.DataFrame(
        np.concatenate([_summaries(block) for block in _item_hazards(counts, items)] or [np.empty((0, 3))]),
        schema=[REPURCHASE_RATE, RETURN_RATE, CYCLE_DAYS],
    )
    has_gaps = not counts.is_empty()
    return items.select(ITEM_ID).hstack(curves.select(pl.when(has_gaps).then(pl.all().fill_nan(None))))


def _item_hazards(counts: pl.DataFrame, items: pl.DataFrame) -> Iterator[Table]:
    """Yield the hazards of the items in blocks, (block, cells)."""
    categories = items.select(CATEGORY).unique(maintain_order=True).with_row_index("category_row")
    located = items.select(ITEM_ID, CATEGORY).with_row_index("row").join(
        categories, on=CATEGORY, how="left", nulls_equal=True, maintain_order="left"
    )  # fmt: skip
    placed = counts.join(located.drop(CATEGORY), on=ITEM_ID).sort("row", CELL)
    columns = [placed[name].to_numpy() for name in (CELL, ENDED, OPEN)]
    shop = grid_hazards(np.zeros(len(placed), np.int64), columns, 1, np.zeros((1, len(GRID))), prior_gaps=0)
    of_category = grid_hazards(placed["category_row"].to_numpy(), columns, len(categories), shop)
    has_no_category = categories[CATEGORY].is_null().to_numpy()
    of_category[has_no_category] = shop
    rows, category_rows = placed["row"].to_numpy(), located["category_row"].to_numpy()
    for start in range(0, len(items), _BLOCK_ITEMS):
        stop = min(start + _BLOCK_ITEMS, len(items))
        part = slice(*np.searchsorted(rows, (start, stop)))
        block = [column[part] for column in columns]
        yield grid_hazards(rows[part] - start, block, stop - start, of_category[category_rows[start:stop]])


def grid_hazards(
    rows: NDArray[np.integer],
    columns: list[NDArray[np.integer]],
    size: int,
    prior: Table,
    prior_gaps: float = PRIOR_GAPS,
) -> Table:
    """Return the hazard of each cell, (size, cells), from rows and their columns of cell, ended and open gaps.

    `prior` is the hazard that they are shrunk to, (size, cells).
    """
    cell, *values = columns
    place = rows.astype(np.int64) * (_BEYOND + 1) + cell
    ended, open_gaps = (
        np.bincount(place, value, size * (_BEYOND + 1)).reshape(size, _BEYOND + 1) for value in values
    )
    total = ended + open_gaps
    later = total[:, ::-1].cumsum(axis=1)[:, ::-1] - total
    exposed = (later + ended)[:, :-1] + open_gaps[:, :-1] * (_WIDTHS + 1) / (2 * _WIDTHS)
    at_risk = exposed + prior_gaps
    return np.divide(ended[:, :-1] + prior_gaps * prior, at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)


def _summaries(hazards: Table) -> Table:
    """Return the shares bought again by `REPURCHASE_DAYS` and in a year, and the latter's median gap, (n, 3)."""
    bought = 1 - np.cumprod(1 - hazards, axis=1)
    year = bought[:, -1]
    crossing = np.argmax(bought >= year[:, None] * _HALF, axis=1)
    rows = np.arange(len(bought))
    before = np.where(crossing > 0, bought[rows, crossing - 1], 0)
    with np.errstate(invalid="ignore"):  # nobody returned
        share = (year * _HALF - before) / (bought[rows, crossing] - before)
    # A gap of n whole days lasted between n - 1/2 and n + 1/2 days.
    median = np.asarray(GRID, np.float64)[crossing] + 0.5 - (1 - share) * _WIDTHS[crossing]
    return np.column_stack([bought[:, GRID.index(REPURCHASE_DAYS)], year, median]).astype(np.float64)
