"""Flags of users classified as bots: one key per flagged user, which expires, and an index of all flags.

The index contains every flag: it is written first and removed last. After a process was killed it may contain users
without a flag, until `replace_nightly_flags` prunes it.
"""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from recsys.schema import BOT, LABEL, LABELED_AT, USER_ID
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import LABEL_FIELD, Keys

Label = Literal["bot", "fine"]
FlagSource = Literal["online", "nightly", "label"]

FLAGS_PER_BATCH: Final = 1_000
LABEL_FLAG_DAYS: Final = 365
"""Days for which a user stays flagged after an analyst has labeled the user a bot."""
NIGHTLY: Final = "nightly"
LABEL_REASON: Final = "an analyst says so"


@dataclass(frozen=True)
class Flag:
    """Why a user is flagged, and how long: `score` from 0 to 100, `reasons` in words, the strongest first."""

    user_id: str
    """The id as it is stored: a pseudonym if `pseudonym_key` is set."""
    score: float
    reasons: tuple[str, ...]
    source: FlagSource
    since: datetime
    until: datetime


def encode_flag(flag: Flag) -> bytes:
    """Encode a flag as the value of its key."""
    return msgspec.json.encode(flag)


def decode_flag(value: bytes | str) -> Flag | None:
    """Decode the value of a flag's key; None if another program wrote something else there.

    The user is flagged all the same, as the key exists.
    """
    try:
        return msgspec.json.decode(value, type=Flag)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def labeled_bot_flag(user_id: str, at: datetime) -> Flag:
    """Return the flag of a user whom an analyst has labeled a bot."""
    return Flag(user_id, 100.0, (LABEL_REASON,), "label", at, at + timedelta(days=LABEL_FLAG_DAYS))


def encode_label(user_id: str, label: Label, at: datetime) -> bytes:
    """Encode an analyst's label of a user as an entry of the event stream."""
    return msgspec.json.encode({USER_ID: user_id, LABEL: label, LABELED_AT: at})


