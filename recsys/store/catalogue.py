"""The facts of all items, in a hash of a few large parts, each a Parquet file, the most popular items first."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from recsys.errors import StoreError
from recsys.schema import AVAILABLE, BRAND, CATEGORY, ITEM_ID, PRICE, REPEAT_DAYS, TITLE, VECTOR, VECTOR_SIZE
from recsys.store.client.connect import Client
from recsys.store.keys import Keys

CATALOGUE_FILE: Final = "catalogue.parquet"
ITEMS_PER_PART: Final = 65_536
"""Most items in a part, and in a row group of the file."""

CATALOGUE_SCHEMA: Final = pl.Schema(
    {
        ITEM_ID: pl.String(),
        TITLE: pl.String(),
        CATEGORY: pl.String(),
        BRAND: pl.String(),
        PRICE: pl.Float64(),
        AVAILABLE: pl.Boolean(),
        REPEAT_DAYS: pl.Float32(),
    }
)
"""A row an item: `category` is its path, joined; `repeat_days` how long a buyer waits to buy it again."""
VECTOR_SCHEMA: Final = pl.Schema({VECTOR: pl.Array(pl.Int8(), VECTOR_SIZE)})
"""What items are like, for answers that are to differ in that: not there otherwise."""


def write_catalogue(client: Client, keys: Keys, version: str, file: Path) -> int:
    """Write the parts of a run's catalogue; the bytes of all, 0 where it has no item and there is no key."""
    size = 0
    for number, items in enumerate(_parts(file)):
        value = io.BytesIO()
        items.write_parquet(value, compression="zstd")
        client.hset(keys.catalogue(version), str(number), value.getvalue())  # pyright: ignore[reportArgumentType]
        size += value.tell()
    return size


def verify_catalogue(client: Client, keys: Keys, version: str, file: Path) -> int:
    """The bytes of all parts. Raises `StoreError` when they do not hold what the file does."""
    key = keys.catalogue(version)
    size = parts = 0
    for items in _parts(file):
        value: Any = client.hget(key, str(parts))
        if value is None or not _holds(value, items):
            found = "is missing" if value is None else "is another"
            raise StoreError(f"version {version}: part {parts} of {key} {found} in Redis")
        parts += 1
        size += len(value)
    if client.hlen(key) != parts:
        raise StoreError(f"version {version}: {parts} parts to publish but {client.hlen(key)} in {key}")
    return size


def read_catalogue(values: Mapping[bytes, bytes]) -> pl.DataFrame:
    """The items of all parts of a catalogue, by field of its hash, in their order: `FACTS`, perhaps `VECTORS`."""
    parts = [pl.read_parquet(values[field]) for field in sorted(values, key=int)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=CATALOGUE_SCHEMA)


def catalogue_bytes(directory: Path) -> int:
    """About what the catalogue of a run takes in a server, 0 where it has none."""
    file = directory / CATALOGUE_FILE
    return file.stat().st_size if file.is_file() else 0


def _parts(file: Path) -> Iterator[pl.DataFrame]:
    """The file's items, `ITEMS_PER_PART` at a time."""
    items = pl.scan_parquet(file, glob=False)
    count: int = items.select(pl.len()).collect().item()
    for start in range(0, count, ITEMS_PER_PART):
        yield items.slice(start, ITEMS_PER_PART).collect()


def _holds(value: bytes, items: pl.DataFrame) -> bool:
    """Whether a part has these items: not its bytes, which another version of Polars would write otherwise."""
    try:
        return pl.read_parquet(value).equals(items)
    except pl.exceptions.PolarsError:
        return False
