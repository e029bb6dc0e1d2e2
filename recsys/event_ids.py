"""Ids of events that have none in their source, and of requests."""

import os
import time
from collections.abc import Mapping

import polars as pl
import polars_hash

from recsys.schema import EVENT_ID


def row_hash(schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return an id hashed from all other columns, equal for equal rows on every machine and in every version."""
    columns = [pl.col(name).cast(dtype, strict=False) for name, dtype in schema.items() if name != EVENT_ID]
    return polars_hash.hash_rows(columns, version=1).nchash.xxh3_64().cast(pl.String)


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562) in 32 hexadecimal digits: it starts with the time.

    >>> len(new_id()), new_id()[12]
    (32, '7')
    """
    milliseconds, random = time.time_ns() // 10**6, int.from_bytes(os.urandom(10)) >> 6
    version_and_time = (milliseconds << 16 | 0x7000 | random >> 62) << 64
    return f"{version_and_time | 1 << 63 | random & (1 << 62) - 1:032x}"
