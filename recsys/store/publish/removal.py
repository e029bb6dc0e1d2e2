"""Removal of versions, a few keys at a time so that readers are not blocked."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import redis

from recsys.store.client.connect import Client, node_for_key, primaries
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.publish.versions import find_live_version, record_live_time, rewrite_pointer
from recsys.store.read import versions

SCAN_KEYS: Final = 500
"""Keys scanned or removed per command; other clients are served between commands."""
REMOVING: Final = "removing"
WATCH_SECONDS: Final = 3_600
"""Seconds after its removal in which the publisher of an incomplete version may still write keys."""


def remove_partial_versions(client: Client, keys: Keys, version: str) -> list[str]:
    """Remove versions that killed publishers left incomplete, except `version`; return the removed ones.

    The publisher of such a version may still write, and be killed later: for an hour after the removal, each
    publish removes its keys again.
    """
    _remove_late_keys(client, keys)
    all_versions = versions(client, keys)
    partial = [
        other.name for other in all_versions if not (other.published_at or other.live or other.name == version)
    ]
    removed = [name for name in partial if remove_version(client, keys, name)]
    if removed:
        seconds, _ = node_for_key(client, keys.removed_versions).time()
        with suppress(redis.OutOfMemoryError):
            client.zadd(keys.removed_versions, dict.fromkeys(removed, seconds))
    return removed


def _remove_late_keys(client: Client, keys: Keys) -> None:
    """Remove what publishers have written of incomplete versions since these were removed."""
    removed: Any = client.zrange(keys.removed_versions, 0, -1)
    if not removed:
        return
    seconds, _ = node_for_key(client, keys.removed_versions).time()
    for version in map(decode_text, removed):
        if client.hget(keys.versions, version) is None:
            delete_version_keys(client, keys, version)
    client.zremrangebyscore(keys.removed_versions, "-inf", seconds - WATCH_SECONDS)


def remove_old_versions(client: Client, keys: Keys, kept: list[str], keep_versions: int) -> list[str]:
    """Keep the versions in `kept` and the last to go live, `keep_versions` in all; return the removed ones."""
    all_versions = versions(client, keys)
    complete = [*kept, *(version.name for version in all_versions if version.published_at or version.live)]
    remaining = list(dict.fromkeys(complete))[: max(keep_versions, len(kept))]
    return [
        version.name
        for version in all_versions
        if version.name not in remaining and remove_version(client, keys, version.name)
    ]


def remove_failed_load(client: Client, keys: Keys, version: str, mark: str) -> None:
    """Remove what a failed load has written, unless another load of the version has begun meanwhile."""
    state = client.hget(keys.versions, version)
    if state is None or state == mark.encode():
        # Nothing is written first: a server that is full still deletes.
        delete_version_keys(client, keys, version)
        client.hdel(keys.sizes, version)
        client.hdel(keys.versions, version)


def remove_version(client: Client, keys: Keys, version: str) -> bool:
    """Remove a version and its keys; return False, with nothing removed, if it has gone live meanwhile."""
    try:
        client.hset(keys.versions, version, REMOVING)
        current = rewrite_pointer(client, keys)
    except redis.OutOfMemoryError:
        # A full server refuses every write, a move of the pointer too, but deletes.
        current = find_live_version(client, keys)
    if current == version:
        record_live_time(client, keys, version)
        return False
    delete_version_keys(client, keys, version)
    client.hdel(keys.sizes, version)
    client.hdel(keys.versions, version)
    return True


def delete_version_keys(client: Client, keys: Keys, version: str) -> None:
    """Remove all keys of a version."""
    for node in primaries(client):
        for batch in _scan(node, keys.version_pattern(version)):
            if node is client:
                node.unlink(*batch)
                continue
            # All keys of one command must share a slot in a Cluster.
            with node.pipeline(transaction=False) as pipeline:
                for key in batch:
                    pipeline.unlink(key)
                pipeline.execute()


def _scan(node: redis.Redis, pattern: str) -> Iterator[list[bytes | str]]:
    """Yield the keys that match a few at a time, some perhaps twice."""
    cursor = 0
    while True:
        cursor, batch = node.scan(cursor, match=pattern, count=SCAN_KEYS)
        if batch:
            yield batch
        if cursor == 0:
            return
