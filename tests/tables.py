"""Small tables of events and items, with the columns of a lake."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from recsys.contract import Events, Items


def make_events(rows: list[tuple[str, str, str, str]], **columns: Sequence[Any]) -> pl.DataFrame:
    """Return events from user, item, event and ISO time; the columns that are not given are null."""
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    events = table.with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias("event_id"),
        pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC"),
        **{name: pl.Series(values) for name, values in columns.items()},
    )
    return _fill(events, pl.Schema(Events))


def make_items(**columns: Sequence[Any]) -> pl.DataFrame:
    """Return items from columns; the columns that are not given are null."""
    schema = pl.Schema(Items)
    return _fill(pl.DataFrame(columns, schema={name: schema[name] for name in columns}), schema)


def _fill(table: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return all columns of a schema, null where the table lacks one."""
    return table.select(
        pl.col(name).cast(dtype) if name in table.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )
