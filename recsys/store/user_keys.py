"""Everything that Redis holds of a user: keys of the user's own, members of sets, and entries of the stream."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from recsys.errors import StoreError
from recsys.store.client.connect import Client, primaries, store_errors
from recsys.store.encoding import decode_text
from recsys.store.event_stream import ENTRIES_PER_COMMAND, entry_time
from recsys.store.keys import ERASURE_FIELD, OPT_OUT_FIELD, Keys

SCAN_KEYS: Final = 1_000
WAIT_SECONDS: Final = 0.02
FOREVER_MS: Final = 253_370_764_800_000
"""Time of an erasure, in Unix milliseconds, after which all events of the user are refused: the year 9999."""
ERASED_SECONDS: Final = 86_400
"""Seconds for which servers are told of an erasure."""
SESSIONS, EVENT_IDS, ALIASES, FLAGS, LISTS = "sessions", "event ids", "aliases", "flags", "lists"


class _Row(msgspec.Struct):
    """What names the users of an entry of the stream."""

    user_id: str | None = None
    guest_id: str | None = None


_decode_row: Final = msgspec.json.Decoder(_Row).decode


def user_keys(keys: Keys, versions: Iterable[str], user_id: str) -> dict[str, list[str]]:
    """Return the keys of one user, by what they hold; `versions` are all that have keys in Redis."""
    per_version = (
        keys.user_items,
        keys.again_items,
        keys.new_items,
        keys.history,
        keys.disliked,
        keys.profile,
    )
    return {
        SESSIONS: [keys.session(user_id)],
        EVENT_IDS: [keys.event_ids(user_id)],
        ALIASES: [keys.alias(user_id)],
        FLAGS: [keys.flag(user_id), keys.suspect(user_id)],
        LISTS: [key(version, user_id) for version in versions for key in per_version],
    }


def erasure_mark(user_id: str) -> str:
    """Return the hash by which Redis names an erased user, by the stored id."""
    return hashlib.sha256(f"erased {user_id}".encode()).hexdigest()


def is_entry_of(fields: Mapping[bytes, bytes], users: Collection[str]) -> bool:
    """Return whether an entry of the stream is about one of some users, rather than a request about the user."""
    for name, value in fields.items():
        if name in (ERASURE_FIELD.encode(), OPT_OUT_FIELD.encode()):
            continue
        try:
            row = _decode_row(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if any(user.encode() in value for user in users):
                return True
            continue
        if row.user_id in users or row.guest_id in users:
            return True
    return False


def find_entries(
    client: Client, keys: Keys, users: Collection[str], before: datetime
) -> Iterator[tuple[str, Mapping[bytes, bytes]]]:
    """Yield id and fields of the entries of the stream about some users that came before a time."""
    for entry_id, fields in _entries(client, keys):
        if entry_time(entry_id) >= before:
            return
        if is_entry_of(fields, users):
            yield entry_id, fields


def read_entries_with(client: Client, keys: Keys, field: str) -> Iterator[bytes]:
    """Yield the values of the entries of the stream that have a field, the oldest first."""
    for _, fields in _entries(client, keys):
        if (value := fields.get(field.encode())) is not None:
            yield value


def _entries(client: Client, keys: Keys) -> Iterator[tuple[str, Mapping[bytes, bytes]]]:
    """Yield id and fields of all entries of the stream, read in blocks."""
    start = "-"
    while True:
        with store_errors(client):
            entries: Any = client.xrange(keys.events, start, "+", ENTRIES_PER_COMMAND)
        yield from ((decode_text(entry_id), fields) for entry_id, fields in entries)
        if len(entries) < ENTRIES_PER_COMMAND:
            return
        start = f"({decode_text(entries[-1][0])}"


def find_logins_in_stream(client: Client, keys: Keys, users: Collection[str]) -> set[str]:
    """Return the guests who have logged in as one of some users, as entries of the stream say."""
    found: set[str] = set()
    for _, fields in find_entries(client, keys, users, datetime.max.replace(tzinfo=UTC)):
        found |= logins_of(fields, users)
    return found


def logins_of(fields: Mapping[bytes, bytes], users: Collection[str]) -> set[str]:
    """Return the guests who have logged in as one of some users, as an entry of the stream says."""
    found: set[str] = set()
    for value in fields.values():
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            row = _decode_row(value)
            if row.guest_id is not None and row.user_id in users:
                found.add(row.guest_id)
    return found


def find_aliases(client: Client, keys: Keys, users: Collection[str]) -> set[str]:
    """Return the guests whose alias is one of some users. Scans all keys."""
    found: set[str] = set()
    with store_errors(client):
        for node in primaries(client):
            cursor: Any = -1
            while cursor != 0:
                cursor, names = node.scan(max(cursor, 0), match=keys.alias_pattern, count=SCAN_KEYS)
                for name, value in zip(names, _values(node, names), strict=True):
                    if value is not None and decode_text(value) in users:
                        found.add(keys.guest_of_alias(decode_text(name)))
    return found


def find_users(client: Client, keys: Keys) -> Iterator[str]:
    """Yield the users who have keys or entries of the stream, some of them several times. Scans all keys."""
    with store_errors(client):
        for node in primaries(client):
            names: Any = node.scan_iter(match=keys.user_pattern, count=SCAN_KEYS)
            for name in names:
                yield keys.user_of_key(decode_text(name))
    for _, fields in _entries(client, keys):
        for value in fields.values():
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                row = _decode_row(value)
                yield from (user for user in (row.user_id, row.guest_id) if user is not None)


def read_key(client: Client, key: str) -> Any:
    """Return the value of a key: text, pairs of member and score, or fields; None if it is not there."""
    with store_errors(client):
        kind = decode_text(client.type(key))
        if kind == "string":
            value: Any = client.get(key)
            return None if value is None else decode_text(value)
        if kind == "zset":
            members: Any = client.zrange(key, 0, -1, withscores=True)
            return [[decode_text(member), score] for member, score in members]
        if kind == "hash":
            fields: Any = client.hgetall(key)
            return {decode_text(name): decode_text(value) for name, value in fields.items()}
    return None


def existing_keys(client: Client, names: Sequence[str]) -> list[str]:
    """Return those of some keys that exist."""
    found: list[str] = []
    with store_errors(client):
        for start in range(0, len(names), SCAN_KEYS):
            part = names[start : start + SCAN_KEYS]
            pipeline = client.pipeline(transaction=False)
            for name in part:
                pipeline.type(name)
            kinds: list[Any] = pipeline.execute()
            found += [name for name, kind in zip(part, kinds, strict=True) if decode_text(kind) != "none"]
    return found


def remove_keys(client: Client, names: Sequence[str]) -> int:
    """Remove keys; return how many there were."""
    removed = 0
    with store_errors(client):
        for start in range(0, len(names), SCAN_KEYS):
            pipeline = client.pipeline(transaction=False)
            for name in names[start : start + SCAN_KEYS]:
                pipeline.unlink(name)
            removed += sum(int(reply) for reply in pipeline.execute())
    return removed


def trim_session(client: Client, key: str, before: datetime) -> int:
    """Remove the events of a session that were before a time; return how many."""
    with store_errors(client):
        removed: Any = client.zremrangebyscore(key, "-inf", f"({before.timestamp() * 1e3:.0f}")
    return int(removed)


def tell_servers(client: Client, keys: Keys, users: Iterable[str], is_forever: bool = False) -> None:
    """Make servers forget what they remember of users, and refuse their events: earlier ones, or all."""
    now_ms = int(time.time() * 1e3)
    marks = {erasure_mark(user): FOREVER_MS if is_forever else now_ms for user in users}
    with store_errors(client):
        client.zremrangebyscore(keys.erased, "-inf", now_ms - ERASED_SECONDS * 1_000)
        if marks:
            client.zadd(keys.erased, marks, gt=True)


def rewrite_files(client: Client) -> bool:
    """Make the servers write their files anew, and wait; return False if they do not let this user.

    What was removed from memory stays in an append-only file, or in a snapshot, until then.
    """
    try:
        with store_errors(client):
            for node in primaries(client):
                info: Any = node.info("persistence")
                _wait_for_background(node)
                if int(info["aof_enabled"]):
                    node.bgrewriteaof()
                else:
                    saves: Any = node.config_get("save")
                    if saves.get("save"):
                        node.bgsave()
                _wait_for_background(node)
    except StoreError:
        return False
    return True


def _wait_for_background(node: Any) -> None:
    """Wait until a server writes no file in the background."""
    names = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    while True:
        info = node.info("persistence")
        if not any(int(info[name]) for name in names):
            return
        time.sleep(WAIT_SECONDS)


def _values(node: Any, names: Sequence[Any]) -> list[Any]:
    pipeline = node.pipeline(transaction=False)
    for name in names:
        pipeline.get(name)
    return pipeline.execute() if names else []
