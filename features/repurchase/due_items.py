"""Due items: what each user is due to buy again next, and when.

The time between two purchases of an item by a user is exponential with a mean of

    cycle = (span + PRIOR_GAPS * cycle_days) / (gaps + PRIOR_GAPS)

where the user's `gaps` cover `span` days, and `cycle_days` is the item's. After a purchase the user buys the item
again at all with the probability

    returns = (gaps + PRIOR_GAPS * repurchase_rate_365d) / (gaps + PRIOR_GAPS)

and the longer a purchase is overdue, the more likely the user has stopped. With d days since the last purchase:

    open = returns * exp(-d / cycle)                        not bought again yet, but will be
    still_buys = open / (open + 1 - returns)
    probability = still_buys * (1 - exp(-HORIZON_DAYS / cycle))

This is a cure model (Boag 1949) with empirical Bayes priors from the items' repurchase curves.
"""

from datetime import datetime
from typing import Final

import polars as pl

from features.feature import Feature, columns
from features.interactions import FIRST_PURCHASE_DAY, LAST_PURCHASE_DAY
from features.pairs import PURCHASE_DAYS
from features.repurchase.purchase_gaps import CYCLE_DAYS, RETURN_RATE, last_whole_day
from recsys.schema import ITEM_ID, RANK, TIMESTAMP_DTYPE, USER_ID

MAX_DUE_ITEMS: Final = 5
HORIZON_DAYS: Final = 14
PRIOR_GAPS: Final = 2.0
"""Gaps that the item's cycle and repurchase rate count for."""
MIN_STILL_BUYS: Final = 0.1
"""Probability below which the user has evidently stopped buying the item."""

DUE_AT: Final = "due_at"
PROBABILITY: Final = "probability"

_CYCLE: Final = "cycle"
_STILL_BUYS: Final = "still_buys"

DUE_ITEMS: Final = (
    Feature(USER_ID, pl.String(), "id", "User", pl.col(USER_ID)),
    Feature(
        RANK,
        pl.UInt8(),
        "rank",
        f"1 for the item that the user most probably buys again in the next {HORIZON_DAYS} days, at most "
        f"{MAX_DUE_ITEMS}",
        pl.col(RANK),
    ),
    Feature(ITEM_ID, pl.String(), "id", "Item that the user bought and that may be recommended", pl.col(ITEM_ID)),
    Feature(
        DUE_AT,
        TIMESTAMP_DTYPE,
        "UTC",
        "Day of the last purchase plus the user's usual time between purchases of the item, in whole days; the "
        "moment of the run if that is over",
        pl.col(DUE_AT),
    ),
    Feature(
        PROBABILITY,
        pl.Float64(),
        "share",
        f"Probability that the user buys the item again in the next {HORIZON_DAYS} days, from the user's gaps and "
        "the item's repurchase curve",
        pl.col(PROBABILITY),
    ),
)


def due_items(
    interactions: pl.LazyFrame, item_features: pl.LazyFrame, as_of: datetime, time_zone: str = "UTC"
) -> pl.LazyFrame:
    """Compute up to `MAX_DUE_ITEMS` rows per user in the columns of `DUE_ITEMS`, sorted by user and rank.

    `interactions` are those of one bucket of users. Only items of `item_features` are due, and of them those that
    anybody bought again. An item that the user has evidently stopped buying is not due.
    """
    repeated = item_features.filter(pl.col("gaps") > 0).select(ITEM_ID, CYCLE_DAYS, RETURN_RATE)
    bought = interactions.filter(pl.col(PURCHASE_DAYS) > 0).join(repeated, on=ITEM_ID)
    known = bought.with_columns(_cycle()).with_columns(_still_buys(as_of, time_zone).alias(_STILL_BUYS))
    best = (
        known.filter(pl.col(_STILL_BUYS) >= MIN_STILL_BUYS)
        .with_columns(_probability(), _due_at(as_of))
        # Rounded, so that the last digits do not order items that are equally probable.
        .sort(USER_ID, pl.col(PROBABILITY).round(9), ITEM_ID, descending=[False, True, False])
        .with_columns((pl.int_range(pl.len()).over(USER_ID) + 1).alias(RANK))
    )
    return best.filter(pl.col(RANK) <= MAX_DUE_ITEMS).select(columns(DUE_ITEMS))


def _gaps() -> pl.Expr:
    return pl.col(PURCHASE_DAYS).cast(pl.Float64) - 1


def _cycle() -> pl.Expr:
    """Return the usual time in days between the user's purchases of the item."""
    span = (pl.col(LAST_PURCHASE_DAY) - pl.col(FIRST_PURCHASE_DAY)).dt.total_days()
    return ((span + PRIOR_GAPS * pl.col(CYCLE_DAYS)) / (_gaps() + PRIOR_GAPS)).alias(_CYCLE)


def _still_buys(as_of: datetime, time_zone: str) -> pl.Expr:
    """Return the probability that the user will buy the item again at all."""
    days = (
        (pl.lit(last_whole_day(as_of, time_zone)) - pl.col(LAST_PURCHASE_DAY)).dt.total_days().clip(lower_bound=0)
    )
    returns = (_gaps() + PRIOR_GAPS * pl.col(RETURN_RATE)) / (_gaps() + PRIOR_GAPS)
    still_open = returns * (-days / pl.col(_CYCLE)).exp()
    return still_open / (still_open + 1 - returns)


def _probability() -> pl.Expr:
    in_time = 1 - (-HORIZON_DAYS / pl.col(_CYCLE)).exp()
    return (pl.col(_STILL_BUYS) * in_time).alias(PROBABILITY)


def _due_at(as_of: datetime) -> pl.Expr:
    # A little more than 1/2, so that the last digits do not decide about a day.
    days = (pl.col(_CYCLE) + 0.500001).floor().cast(pl.Int64)
    due_at = pl.col(LAST_PURCHASE_DAY).cast(TIMESTAMP_DTYPE) + pl.duration(days=days)
    return pl.max_horizontal(due_at, pl.lit(as_of, TIMESTAMP_DTYPE)).alias(DUE_AT)
