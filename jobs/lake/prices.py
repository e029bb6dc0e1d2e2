"""The history of the catalogue's prices: what each item cost, and since when."""

from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.state_files import read_state
from recsys.files import atomic_write
from recsys.schema import ITEM_ID, PRICE, TIMESTAMP_DTYPE

SINCE: Final = "since"
INGEST: Final = "ingest"
PRICE_DTYPES: Final = {ITEM_ID: pl.String(), PRICE: pl.Float64(), SINCE: TIMESTAMP_DTYPE, INGEST: pl.Int64()}
"""`ingest` is null for a price that was set online."""


def add_prices(history: pl.DataFrame, items: pl.DataFrame, since: datetime, ingest: int | None) -> pl.DataFrame:
    """Add the prices of `items`, one row for each item, that differ from the last ones in the history."""
    last = _in_order(history).unique(ITEM_ID, keep="last").select(ITEM_ID, pl.col(PRICE).alias("last"))
    priced = items.filter(pl.col(PRICE).is_not_null()).join(last, on=ITEM_ID, how="left", maintain_order="left")
    changed = priced.filter(pl.col(PRICE).ne_missing(pl.col("last"))).select(
        ITEM_ID,
        PRICE,
        pl.lit(since, TIMESTAMP_DTYPE).alias(SINCE),
        pl.lit(ingest, pl.Int64).alias(INGEST),
    )
    return pl.concat([history, changed])


def prices_at(history: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Return the price of each item at a time, as `item_id` and `price`; before the first price, that one."""
    ordered = _in_order(history).group_by(ITEM_ID, maintain_order=True)
    price = pl.col(PRICE)
    return ordered.agg(pl.coalesce(price.filter(pl.col(SINCE) <= moment).last(), price.first()))


def with_prices_at(items: pl.LazyFrame, history: pl.DataFrame, moment: datetime) -> pl.LazyFrame:
    """Return items with the prices of a time, in their order and columns."""
    then = prices_at(history, moment).lazy()
    priced = items.drop(PRICE).join(then, on=ITEM_ID, how="left", maintain_order="left")
    return priced.select(items.collect_schema().names())


def without_ingest(history: pl.DataFrame, ingest: int) -> pl.DataFrame:
    """Return the history without the prices that an ingest gave."""
    return history.filter(pl.col(INGEST).ne_missing(pl.lit(ingest)))


def read_prices(file: Path) -> pl.DataFrame:
    """Read the history of prices, as `PRICE_DTYPES`; empty where there is no file."""
    return read_state(file) if file.exists() else pl.DataFrame(schema=PRICE_DTYPES)


def write_prices(file: Path, history: pl.DataFrame) -> None:
    """Write the history of prices atomically."""
    with atomic_write(file) as temporary:
        history.write_parquet(temporary)


def _in_order(history: pl.DataFrame) -> pl.DataFrame:
    return history.sort(SINCE, maintain_order=True)
