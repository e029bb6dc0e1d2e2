"""Bulk publish: a run's lists are loaded as a version, checked, and made live by moving one pointer.

The hash `Keys.versions` says for each version whether it is whole. While a version is loaded its field holds
that load's own mark, so two loads of one version, or a load and a removal, cannot both end well.
"""

# redis-py leaves **kwargs without a type, pyarrow has no stubs.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import polars as pl
import redis
from pyarrow.parquet import ParquetFile

from recsys.errors import StoreError
from recsys.schema import ITEM_ID, USER_ID
from recsys.store.connection import store_errors
from recsys.store.encoding import encode, text
from recsys.store.keys import TRENDING, Keys
from recsys.store.read import versions

USER_ITEMS_FILE: Final = "user_items.parquet"
SIMILAR_ITEMS_FILE: Final = "similar_items.parquet"
POPULAR_FILE: Final = "popular.parquet"
NAME: Final = "name"
ITEMS: Final = "items"

BLOCK_LISTS: Final = 4_000
SAMPLE_STRIDE: Final = 500
SCAN_KEYS: Final = 2_000
REMOVING: Final = "removing"

Block = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Published:
    """What a publish left in Redis: `keys` lists of `bytes` bytes together, and which versions are gone."""

    version: str
    previous: str | None
    keys: int
    bytes: int
    seconds: float
    removed: tuple[str, ...]


@dataclass(frozen=True)
class _Loaded:
    keys: int
    bytes: int
    sample: Block


