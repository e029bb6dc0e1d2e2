"""Purchases of all users, to compare those of one user with: mean prices of items, and the shop's growth."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from features.events import MAX_AMOUNT, days_since, decay, fixed_point, units
from features.pairs import RECENT, USUAL
from recsys.schema import EVENT, ITEM_ID, PRICE, PURCHASE, TIMESTAMP

RECENT_SPEND_DAYS: Final = 30.0
USUAL_SPEND_DAYS: Final = 180.0
"""Half-lives of recent and of usual spend; longer than those of items, as customers order less often."""
MEAN_PRICE: Final = "mean_price"

_LINES: Final = "lines"
_PRICES: Final = "prices"
_AGE: Final = "age_days"


@dataclass(frozen=True)
class ShopPurchases:
    """What the features of users need of the purchases of all users."""

    mean_prices: pl.DataFrame
    """The mean price of each item over its purchases, (item_id, mean_price)."""
    recent_share: float | None
    """The shop's recent revenue over its usual one, see `recsys.growth`; None without revenue."""

    @classmethod
    def from_sums(cls, sums: pl.DataFrame) -> "ShopPurchases":
        """Return what rows of `purchase_sums`, merged by `merge_purchase_sums`, say."""
        mean = (pl.col(_PRICES).cast(pl.Float64) / pl.col(_LINES)).alias(MEAN_PRICE)
        prices = sums.filter(pl.col(_PRICES) > 0).select(ITEM_ID, mean)
        revenue = sums.select(pl.col(RECENT, USUAL).sum().cast(pl.Float64)).filter(pl.col(USUAL) > 0)
        share = revenue.select(pl.col(RECENT) / pl.col(USUAL))
        return cls(prices, None if share.is_empty() else float(share.item()))


def decay_amounts(age: pl.Expr, amount: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return `RECENT` and `USUAL`: amounts decayed with the short and with the long half-life, to be summed.

    Null for an amount above `MAX_AMOUNT`, whatever its age.
    """
    half_lives = ((RECENT, RECENT_SPEND_DAYS), (USUAL, USUAL_SPEND_DAYS))
    bounded = pl.when(amount.abs() <= MAX_AMOUNT).then(amount)
    recent, usual = (fixed_point(bounded * decay(age, half_life)).alias(name) for name, half_life in half_lives)
    return recent, usual


def purchase_sums(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Sum prices and decayed amounts of the purchases with a price in `events`, all before `as_of`, by item.

    Returns are not taken off: a mean price is of what was paid at the till.
    """
    bought = events.filter((pl.col(EVENT) == PURCHASE) & (pl.col(PRICE) <= MAX_AMOUNT))
    return (
        bought.with_columns(days_since(pl.col(TIMESTAMP), as_of).alias(_AGE))
        .select(
            ITEM_ID,
            fixed_point(pl.col(PRICE)).alias(_PRICES),
            *decay_amounts(pl.col(_AGE), pl.col(PRICE) * units()),
        )
        .group_by(ITEM_ID)
        .agg(pl.len().alias(_LINES), pl.col(_PRICES, RECENT, USUAL).sum())
        .with_columns(pl.col(ITEM_ID).cast(pl.String))
    )


def merge_purchase_sums(sums: pl.LazyFrame) -> pl.LazyFrame:
    """Merge rows of `purchase_sums` of any number of buckets to one row per item."""
    return sums.group_by(ITEM_ID).agg(pl.col(_LINES, _PRICES, RECENT, USUAL).sum())
