"""Publishing: a run's lists are loaded as a version, checked, and made live by moving one pointer."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from recsys.errors import StoreError
from recsys.store.catalogue import CATALOGUE_FILE, verify_catalogue, write_catalogue
from recsys.store.client.connect import ERRORS, Client, primaries, store_errors, used_memory
from recsys.store.keys import TRENDING, Keys
from recsys.store.publish.bulk_transfer import key_hashes
from recsys.store.publish.list_files import BLOCK_LISTS, UNCUT, Block, sources
from recsys.store.publish.loading import Loader
from recsys.store.publish.memory import (
    MemoryBudget,
    find_list_length,
    read_list_cut,
    record_version_size,
)
from recsys.store.publish.removal import (
    delete_version_keys,
    remove_failed_load,
    remove_old_versions,
    remove_partial_versions,
)
from recsys.store.publish.versions import begin_load, find_live_version, make_live, repair_live_time
from recsys.store.read import versions

SAMPLE_STRIDE: Final = 2_000

Pairs = list[tuple[str, bytes]]


@dataclass(frozen=True)
class PublishResult:
    """The result of a publish: the number of keys written, the bytes of their values, and the versions removed.

    `memory_bytes` is the growth of the server's memory, None if it did not grow; `cut_to` is the length that the
    lists of users and items were cut to, None if they were published as the run wrote them.
    """

    version: str
    previous: str | None
    keys: int
    bytes: int
    seconds: float
    removed: tuple[str, ...]
    memory_bytes: int | None
    cut_to: int | None


@dataclass(frozen=True)
class _LoadResult:
    keys: int
    bytes: int
    memory_bytes: int | None = None
    cut_to: int | None = None


def publish(
    client: Client,
    keys: Keys,
    version: str,
    lists_directory: Path,
    keep_versions: int,
    progress: Callable[[int], None] | None = None,
    max_memory: int | None = None,
    withheld: frozenset[str] = frozenset(),
) -> PublishResult:
    """Load the lists of a run as `version`, verify them, make it live, and remove old versions.

    `lists_directory` holds `user_items.parquet` (user_id, items), `similar_items.parquet` (item_id, items) and
    `popular.parquet` (name, items; named `popular`, `popular:<category>` or `trending`). Other files are optional:
    `again_items.parquet` and `new_items.parquet` (user_id, items), and for the online half
    `bought_with.parquet` (item_id, items), `history.parquet` (user_id, items),
    `disliked.parquet` (user_id, items), `profiles.parquet` (user_id, items: one text) and `catalogue.parquet`
    (`recsys.store.catalogue.CATALOGUE_SCHEMA`). Empty lists are not written.

    `keep_versions` counts the live version; that and the previous one are never removed. `progress` is called with
    the number of lists written so far. `max_memory` is `Redis.max_memory`. The lists of `withheld` users
    are left out. A version that is already live is compared list by list: what is missing is put back, and the rest
    is left as it is; its trending list is not compared, as it is updated during the day.
    `client` must return bytes.

    Raises `StoreError` if a list is refused or different from what was written, if the lists do not fit
    into `max_memory`, if the live version changes meanwhile, or if `version` is live with other lists. The live
    version then stays as it was.
    """
    started = time.perf_counter()
    sources(keys, version, lists_directory)
    with store_errors(client):
        repair_live_time(client, keys)
        previous = find_live_version(client, keys)
        removed = remove_partial_versions(client, keys, version)
        if previous == version:
            loaded = _compare(client, keys, version, lists_directory, withheld, progress)
            previous = _find_previous(client, keys, version)
        else:
            budget = None
            if max_memory is not None:
                # Old versions are removed first, so that their memory can be used.
                removed += remove_old_versions(client, keys, _protected_versions(version, previous), keep_versions)
                budget = MemoryBudget(max_memory, max(keep_versions, 2))
            loaded = _load(client, keys, version, previous, lists_directory, withheld, budget, progress)
        removed += remove_old_versions(client, keys, _protected_versions(version, previous), keep_versions)
    seconds = time.perf_counter() - started
    return PublishResult(
        version,
        previous,
        loaded.keys,
        loaded.bytes,
        seconds,
        tuple(removed),
        loaded.memory_bytes,
        loaded.cut_to,
    )


def _protected_versions(version: str, previous: str | None) -> list[str]:
    """Return the versions that are never removed."""
    return [version] if previous is None else [version, previous]


def _load(
    client: Client,
    keys: Keys,
    version: str,
    previous: str | None,
    directory: Path,
    withheld: frozenset[str],
    budget: MemoryBudget | None,
    progress: Callable[[int], None] | None,
) -> _LoadResult:
    mark, may_have_keys = begin_load(client, keys, version)
    try:
        if may_have_keys:
            delete_version_keys(client, keys, version)
        max_length = None if budget is None else find_list_length(client, keys, version, directory, budget)
        before = used_memory(client)
        count, size, sample = _write(
            client, version, _blocks(keys, version, directory, withheld, max_length), progress
        )
        catalogue = _write_catalogue(client, keys, version, directory)
        count, size = count + (catalogue > 0), size + catalogue
        _verify_count(client, keys, version, count)
        _verify_values(client, version, sample)
        grown = used_memory(client) - before
        record_version_size(client, keys, version, grown, max_length)
        make_live(client, keys, version, previous, mark)
    except (StoreError, *ERRORS):
        # An incomplete version only takes memory. If Redis is unavailable, the next publish removes it.
        with suppress(*ERRORS):
            remove_failed_load(client, keys, version, mark)
        raise
    return _LoadResult(count, size, grown if grown > 0 else None, max_length)


def _blocks(
    keys: Keys, version: str, directory: Path, withheld: frozenset[str], max_length: int | None
) -> Iterator[Block]:
    cut = sources(keys, version, directory, UNCUT if max_length is None else max_length, withheld)
    return chain.from_iterable(source.blocks() for source in cut)


def _write(
    client: Client, version: str, blocks: Iterable[Block], progress: Callable[[int], None] | None
) -> tuple[int, int, Pairs]:
    """Write the blocks; return the number of lists, the bytes of their values, and a sample to verify."""
    count = size = 0
    sample: Pairs = []
    with Loader(client, version) as loader:
        for block in blocks:
            size += loader.write(block)
            count += len(block.rows)
            sample += block.pairs(block.rows[::SAMPLE_STRIDE])
            if progress is not None:
                progress(count)
        loader.finish()
    return count, size, sample


def _write_catalogue(client: Client, keys: Keys, version: str, directory: Path) -> int:
    """Write and verify the catalogue; return its bytes, 0 if the run has none."""
    file = directory / CATALOGUE_FILE
    if not file.is_file():
        return 0
    write_catalogue(client, keys, version, file)
    return verify_catalogue(client, keys, version, file)


def _compare(
    client: Client,
    keys: Keys,
    version: str,
    directory: Path,
    withheld: frozenset[str],
    progress: Callable[[int], None] | None,
) -> _LoadResult:
    """Put back the lists that the live version lacks, and verify that it equals the files."""
    trending = keys.ranking(version, TRENDING)
    max_length = read_list_cut(client, keys, version)
    count = size = 0
    for block in _blocks(keys, version, directory, withheld, max_length):
        pairs = [(key, value) for key, value in block.pairs(block.rows) if key != trending]
        _verify_values(client, version, pairs, puts_back=True)
        count += len(pairs)
        size += sum(len(value) for _, value in pairs)
        if progress is not None:
            progress(count)
    file = directory / CATALOGUE_FILE
    catalogue = verify_catalogue(client, keys, version, file) if file.is_file() else 0
    trending_list = client.get(trending)
    count += (catalogue > 0) + (trending_list is not None)
    _verify_count(client, keys, version, count)
    return _LoadResult(count, size + catalogue + len(trending_list or b""), cut_to=max_length)


def _verify_values(client: Client, version: str, pairs: Pairs, puts_back: bool = False) -> None:
    for start in range(0, len(pairs), BLOCK_LISTS):
        part = pairs[start : start + BLOCK_LISTS]
        pipeline = client.pipeline(transaction=False)
        for key, _ in part:
            pipeline.execute_command("GET", key)
        for (key, value), reply in zip(part, pipeline.execute(), strict=True):
            if reply is None and puts_back:
                client.set(key, value)
            elif reply != value:
                problem = "is missing" if reply is None else "is another list"
                raise StoreError(f"version {version}: {key} {problem} in Redis")


def _verify_count(client: Client, keys: Keys, version: str, expected: int) -> None:
    """Verify the number of keys; counted by 8-byte hash, as SCAN may return a key twice."""
    pattern = keys.version_pattern(version)
    batches = [hashes for node in primaries(client) for hashes in key_hashes(node, pattern)]
    hashes = np.sort(np.concatenate(batches))
    count = len(hashes) - int(np.count_nonzero(hashes[1:] == hashes[:-1]))
    if count != expected:
        raise StoreError(f"version {version}: {expected} lists to publish but {count} keys in Redis")


def _find_previous(client: Client, keys: Keys, version: str) -> str | None:
    """Return the version, other than `version`, that went live last."""
    published = [other.name for other in versions(client, keys) if other.published_at]
    return next((name for name in published if name != version), None)
