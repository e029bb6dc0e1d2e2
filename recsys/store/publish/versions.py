"""Versions of lists in Redis: which is live, which are whole, and going back to one.

The hash `Keys.versions` says for each version whether it is whole; while one is loaded its field holds that
load's own mark. In a Cluster the hash and the pointer `Keys.live` lie on different nodes, so no transaction
spans both. Whoever takes a version's wholeness away writes the hash first and the pointer, unchanged, after
it (`touch`); whoever moves the pointer watches it before reading the hash. Of the two, at least one then sees
the other: either the pointer does not move, or its move is seen before a key is gone.
"""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

import time
import uuid
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
    """The version that is live now, and the one that was."""

    version: str
    previous: str
    seconds: float


def roll_back(client: Client, keys: Keys, version: str | None = None) -> RollbackResult:
    """Make an older version live again: `version`, or the one that was live before.

    Raises `StoreError`, with the pointer where it was, when there is no such version, when it is not whole or
    live already, and when the live version changes meanwhile.
    """
    started = time.perf_counter()
    with store_errors(client):
        previous = live_version(client, keys)
        repair_live_time(client, keys)
        wanted = _whole(versions(client, keys), previous, version)
        state = client.hget(keys.versions, wanted)
        if state is None or not _move(client, keys, wanted, previous, state):
            raise StoreError(f"version {wanted}: the live version or this one has changed meanwhile: try again")
    return RollbackResult(wanted, previous, time.perf_counter() - started)


def _whole(known: list[Version], live: str, wanted: str | None) -> str:
    others = [version for version in known if version.name != live and version.published_at is not None]
    there = f"versions to go back to: {', '.join(version.name for version in others) or 'none'}"
    if wanted is None:
        if not others:
            raise StoreError(f"version {live} is live and there is no whole version to go back to")
        return others[0].name
    if wanted == live:
        raise StoreError(f"version {wanted} is live already; {there}")
    if wanted not in [version.name for version in others]:
        listed = wanted in [version.name for version in known]
        raise StoreError(f"version {wanted!r} {'is not whole' if listed else 'is not in Redis'}; {there}")
    return wanted


def begin_load(client: Client, keys: Keys, version: str) -> tuple[str, bool]:
    """Note that `version` is being loaded; the load's mark, and whether Redis may hold keys of the version.

    Raises `StoreError` when the version has just gone live.
    """
    mark = f"loading {uuid.uuid4().hex}"
    known = client.hget(keys.versions, version)
    client.hset(keys.versions, version, mark)
    if rewrite_pointer(client, keys) == version:
        record_live_time(client, keys, version)
        raise StoreError(conflict_message(version))
    return mark, known is not None


def make_live(client: Client, keys: Keys, version: str, previous: str | None, mark: str) -> None:
    """Move the pointer. Raises `StoreError` when it or the mark of this load has changed since the load began."""
    if not _move(client, keys, version, previous, mark.encode()):
        raise StoreError(conflict_message(version))


def conflict_message(version: str) -> str:
    """What to say when two publishers met."""
    return f"version {version}: another publish or rollback came between; nothing has changed, publish again"


def repair_live_time(client: Client, keys: Keys) -> None:
    """Give the live version its time where a publisher was killed between moving the pointer and noting it."""
    version = find_live_version(client, keys)
    if version is not None:
        state = client.hget(keys.versions, version)
        if state is None or not decode_text(state).isdecimal():
            record_live_time(client, keys, version)


def find_live_version(client: Any, keys: Keys) -> str | None:
    """The live version, None where nothing has been published."""
    found = client.get(keys.live)
    return None if found is None else decode_text(found)


def _move(client: Client, keys: Keys, version: str, previous: str | None, state: bytes | str) -> bool:
    """Point from `previous` to `version`, which is of `state`; False, unless both are so, and nothing moves."""
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
    """Note that a version is whole and has just gone live, by the server's clock."""
    seconds, microseconds = node_for_key(client, keys.versions).time()
    client.hset(keys.versions, version, str(seconds * 1_000_000 + microseconds))


def rewrite_pointer(client: Client, keys: Keys) -> str | None:
    """Write the pointer as it is, so that whoever watches it starts over; the live version at that moment."""
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
