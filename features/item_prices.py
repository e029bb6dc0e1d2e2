"""Item prices: the latest price in the events, and the price rank within the category."""

from typing import Final

import polars as pl

from recsys.schema import CATEGORY, ITEM_ID, PRICE, TIMESTAMP

LAST_PRICE: Final = "last_price"
LAST_PRICE_AT: Final = "last_price_at"

_HAS_CATEGORY: Final = pl.col(CATEGORY).list.len() > 0

PRICE_RANK: Final = pl.when(_HAS_CATEGORY).then(
    (pl.col(PRICE).rank("average").over(CATEGORY) - 0.5) / pl.col(PRICE).count().over(CATEGORY)
)
"""Share of the priced items of the category that are cheaper, with equal prices counted half.

0.125 for the cheapest of four items, 0.5 for a single item. Null without a price or a category.
"""


def last_prices(events: pl.LazyFrame) -> pl.LazyFrame:
    """Find the latest price of each item with a price in `events`, and its time; of several, the highest price."""
    priced = priced_events(events)
    return merge_last_prices(
        priced.select(ITEM_ID, pl.col(PRICE).alias(LAST_PRICE), pl.col(TIMESTAMP).alias(LAST_PRICE_AT))
    )


def merge_last_prices(prices: pl.LazyFrame) -> pl.LazyFrame:
    """Merge concatenated rows of `last_prices` of any number of buckets to one row per item."""
    latest = prices.group_by(ITEM_ID).agg(pl.col(LAST_PRICE_AT).max())
    latest_prices = prices.join(latest, on=[ITEM_ID, LAST_PRICE_AT])
    return latest_prices.group_by(ITEM_ID, LAST_PRICE_AT).agg(pl.col(LAST_PRICE).max())


def priced_events(events: pl.LazyFrame) -> pl.LazyFrame:
    """Select the events with a price."""
    return events.filter(pl.col(PRICE).is_not_null())
