"""Small tables of events and items as a lake holds them."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from recsys.schema import Events, Items


def events_of(rows: list[tuple[str, str, str, str]], **columns: Sequence[Any]) -> pl.DataFrame:
    """Events of a user with an item: what, and when in ISO; the other columns are null."""
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "event", "timestamp"], orient="row")
    known = table.with_columns(
        pl.int_range(pl.len()).cast(pl.String).alias("event_id"),
        pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC"),
        **{name: pl.Series(values) for name, values in columns.items()},
    )
    return _filled(known, pl.Schema(Events))


def items_of(**columns: Sequence[Any]) -> pl.DataFrame:
    """Items by column; the columns that are not given are null."""
    schema = pl.Schema(Items)
    known = pl.DataFrame(columns, schema={name: schema[name] for name in columns})
    return _filled(known, schema)


def _filled(table: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """All columns of a schema, null where the table has none."""
    return table.select(
        pl.col(name).cast(dtype) if name in table.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )
