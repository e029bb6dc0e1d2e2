"""Everything that is stored in Redis and in files, as text in which tests look for what must not be there."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import redis


def redis_text(client: redis.Redis) -> str:
    """All keys of a Redis and all their values."""
    reads: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    keys: Any = list(client.scan_iter("*"))
    return repr([(key, reads[client.type(key)](key)) for key in keys])  # pyright: ignore[reportArgumentType]


def file_texts(directory: Path) -> dict[Path, str]:
    """What each file under a directory holds, and its path; Parquet files and archives also decompressed."""
    return {file: _text(file) for file in directory.rglob("*") if file.is_file()}


def find_marks(texts: Mapping[Any, str], marks: Iterable[str]) -> set[tuple[str, str]]:
    """Return each mark with the place where it stands."""
    return {
        (str(place), mark) for place, text in texts.items() for mark in marks if mark in text or mark in str(place)
    }


def _text(file: Path) -> str:
    text = file.read_bytes().decode(errors="replace")
    if file.suffix == ".parquet":
        return text + pl.read_parquet(file, glob=False).write_ndjson()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return text + "".join(archive.read(name).decode(errors="replace") for name in archive.namelist())
    return text
