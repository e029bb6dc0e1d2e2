"""Ids of events that have none in their source."""

from collections.abc import Mapping

import polars as pl
import polars_hash

from recsys.schema import EVENT_ID


def row_hash(schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return an id hashed from all other columns, equal for equal rows on every machine and in every version."""
    columns = [pl.col(name).cast(dtype, strict=False) for name, dtype in schema.items() if name != EVENT_ID]
    return polars_hash.hash_rows(columns, version=1).nchash.xxh3_64().cast(pl.String)
