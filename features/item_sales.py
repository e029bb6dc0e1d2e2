"""Sales of items: orders, lines, units and revenue, net of what was returned."""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import ORDER_KEY, WINDOW_DAYS, exact_sum, in_last, purchases
from features.feature import Feature
from recsys.schema import ITEM_ID, PRICE, QUANTITY

ORDERS: Final = "orders"
LINES: Final = "lines"
UNITS: Final = "units"
REVENUE: Final = "revenue"
PRICED_LINES: Final = "priced_lines"


def revenue_column(days: int) -> str:
    """Return the name of the column of the revenue in the last `days`."""
    return f"{REVENUE}_{days}d"


_REVENUES: Final = (REVENUE, *(revenue_column(days) for days in WINDOW_DAYS))
SALES: Final = (ORDERS, LINES, UNITS, PRICED_LINES, *_REVENUES)
"""Columns of `item_sales` that add up over buckets of users."""


def _revenue(name: str) -> pl.Expr:
    return pl.when(pl.col(PRICED_LINES) > 0).then(pl.col(name).cast(pl.Float64))


ITEM_SALES: Final = (
    Feature(ORDERS, pl.UInt32(), "orders", "Number of orders with the item", pl.col(ORDERS)),
    Feature(
        LINES,
        pl.UInt32(),
        "lines",
        "Number of purchases (order lines) of the item of which a unit was kept",
        pl.col(LINES),
    ),
    Feature(
        UNITS,
        pl.Float64(),
        "units",
        "Sum of the quantities of the purchases, less what was returned; a missing quantity counts as 1",
        pl.col(UNITS).cast(pl.Float64),
    ),
    Feature(
        REVENUE,
        pl.Float64(),
        "currency",
        "Sum of price * quantity over the purchases, less what was returned; null if no purchase has a price",
        _revenue(REVENUE),
    ),
    *(
        Feature(
            revenue_column(days),
            pl.Float64(),
            "currency",
            f"Revenue of the last {days} x 24 hours; null if no purchase has a price",
            _revenue(revenue_column(days)),
        )
        for days in WINDOW_DAYS
    ),
)


def item_sales(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Compute one row per item with a purchase in `events`, in the columns `SALES`; of one bucket of users."""
    units = pl.col(QUANTITY).fill_null(1.0)
    amount = pl.col(PRICE) * units
    by_order = (
        purchases(events)
        .group_by(*ORDER_KEY, ITEM_ID)
        .agg(
            pl.len().alias(LINES),
            pl.col(PRICE).count().alias(PRICED_LINES),
            exact_sum(units).alias(UNITS),
            exact_sum(amount).alias(REVENUE),
            *(exact_sum(amount.filter(in_last(days, as_of))).alias(revenue_column(days)) for days in WINDOW_DAYS),
        )
    )
    return by_order.group_by(ITEM_ID).agg(pl.len().alias(ORDERS), pl.col(*SALES[1:]).sum())
