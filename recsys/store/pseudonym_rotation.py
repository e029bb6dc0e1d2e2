"""Move what Redis holds of users to other pseudonyms: planned in a file first, so that a killed process can go on.

The plan lists every key of a user, and every user in an index. Each is moved for itself: what was moved is not
found under its former id again, and a new id is in no plan.
"""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from recsys.files import atomic_write
from recsys.pseudonyms import Pseudonyms
from recsys.store.client.connect import Client, primaries, store_errors
from recsys.store.encoding import decode_text
from recsys.store.flags import decode_flag, encode_flag
from recsys.store.keys import Keys, UserKey

BATCH: Final = 500
SCAN_COUNT: Final = 1_000


class PlannedKey(Struct, frozen=True):
    """A key of one user, or one user in an index of all users."""

    key: str
    member: str | None = None
    """The user in the index; None for a key of the user."""
    score: float | None = None
    """The user's score in a sorted set."""


def plan_rotation(client: Client, keys: Keys, file: Path) -> int:
    """List in a file what is to be moved, unless it is there; return the number of entries."""
    if not file.exists():
        with atomic_write(file) as temporary, temporary.open("wb") as plan:
            for entry in _find(client, keys):
                plan.write(msgspec.json.encode(entry) + b"\n")
    with file.open("rb") as plan:
        return sum(1 for _ in plan)


def move_users(
    client: Client, keys: Keys, file: Path, added: Pseudonyms, on_entries: Callable[[int], None]
) -> None:
    """Move every entry of a plan to the pseudonym that `added` makes of its user."""
    decoder = msgspec.json.Decoder(PlannedKey)
    with file.open("rb") as plan, store_errors(client):
        while entries := [decoder.decode(line) for line in islice(plan, BATCH)]:
            _move_members(client, [entry for entry in entries if entry.member is not None], added)
            _move_keys(client, keys, [entry.key for entry in entries if entry.member is None], added)
            on_entries(len(entries))


def _find(client: Client, keys: Keys) -> Iterator[PlannedKey]:
    with store_errors(client):
        for node in primaries(client):
            names: Iterator[Any] = node.scan_iter(f"{keys.namespace}:*", count=SCAN_COUNT)
            texts = map(decode_text, names)
            yield from (PlannedKey(text) for text in texts if keys.parse_user_key(text) is not None)
        flagged: Iterator[Any] = client.zscan_iter(keys.flags)
        yield from (PlannedKey(keys.flags, decode_text(member), float(score)) for member, score in flagged)
        released: Iterator[Any] = client.sscan_iter(keys.unflaggable)
        yield from (PlannedKey(keys.unflaggable, decode_text(member)) for member in released)


def _move_members(client: Client, entries: Sequence[PlannedKey], added: Pseudonyms) -> None:
    """Add the new members of indexes, and only then remove the former ones."""
    for entry in entries:
        assert entry.member is not None
        member = added.user(entry.member)
        if member == entry.member:
            continue
        if entry.score is None:
            client.sadd(entry.key, member)
            client.srem(entry.key, entry.member)
        else:
            client.zadd(entry.key, {member: entry.score})
            client.zrem(entry.key, entry.member)


def _move_keys(client: Client, keys: Keys, names: Sequence[str], added: Pseudonyms) -> None:
    """Write the new keys, and only then remove the former ones."""
    parsed = [(name, key) for name in names if (key := keys.parse_user_key(name)) is not None]
    given = [(name, key) for name, key in parsed if added.user(key.user_id) != key.user_id]
    _hide_events(client, [(name, key) for name, key in parsed if added.user(key.user_id) == key.user_id], added)
    reads = client.pipeline(transaction=False)
    for name, key in given:
        reads.pttl(name)
        _READS[key.type](reads, name)
    replies: list[Any] = reads.execute()
    writes = client.pipeline(transaction=False)
    for (_, key), milliseconds, value in zip(given, replies[::2], replies[1::2], strict=True):
        if value:
            _write(writes, key.renamed(added.user(key.user_id)), key, value, milliseconds, added)
    writes.execute()
    removals = client.pipeline(transaction=False)
    for name, _ in given:
        removals.unlink(name)
    removals.execute()


def _hide_events(client: Client, given: Sequence[tuple[str, UserKey]], added: Pseudonyms) -> None:
    """Replace the ids of events in the sessions of users whose own ids stay, and forget those given by clients.

    What is sent again is then compared with the lake only.
    """
    for name, key in given:
        if key.type == "zset":
            acts: Any = client.zrange(name, 0, -1, withscores=True)
            if acts:
                client.zadd(name, {_new_act(decode_text(act), added): score for act, score in acts})
                client.zrem(name, *(act for act, _ in acts))
        elif key.type == "hash":
            client.unlink(name)


_READS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "string": lambda pipeline, name: pipeline.get(name),
    "hash": lambda pipeline, name: pipeline.hgetall(name),
    "zset": lambda pipeline, name: pipeline.zrange(name, 0, -1, withscores=True),
}


def _write(pipeline: Any, name: str, key: UserKey, value: Any, milliseconds: int, added: Pseudonyms) -> None:
    """Write the value of a key under a new name, with new ids in it, and its time to live."""
    expiry = ("PX", milliseconds) if milliseconds > 0 else ()
    if key.type == "string":
        pipeline.execute_command("SET", name, _new_text(key.kind, value, added), *expiry)
        return
    if key.type == "hash":
        fields = ((added.event(decode_text(event_id)), checksum) for event_id, checksum in value.items())
        pipeline.execute_command("HSET", name, *chain.from_iterable(fields))
    else:
        acts = (_new_act(decode_text(act), added) for act, _ in value)
        scores = (score for _, score in value)
        pipeline.execute_command("ZADD", name, *chain.from_iterable(zip(scores, acts, strict=True)))
    if expiry:
        pipeline.pexpire(name, milliseconds)


def _new_text(kind: str, value: bytes, added: Pseudonyms) -> bytes | str:
    """Return the value of a string: the user of an alias and of a flag has a new id, others name no user."""
    if kind == "alias":
        return added.user(decode_text(value))
    flag = decode_flag(value) if kind == "flag" else None
    return value if flag is None else encode_flag(replace(flag, user_id=added.user(flag.user_id)))


def _new_act(act: str, added: Pseudonyms) -> str:
    """Return an entry of a session, which begins with the id of the event."""
    event_id, _, rest = act.partition(" ")
    return f"{added.event(event_id)} {rest}"
