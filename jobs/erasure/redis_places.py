"""The places of Redis that hold data of persons: keys of their own, members of sets, entries of the stream."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from typing import Any, Final

from jobs.erasure.persons import Installation, Persons
from jobs.erasure.place import Place
from recsys.store.client.connect import store_errors
from recsys.store.encoding import decode_text
from recsys.store.flags import decode_flag
from recsys.store.read import Version, versions
from recsys.store.user_keys import (
    ALIASES,
    EVENT_IDS,
    FLAGS,
    LISTS,
    SESSIONS,
    existing_keys,
    find_entries,
    read_key,
    remove_keys,
    trim_session,
    user_keys,
)

ENTRIES_PER_COMMAND: Final = 1_000


def key_place(name: str, kind: str) -> Place:
    """Return the place of the keys of users that hold values of a kind, see `user_keys`."""

    def find(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
        for key in existing_keys(installation.client, _names(installation, persons, kind)):
            yield {"key": key, "value": read_key(installation.client, key)}

    def erase(installation: Installation, persons: Persons) -> int:
        return remove_keys(installation.client, _names(installation, persons, kind))

    return Place(name, find, erase)


def find_sessions(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the sessions of persons, with the events before their erasure."""
    before_ms = persons.before.timestamp() * 1e3
    for key in existing_keys(installation.client, _names(installation, persons, SESSIONS)):
        events = [event for event in read_key(installation.client, key) or () if event[1] < before_ms]
        if events:
            yield {"key": key, "value": events}


def erase_sessions(installation: Installation, persons: Persons) -> int:
    """Remove the events of persons from their sessions."""
    names = existing_keys(installation.client, _names(installation, persons, SESSIONS))
    return sum(trim_session(installation.client, key, persons.before) for key in names)


def find_event_ids(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the ids of events of persons, except where only later events than theirs are in the session."""
    for user_id in persons.series:
        key, session = installation.keys.event_ids(user_id), installation.keys.session(user_id)
        if not existing_keys(installation.client, [key]):
            continue
        events: Any = read_key(installation.client, session)
        if not events or min(at for _, at in events) < persons.before.timestamp() * 1e3:
            yield {"key": key, "value": read_key(installation.client, key)}


def erase_event_ids(installation: Installation, persons: Persons) -> int:
    """Remove the ids of events of persons."""
    return remove_keys(installation.client, _names(installation, persons, EVENT_IDS))


def find_flags(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the flags of persons from before their erasure, marks of suspects, and entries in sets of users."""
    client, keys, ids = installation.client, installation.keys, persons.series.to_list()
    for key in existing_keys(installation.client, _names(installation, persons, FLAGS)):
        value = read_key(installation.client, key)
        flag = decode_flag(value) if value else None
        if flag is None or flag.since < persons.before:
            yield {"key": key, "value": value}
    with store_errors(client):
        released: Any = client.smismember(keys.unflaggable, ids)
        listed: Any = client.zmscore(keys.flags, ids)
    for user_id, is_released, until in zip(ids, released, listed, strict=True):
        if is_released:
            yield {"key": keys.unflaggable, "value": user_id}
        if until is not None and not existing_keys(client, [keys.flag(user_id)]):
            yield {"key": keys.flags, "value": user_id}


def erase_flags(installation: Installation, persons: Persons) -> int:
    """Remove flags, marks of suspects, and the entries of persons in the sets of flagged and released users."""
    client, keys, ids = installation.client, installation.keys, persons.series.to_list()
    removed = remove_keys(client, _names(installation, persons, FLAGS))
    with store_errors(client):
        client.zrem(keys.flags, *ids)
        released: Any = client.srem(keys.unflaggable, *ids)
    return removed + int(released)


def find_stream(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the entries of the stream about persons that are not archived yet."""
    found = find_entries(installation.client, installation.keys, persons.ids, persons.before)
    for entry_id, fields in found:
        texts = {decode_text(name): value.decode(errors="replace") for name, value in fields.items()}
        yield {"key": installation.keys.events, "entry": entry_id, "value": texts}


def erase_stream(installation: Installation, persons: Persons) -> int:
    """Remove the entries of the stream about persons."""
    client, keys = installation.client, installation.keys
    ids = [entry_id for entry_id, _ in find_entries(client, keys, persons.ids, persons.before)]
    removed = 0
    with store_errors(client):
        for start in range(0, len(ids), ENTRIES_PER_COMMAND):
            deleted: Any = client.xdel(keys.events, *ids[start : start + ENTRIES_PER_COMMAND])
            removed += int(deleted)
    return removed


def _names(installation: Installation, persons: Persons, kind: str) -> list[str]:
    """Return the keys of a kind of all persons, those of versions made before they were erased."""
    known = [
        version.name
        for version in versions(installation.client, installation.keys)
        if _is_searched(version, persons)
    ]
    return [name for user in persons.series for name in user_keys(installation.keys, known, user)[kind]]


def _is_searched(version: Version, persons: Persons) -> bool:
    if version.published_at is None:
        return persons.has_loading or version.live
    return version.published_at <= persons.computed_before


REDIS_PLACES: Final = (
    Place("redis stream", find_stream, erase_stream),
    Place("redis sessions", find_sessions, erase_sessions),
    Place("redis event ids", find_event_ids, erase_event_ids),
    key_place("redis aliases", ALIASES),
    Place("redis flags", find_flags, erase_flags),
    key_place("redis lists", LISTS),
)
