"""Versions of lists in Redis: which one is live, which are complete, and rolling back to one.

The hash `Keys.versions` holds for each version whether it is complete; while a version is being loaded, its field
holds a mark unique to that load. In a Cluster the hash and the pointer `Keys.live` are on different nodes, and no
transaction spans both. A process that starts to load or remove a version writes the hash first, and then the
pointer, unchanged (`rewrite_pointer`); a process that moves the pointer watches it before it reads the hash. At
least one then sees the other: either the pointer does not move, or its move is seen before a key is removed.
"""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import redis

from recsys.errors import StoreError
from recsys.store.client.connect import Client, node_for_key, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.read import Version, live_version, versions

MAX_REWRITES: Final = 100


@dataclass(frozen=True)
class RollbackResult:
    """The version that is live now, and the one that was live before."""

    version: str
    previous: str
    seconds: float


def roll_back(
    client: Client,
    keys: Keys,
    version: str | None = None,
    before_live: Callable[[str], object] = lambda _version: None,
) -> RollbackResult:
    """Make an older version live again: `version`, or by default the one that was live before.

    `before_live` is called with the version just before it goes live.

    Raises `StoreError` if there is no such version, if it is incomplete or already live, or if the live version
    changes meanwhile. The live version then stays as it was.
    """
    started = time.perf_counter()
    with store_errors(client):
        previous = live_version(client, keys)
        repair_live_time(client, keys)
        target = _choose_target(versions(client, keys), previous, version)
        before_live(target)
        state = client.hget(keys.versions, target)
        if state is None or not _move_pointer(client, keys, target, previous, state):
            raise StoreError(f"version {target}: the live version or this one has changed meanwhile: try again")
    return RollbackResult(target, previous, time.perf_counter() - started)


def _choose_target(all_versions: list[Version], live: str, requested: str | None) -> str:
    others = [version for version in all_versions if version.name != live and version.published_at is not None]
    choices = f"versions to go back to: {', '.join(version.name for version in others) or 'none'}"
    if requested is None:
        if not others:
            raise StoreError(f"version {live} is live and there is no complete version to go back to")
        return others[0].name
    if requested == live:
        raise StoreError(f"version {requested} is live already; {choices}")
    if requested not in [version.name for version in others]:
        exists = requested in [version.name for version in all_versions]
        raise StoreError(f"version {requested!r} {'is not complete' if exists else 'is not in Redis'}; {choices}")
    return requested


def begin_load(client: Client, keys: Keys, version: str) -> tuple[str, bool]:
    """Record that `version` is being loaded; return the mark of the load, and whether the version may have keys.

    Raises `StoreError` if the version has just gone live.
    """
    mark = f"loading {uuid.uuid4().hex}"
    state = client.hget(keys.versions, version)
    client.hset(keys.versions, version, mark)
    client.zrem(keys.removed_versions, version)
    if rewrite_pointer(client, keys) == version:
        record_live_time(client, keys, version)
        raise StoreError(conflict_message(version))
    return mark, state is not None


def make_live(client: Client, keys: Keys, version: str, previous: str | None, mark: str) -> None:
    """Move the pointer. Raises `StoreError` if it, or the mark of this load, has changed since the load began."""
    if not _move_pointer(client, keys, version, previous, mark.encode()):
        raise StoreError(conflict_message(version))


def conflict_message(version: str) -> str:
    """Return the error message for two publishes at the same time."""
    return f"version {version}: another publish or rollback came between; nothing has changed, publish again"


def repair_live_time(client: Client, keys: Keys) -> None:
    """Record when the live version went live, if a publisher was killed before it could."""
    version = find_live_version(client, keys)
    if version is not None:
        state = client.hget(keys.versions, version)
        if state is None or not decode_text(state).isdecimal():
            record_live_time(client, keys, version)


def find_live_version(client: Any, keys: Keys) -> str | None:
    """Return the live version, None if nothing has been published."""
    version = client.get(keys.live)
    return None if version is None else decode_text(version)


def _move_pointer(client: Client, keys: Keys, version: str, previous: str | None, state: bytes | str) -> bool:
    """Move the pointer from `previous` to `version` in state `state`; return False, unmoved, if either changed."""
    with node_for_key(client, keys.live).pipeline() as pipeline:
        pipeline.watch(keys.live)
        if find_live_version(pipeline, keys) != previous or client.hget(keys.versions, version) != state:
            return False
        pipeline.multi()
        pipeline.set(keys.live, version)
        try:
            pipeline.execute()
        except redis.WatchError:
            return False
    record_live_time(client, keys, version)
    return True


def record_live_time(client: Client, keys: Keys, version: str) -> None:
    """Record that a version is complete and has just gone live, by the clock of the server."""
    seconds, microseconds = node_for_key(client, keys.versions).time()
    client.hset(keys.versions, version, str(seconds * 1_000_000 + microseconds))


def rewrite_pointer(client: Client, keys: Keys) -> str | None:
    """Write the pointer unchanged, so that processes that watch it start over; return the live version."""
    for _ in range(MAX_REWRITES):
        with node_for_key(client, keys.live).pipeline() as pipeline:
            pipeline.watch(keys.live)
            version = find_live_version(pipeline, keys)
            pipeline.multi()
            pipeline.set(keys.live, version or "")
            if version is None:
                pipeline.delete(keys.live)
            try:
                pipeline.execute()
            except redis.WatchError:
                continue
            return version
    raise StoreError(f"{keys.live}: other commands keep writing it")