def to_unix_ms(moment: datetime) -> int:
    """Return a time in Unix milliseconds, rounded up so that the index contains a flag as long as it exists."""
    return -(-int(moment.timestamp() * 1e6) // 1000)


def put_flags(client: Client, keys: Keys, flags: Sequence[Flag]) -> int:
    """Flag users, and return how many were flagged.

    A flag replaces an earlier one, but labels of analysts take precedence: users who were released or labeled bots
    are skipped, unless the flag is an analyst's label itself. Raises `StoreError`.
    """
    count = 0
    with store_errors(client):
        for start in range(0, len(flags), FLAGS_PER_BATCH):
            batch = _without_labeled_users(client, keys, flags[start : start + FLAGS_PER_BATCH])
            if batch:
                _write(client, keys, batch)
            count += len(batch)
    return count


def read_flag(client: Client, keys: Keys, user_id: str) -> Flag | None:
    """Return the flag of a user, None if the user is not flagged."""
    with store_errors(client):
        value: Any = client.get(keys.flag(user_id))
    return None if value is None else decode_flag(value)


def is_released(client: Client, keys: Keys, user_id: str) -> bool:
    """Return whether an analyst has released a user, so that the user is never flagged automatically."""
    with store_errors(client):
        return bool(client.sismember(keys.unflaggable, user_id))


def read_user_flags(client: Client, keys: Keys, users: Sequence[str]) -> list[Flag | None]:
    """Return the flag of each user, None for users without one."""
    if not users:
        return []
    with store_errors(client):
        pipeline = client.pipeline(transaction=False)
        for user_id in users:
            pipeline.get(keys.flag(user_id))
        values: list[Any] = pipeline.execute()
    return [None if value is None else decode_flag(value) for value in values]


def list_flags(client: Client, keys: Keys, now: datetime, n: int, offset: int = 0) -> list[Flag]:
    """Return `n` flags after the first `offset`, in order of expiry, the last to expire first."""
    with store_errors(client):
        members: list[Any] = client.zrevrangebyscore(keys.flags, "+inf", f"({to_unix_ms(now)}", offset, n)
        flags = read_user_flags(client, keys, [decode_text(member) for member in members])
    return [flag for flag in flags if flag is not None]


def flagged_users(client: Client, keys: Keys, now: datetime) -> list[str]:
    """Return the ids of all users flagged at `now`, in no particular order."""
    with store_errors(client):
        members: list[Any] = client.zrangebyscore(keys.flags, f"({to_unix_ms(now)}", "+inf")
    return [decode_text(member) for member in members]


def release_user(client: Client, keys: Keys, user_id: str) -> bool:
    """Remove the flag of a user and never flag the user automatically again; return whether there was one."""
    with store_errors(client):
        client.sadd(keys.unflaggable, user_id)
        removed: Any = client.unlink(keys.flag(user_id))
        client.unlink(keys.suspect(user_id))
        client.zrem(keys.flags, user_id)
    return bool(removed)


def prune_flags(client: Client, keys: Keys, now: datetime) -> int:
    """Remove expired flags from the index; return how many."""
    with store_errors(client):
        removed: Any = client.zremrangebyscore(keys.flags, "-inf", to_unix_ms(now))
    return int(removed)


def put_label(client: Client, keys: Keys, user_id: str, label: Label, at: datetime) -> None:
    """Record an analyst's label and apply it at once: `bot` flags the user, `fine` releases the user."""
    with store_errors(client):
        client.xadd(keys.events, {LABEL_FIELD: encode_label(user_id, label, at)})
        if label == BOT:
            client.srem(keys.unflaggable, user_id)
    if label == BOT:
        put_flags(client, keys, [labeled_bot_flag(user_id, at)])
    else:
        release_user(client, keys, user_id)


def replace_nightly_flags(client: Client, keys: Keys, flags: Sequence[Flag], now: datetime) -> int:
    """Replace the flags of the previous nightly run by `flags`; return how many users were flagged.

    A flag from another source that expires later stays. Expired flags are removed from the index. Raises
    `StoreError`.
    """
    prune_flags(client, keys, now)
    new = {flag.user_id: flag for flag in flags}
    users = flagged_users(client, keys, now)
    outdated: list[str] = []
    for start in range(0, len(users), FLAGS_PER_BATCH):
        batch = users[start : start + FLAGS_PER_BATCH]
        for user_id, flag in zip(batch, read_user_flags(client, keys, batch), strict=True):
            if flag is None:
                continue
            if flag.source == NIGHTLY and user_id not in new:
                outdated.append(user_id)
            elif flag.source != NIGHTLY and user_id in new and flag.until >= new[user_id].until:
                del new[user_id]
    _remove(client, keys, outdated)
    return put_flags(client, keys, [*new.values()])


def _without_labeled_users(client: Client, keys: Keys, flags: Sequence[Flag]) -> list[Flag]:
    """Return the flags of users without a label of an analyst, and flags that are such labels."""
    users = [flag.user_id for flag in flags]
    released: list[Any] = client.smismember(keys.unflaggable, users) if users else []
    present = read_user_flags(client, keys, users)
    return [
        flag
        for flag, is_released, earlier in zip(flags, released, present, strict=True)
        if flag.source == "label" or not (is_released or (earlier is not None and earlier.source == "label"))
    ]


def _write(client: Client, keys: Keys, flags: Sequence[Flag]) -> None:
    client.zadd(keys.flags, {flag.user_id: to_unix_ms(flag.until) for flag in flags})
    pipeline = client.pipeline(transaction=False)
    for flag in flags:
        pipeline.execute_command("SET", keys.flag(flag.user_id), encode_flag(flag), "PXAT", to_unix_ms(flag.until))
    pipeline.execute()


def _remove(client: Client, keys: Keys, users: Sequence[str]) -> None:
    """Remove flags, and only then their entries in the index."""
    with store_errors(client):
        for start in range(0, len(users), FLAGS_PER_BATCH):
            batch = users[start : start + FLAGS_PER_BATCH]
            pipeline = client.pipeline(transaction=False)
            for user_id in batch:
                pipeline.unlink(keys.flag(user_id))
            pipeline.execute()
            client.zrem(keys.flags, *batch)