def publish(
    client: redis.Redis,
    keys: Keys,
    version: str,
    lists_directory: Path,
    keep_versions: int,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Load the lists of a run as `version`, check them, make it live, and remove old versions.

    `lists_directory` holds `user_items.parquet` (user_id, items), `similar_items.parquet` (item_id, items)
    and `popular.parquet` (name, items; named `popular`, `popular:<category>` or `trending`). Empty lists are
    not written. `keep_versions` counts the live one; that and the previous one always stay. `progress` is told
    the number of lists done so far. A version that is live already is compared list by list and left as it is.
    `client` gives its replies as bytes.

    Raises `StoreError`, with the pointer where it was, when a list is refused, missing or not as written,
    when the live version changes meanwhile, and when `version` is live with other lists.
    """
    started = time.perf_counter()
    _check_files(lists_directory)
    blocks = _blocks(keys, version, lists_directory)
    with store_errors(client):
        previous = _live(client, keys)
        if previous == version:
            loaded = _compare(client, keys, version, blocks, progress)
            previous = _last_before(client, keys, version)
        else:
            loaded = _load(client, keys, version, previous, blocks, progress)
        removed = _remove_old_versions(client, keys, version, previous, keep_versions)
    seconds = time.perf_counter() - started
    return Published(version, previous, loaded.keys, loaded.bytes, seconds, tuple(removed))


def _load(
    client: redis.Redis,
    keys: Keys,
    version: str,
    previous: str | None,
    blocks: Iterator[Block],
    progress: Callable[[int], None] | None,
) -> _Loaded:
    mark = f"loading {uuid.uuid4().hex}"
    client.hset(keys.versions, version, mark)
    try:
        _clear(client, keys, version)
        loaded = _each(blocks, partial(_write, client, version), progress)
        _verify(client, keys, version, loaded)
        _go_live(client, keys, version, previous, mark)
    except (StoreError, redis.RedisError):
        # Half a version would only take memory; where Redis is gone, the next publish clears it.
        with suppress(redis.RedisError):
            if client.hget(keys.versions, version) == mark.encode():
                _remove(client, keys, version)
        raise
    return loaded


def _check_files(directory: Path) -> None:
    for name in (USER_ITEMS_FILE, SIMILAR_ITEMS_FILE, POPULAR_FILE):
        if not (directory / name).is_file():
            raise StoreError(f"{directory / name}: there is no such file to publish")


def _blocks(keys: Keys, version: str, directory: Path) -> Iterator[Block]:
    """Keys and values of all lists that are not empty, a block at a time."""
    yield from _file_blocks(directory / USER_ITEMS_FILE, USER_ID, version, keys.user_items)
    yield from _file_blocks(directory / SIMILAR_ITEMS_FILE, ITEM_ID, version, keys.similar_items)
    yield from _file_blocks(directory / POPULAR_FILE, NAME, version, keys.ranking)


def _file_blocks(path: Path, owner: str, version: str, key: Callable[[str, str], str]) -> Iterator[Block]:
    with ParquetFile(path) as file:
        for batch in cast("Iterator[Any]", file.iter_batches(BLOCK_LISTS, columns=[owner, ITEMS])):
            lists = pl.DataFrame(batch).filter(pl.col(ITEMS).list.len() > 0)
            names = [key(version, name) for name in lists[owner]]
            yield list(zip(names, encode(lists[ITEMS]), strict=True))


def _each(
    blocks: Iterator[Block], handle: Callable[[Block], None], progress: Callable[[int], None] | None
) -> _Loaded:
    """Hand every block to `handle` and count; only one block and the sample are in memory."""
    count = size = 0
    sample: Block = []
    for block in blocks:
        handle(block)
        count += len(block)
        size += sum(len(value) for _, value in block)
        sample += block[::SAMPLE_STRIDE]
        if progress is not None:
            progress(count)
    return _Loaded(count, size, sample)


def _write(client: redis.Redis, version: str, block: Block) -> None:
    pipeline = client.pipeline(transaction=False)
    for key, value in block:
        pipeline.execute_command("SET", key, value)
    refused = [reply for reply in pipeline.execute(raise_on_error=False) if reply is not True]
    if refused:
        raise StoreError(f"version {version}: Redis refused {len(refused)} lists, the first as: {refused[0]}")


def _verify(client: redis.Redis, keys: Keys, version: str, loaded: _Loaded) -> None:
    """Every list is there, and those of the sample are as they were written."""
    _verify_count(client, keys, version, loaded.keys)
    for start in range(0, len(loaded.sample), BLOCK_LISTS):
        _verify_values(client, version, loaded.sample[start : start + BLOCK_LISTS])


def _compare(
    client: redis.Redis,
    keys: Keys,
    version: str,
    blocks: Iterator[Block],
    progress: Callable[[int], None] | None,
) -> _Loaded:
    """Every list of the live version is there as the files have it, but for the trending one, which may have been
    renewed; readers notice nothing."""
    renewed = keys.ranking(version, TRENDING)
    others = ([pair for pair in block if pair[0] != renewed] for block in blocks)
    loaded = _each(others, partial(_verify_values, client, version), progress)
    _verify_count(client, keys, version, loaded.keys + client.exists(renewed))
    return loaded


def _verify_values(client: redis.Redis, version: str, block: Block) -> None:
    pipeline = client.pipeline(transaction=False)
    for key, _ in block:
        pipeline.execute_command("GET", key)
    for (key, value), reply in zip(block, pipeline.execute(), strict=True):
        if reply != value:
            found = "is missing" if reply is None else "is another list"
            raise StoreError(f"version {version}: {key} {found} in Redis")


def _verify_count(client: redis.Redis, keys: Keys, version: str, expected: int) -> None:
    """SCAN may name a key twice, so keys are counted by hash, 8 bytes each."""
    hashes = [
        np.fromiter((hash(key) for key in found), np.int64, len(found))
        for found in _scan(client, keys.version_pattern(version))
    ]
    count = np.unique(np.concatenate(hashes)).size if hashes else 0
    if count != expected:
        raise StoreError(f"version {version}: {expected} lists to publish but {count} keys in Redis")


def _go_live(client: redis.Redis, keys: Keys, version: str, previous: str | None, mark: str) -> None:
    """Move the pointer, unless it or the mark of this load has changed since the load began."""
    seconds, microseconds = client.time()
    with client.pipeline() as pipeline:
        pipeline.watch(keys.live, keys.versions)
        if _live(pipeline, keys) != previous or pipeline.hget(keys.versions, version) != mark.encode():
            raise StoreError(_conflict(version))
        pipeline.multi()
        pipeline.set(keys.live, version)
        pipeline.hset(keys.versions, version, str(seconds * 1_000_000 + microseconds))
        try:
            pipeline.execute()
        except redis.WatchError:
            raise StoreError(_conflict(version)) from None


def _conflict(version: str) -> str:
    return f"version {version}: another publish or rollback came between; nothing has changed, publish again"


def _live(client: redis.Redis, keys: Keys) -> str | None:
    live = client.get(keys.live)
    return None if live is None else text(live)


def _last_before(client: redis.Redis, keys: Keys, version: str) -> str | None:
    """The version, other than `version`, that went live last."""
    whole = [known.name for known in versions(client, keys) if known.published_at]
    return next((name for name in whole if name != version), None)


def _remove_old_versions(
    client: redis.Redis, keys: Keys, version: str, previous: str | None, keep_versions: int
) -> list[str]:
    known = versions(client, keys)
    whole = [version, *([previous] if previous else []), *(each.name for each in known if each.published_at)]
    kept = list(dict.fromkeys(whole))[: max(keep_versions, 2)]
    old = [each.name for each in known if each.name not in kept]
    for name in old:
        _remove(client, keys, name)
    return old


def _remove(client: redis.Redis, keys: Keys, version: str) -> None:
    # The mark first: a load of this version that still goes on must not go live any more.
    client.hset(keys.versions, version, REMOVING)
    _clear(client, keys, version)
    client.hdel(keys.versions, version)


def _clear(client: redis.Redis, keys: Keys, version: str) -> None:
    for found in _scan(client, keys.version_pattern(version)):
        client.unlink(*found)


def _scan(client: redis.Redis, pattern: str) -> Iterator[list[bytes | str]]:
    """The keys that match, some perhaps twice, a few at a time."""
    cursor = 0
    while True:
        cursor, found = client.scan(cursor, match=pattern, count=SCAN_KEYS)
        if found:
            yield found
        if cursor == 0:
            return
