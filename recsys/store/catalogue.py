"""The catalogue of a version: attributes of all items, in a hash of a few Parquet files, most popular first."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from recsys.errors import StoreError
from recsys.schema import (
    ATTRIBUTES,
    AVAILABLE,
    BRAND,
    CATEGORIES,
    CATEGORY,
    CHANGED_ONLINE_AT,
    GROUP_ID,
    ITEM_ID,
    PRICE,
    PRODUCT_TYPE,
    REPEAT_DAYS,
    STOCK,
    TIMESTAMP_DTYPE,
    TITLE,
    VALID_FROM,
    VALID_UNTIL,
    VECTOR,
    VECTOR_SIZE,
)
from recsys.store.client.connect import Client, node_for_key
from recsys.store.keys import Keys

CATALOGUE_FILE: Final = "catalogue.parquet"
ITEMS_PER_PART: Final = 65_536
"""Number of items in a part, and in a row group of the file."""

CATALOGUE_SCHEMA: Final = pl.Schema(
    {
        ITEM_ID: pl.String(),
        GROUP_ID: pl.String(),
        TITLE: pl.String(),
        CATEGORY: pl.String(),
        BRAND: pl.String(),
        PRICE: pl.Float64(),
        AVAILABLE: pl.Boolean(),
        STOCK: pl.Float64(),
        VALID_FROM: TIMESTAMP_DTYPE,
        VALID_UNTIL: TIMESTAMP_DTYPE,
        REPEAT_DAYS: pl.Float32(),
        CHANGED_ONLINE_AT: TIMESTAMP_DTYPE,
        CATEGORIES: pl.List(pl.String()),
        ATTRIBUTES: pl.List(pl.String()),
        PRODUCT_TYPE: pl.String(),
    }
)
"""One row per item: `category` is its joined path, `repeat_days` the days until a buyer buys it again.

`available`, `stock`, `valid_from` and `valid_until` are as the shop gave them; `recsys.availability` decides by
them. `changed_online_at` is the time of the last online change that these facts include. `categories` are all
joined paths of an item that has several, else null. `attributes` are members of a JSON object, as
`recsys.attributes` writes them; an attribute with several values has several members. `product_type` is the
joined beginning of the category path by which lists are limited; see `recsys.product_types`.
"""
VECTOR_SCHEMA: Final = pl.Schema({VECTOR: pl.Array(pl.Int8(), VECTOR_SIZE)})
"""Vectors of the items, by which answers are diversified; without diversity the column is missing."""


def parse_version(version: str) -> datetime:
    """Return the time up to which a version has events, which its name tells; year 1 if the name is not a time."""
    time = re.fullmatch(r"(\d{8}T\d{6})(\.\d{1,6})?Z", version)
    try:
        return datetime.fromisoformat(version) if time else datetime.min.replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def write_catalogue(client: Client, keys: Keys, version: str, file: Path) -> int:
    """Write the catalogue of a run in parts; return its bytes, 0 if it has no items (there is no key then).

    Connections of `client` that are idle afterwards are closed: the server keeps for each that sent a part a buffer
    of the same size, which would count as memory of the version.
    """
    key, size = keys.catalogue(version), 0
    for number, items in enumerate(_parts(file)):
        value = io.BytesIO()
        items.write_parquet(value, compression="zstd")
        client.hset(key, str(number), value.getvalue())  # pyright: ignore[reportArgumentType]
        size += value.tell()
    if size:
        node_for_key(client, key).connection_pool.disconnect(inuse_connections=False)
    return size


def verify_catalogue(client: Client, keys: Keys, version: str, file: Path) -> int:
    """Return the bytes of all parts. Raises `StoreError` if their items are not those of the file."""
    key = keys.catalogue(version)
    size = parts = 0
    for items in _parts(file):
        value: Any = client.hget(key, str(parts))
        if value is None or not _holds(value, items):
            problem = "is missing" if value is None else "is another"
            raise StoreError(f"version {version}: part {parts} of {key} {problem} in Redis")
        parts += 1
        size += len(value)
    if client.hlen(key) != parts:
        raise StoreError(f"version {version}: {parts} parts to publish but {client.hlen(key)} in {key}")
    return size


def read_catalogue(values: Mapping[bytes, bytes]) -> pl.DataFrame:
    """Return all items of a catalogue, given the fields of its hash, as `CATALOGUE_SCHEMA`, with vectors if any."""
    parts = [pl.read_parquet(values[field]) for field in sorted(values, key=int)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=CATALOGUE_SCHEMA)


def catalogue_bytes(directory: Path) -> int:
    """Return the approximate bytes of a run's catalogue in Redis, 0 if the run has none."""
    file = directory / CATALOGUE_FILE
    return file.stat().st_size if file.is_file() else 0


def _parts(file: Path) -> Iterator[pl.DataFrame]:
    """Yield the items of the file, `ITEMS_PER_PART` at a time."""
    items = pl.scan_parquet(file, glob=False)
    count: int = items.select(pl.len()).collect().item()
    for start in range(0, count, ITEMS_PER_PART):
        yield items.slice(start, ITEMS_PER_PART).collect()


def _holds(value: bytes, items: pl.DataFrame) -> bool:
    """Return whether a part has these items; its bytes differ between versions of Polars."""
    try:
        return pl.read_parquet(value).equals(items)
    except pl.exceptions.PolarsError:
        return False
