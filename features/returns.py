"""Returns: a refund takes back the latest purchases of the item before it, in whole or in part."""

from typing import Final

import polars as pl

from recsys.schema import (
    EVENT,
    EVENT_ID,
    ITEM_ID,
    PURCHASE,
    QUANTITY,
    REFUND,
    RETURNED_PURCHASE,
    TIMESTAMP,
    USER_ID,
)

RETURNED_UNITS: Final = "returned_units"
_PAIR: Final = [USER_ID, ITEM_ID]
_ROW: Final = "row"
_IS_PURCHASE: Final = "is_purchase"
_GIVEN: Final = "given"
_CHANGE: Final = "change"
_TOTAL: Final = "total"
_BALANCE: Final = "balance"
_LEFT: Final = "left"
_MIN_UNITS: Final = 1e-9  # less is a rounding error of sums of quantities such as 0.1


def has_returns(events: pl.LazyFrame) -> bool:
    """Return whether there is a refund among the events."""
    return not events.filter(pl.col(EVENT) == REFUND).select(EVENT).head(1).collect().is_empty()


def take_back_returns(events: pl.LazyFrame) -> pl.LazyFrame:
    """Reduce the quantity of purchases by what was returned; rename those of which no unit is left.

    A refund takes units of the user's purchases of the item before it, of the latest first, and never more than
    there are. At the same time, purchases come first. A purchase without a quantity is one unit; such a
    refund is a whole purchase, the latest before it. Purchases without units become `RETURNED_PURCHASE`. The
    column `RETURNED_UNITS` has what was returned of a purchase, null if nothing was.
    """
    numbered = events.with_row_index(_ROW)
    changed = (
        _units_left(numbered)
        .filter(pl.col(_LEFT) < pl.col(_CHANGE))
        .select(_ROW, _LEFT, (pl.col(_CHANGE) - pl.col(_LEFT)).alias(RETURNED_UNITS))
    )
    is_returned = (pl.col(_LEFT) == 0).fill_null(value=False)
    return (
        numbered.join(changed, on=_ROW, how="left")
        .with_columns(
            pl.when(is_returned).then(pl.lit(RETURNED_PURCHASE)).otherwise(EVENT).alias(EVENT),
            pl.coalesce(_LEFT, QUANTITY).alias(QUANTITY),
        )
        .drop(_ROW, _LEFT)
    )


def _units_left(events: pl.LazyFrame) -> pl.LazyFrame:
    """Compute the units bought (`change`) and left (`left`) of each purchase of a pair with a refund.

    Purchases and refunds move a balance that stays at 0 where a refund exceeds it. A purchase raised it from one
    level to another; of its units those are left that the balance never fell below since.
    """
    refunded = events.filter(pl.col(EVENT) == REFUND).select(_PAIR).unique()
    given = pl.when(pl.col(QUANTITY) > 0).then(pl.col(QUANTITY))
    is_purchase = pl.col(_IS_PURCHASE)
    lines = (
        events.filter(pl.col(EVENT).is_in([PURCHASE, REFUND]))
        .select(
            _ROW, *_PAIR, EVENT_ID, TIMESTAMP, (pl.col(EVENT) == PURCHASE).alias(_IS_PURCHASE), given.alias(_GIVEN)
        )
        .join(refunded, on=_PAIR, how="semi")
        .sort(*_PAIR, TIMESTAMP, ~is_purchase, EVENT_ID)
    )
    bought = pl.when(is_purchase).then(pl.col(_GIVEN).fill_null(1.0))
    latest = bought.forward_fill().over(_PAIR).fill_null(1.0)
    lines = lines.with_columns(
        pl.when(is_purchase).then(bought).otherwise(-pl.col(_GIVEN).fill_null(latest)).alias(_CHANGE)
    )
    lines = lines.with_columns(pl.col(_CHANGE).cum_sum().over(_PAIR).alias(_TOTAL))
    lowest = pl.col(_TOTAL).cum_min().over(_PAIR).clip(upper_bound=0)
    lines = lines.with_columns((pl.col(_TOTAL) - lowest).alias(_BALANCE))
    lowest_since = pl.col(_BALANCE).cum_min(reverse=True).over(_PAIR)
    left = (lowest_since - (pl.col(_BALANCE) - pl.col(_CHANGE))).clip(0, pl.col(_CHANGE))
    return (
        lines.with_columns(left.alias(_LEFT))
        .filter(is_purchase)
        .select(
            _ROW,
            _CHANGE,
            pl.when(pl.col(_LEFT) > _MIN_UNITS).then(_LEFT).otherwise(0.0).alias(_LEFT),
        )
    )
