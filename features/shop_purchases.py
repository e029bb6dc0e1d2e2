"""Purchases of all users, with which those of one user are compared: mean prices of items, and the shop's trend."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from features.events import MAX_AMOUNT, days_since, decay, fixed_point, units
from features.pairs import RECENT, USUAL
from recsys.growth import RECENT_DAYS, USUAL_DAYS
from recsys.schema import EVENT, ITEM_ID, PRICE, PURCHASE, TIMESTAMP

MEAN_PRICE: Final = "mean_price"
UNITS: Final = "units"
AMOUNT: Final = "amount"

_SUMS: Final = (UNITS, AMOUNT, RECENT, USUAL)


@dataclass(frozen=True)
class ShopPurchases:
    """What the features of users need of the purchases of all users."""

    mean_prices: pl.DataFrame
    """The mean price of a unit of each item that was bought, (item_id, mean_price)."""
    recent_share: float | None
    """Recent share of the shop's decayed revenue, see `recsys.growth`; None without revenue."""

    @classmethod
    def from_sums(cls, sums: pl.DataFrame) -> "ShopPurchases":
        """Return what rows of `purchase_sums`, merged by `merge_purchase_sums`, say."""
        mean = pl.col(AMOUNT).cast(pl.Float64) / pl.col(UNITS).cast(pl.Float64)
        prices = sums.filter((pl.col(UNITS) > 0) & (pl.col(AMOUNT) > 0)).select(ITEM_ID, mean.alias(MEAN_PRICE))
        revenue = sums.select(pl.col(RECENT, USUAL).sum())
        share = revenue.filter(pl.col(USUAL) > 0).select(
            pl.col(RECENT).cast(pl.Float64) / pl.col(USUAL).cast(pl.Float64)
        )
        return cls(prices, None if share.is_empty() else float(share.item()))


def decay_amounts(age: pl.Expr, amount: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return `RECENT` and `USUAL`: amounts decayed with the two half-lives of growth, to be summed.

    Null for an amount above `MAX_AMOUNT`, whatever its age.
    """
    halves = ((RECENT, RECENT_DAYS), (USUAL, USUAL_DAYS))
    bounded = pl.when(amount.abs() <= MAX_AMOUNT).then(amount)
    recent, usual = (fixed_point(bounded * decay(age, half_life)).alias(name) for name, half_life in halves)
    return recent, usual


def purchase_sums(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Sum units and amounts of the purchases with a price in `events`, all before `as_of`, by item.

    Returns are not taken off: a mean is of what was paid at the till.
    """
    amount, age = pl.col(PRICE) * units(), days_since(pl.col(TIMESTAMP), as_of)
    bought = events.filter((pl.col(EVENT) == PURCHASE) & pl.col(PRICE).is_not_null())
    return (
        bought.select(
            ITEM_ID,
            fixed_point(units()).alias(UNITS),
            fixed_point(amount).alias(AMOUNT),
            *decay_amounts(age, amount),
        )
        .group_by(ITEM_ID)
        .agg(pl.col(*_SUMS).sum())
        .with_columns(pl.col(ITEM_ID).cast(pl.String))
    )


def merge_purchase_sums(sums: pl.LazyFrame) -> pl.LazyFrame:
    """Merge rows of `purchase_sums` of any number of buckets to one row per item."""
    return sums.group_by(ITEM_ID).agg(pl.col(*_SUMS).sum())
