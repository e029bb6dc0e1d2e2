"""Who is held back, and why: a flag a user, which expires, and an index of all of them.

The index names every flag there is: it is written first and removed last, so that what it says too much of, after a
process was killed, expires with it.
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
"""How long a user whom an analyst calls a bot is held back."""
LABEL_REASON: Final = "an analyst says so"


@dataclass(frozen=True)
class Flag:
    """Why a user is held back, and how long: `score` from 0 to 100, `reasons` in words, the weightiest first."""

    user_id: str
    """As it is stored: a pseudonym, where there is a key for it."""
    score: float
    reasons: tuple[str, ...]
    source: FlagSource
    since: datetime
    until: datetime


def encode_flag(flag: Flag) -> bytes:
    """A flag as the value of its key."""
    return msgspec.json.encode(flag)


def decode_flag(value: bytes | str) -> Flag | None:
    """The flag that a value holds; None where something else was written there.

    Whatever it is, its user is held back: the key says so by being there.
    """
    try:
        return msgspec.json.decode(value, type=Flag)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def labeled_bot_flag(user_id: str, at: datetime) -> Flag:
    """The flag of a user whom an analyst calls a bot."""
    return Flag(user_id, 100.0, (LABEL_REASON,), "label", at, at + timedelta(days=LABEL_FLAG_DAYS))


def encode_label(user_id: str, label: Label, at: datetime) -> bytes:
    """What an analyst says of a user, as an entry of the stream."""
    return msgspec.json.encode({USER_ID: user_id, LABEL: label, LABELED_AT: at})


def to_unix_ms(moment: datetime) -> int:
    """A moment in Unix milliseconds, rounded up: a flag is in the index as long as it is there."""
    return -(-int(moment.timestamp() * 1e6) // 1000)


def put_flags(client: Client, keys: Keys, flags: Sequence[Flag]) -> int:
    """Hold users back, each until the flag says; returns how many.

    A flag takes the place of another, but what an analyst says stands: users who were released are left out, as are
    those who were called bots, unless the flag is an analyst's too. Raises `StoreError`.
    """
    count = 0
    with store_errors(client):
        for start in range(0, len(flags), FLAGS_PER_BATCH):
            part = _not_judged(client, keys, flags[start : start + FLAGS_PER_BATCH])
            if part:
                _write(client, keys, part)
            count += len(part)
    return count


def read_flag(client: Client, keys: Keys, user_id: str) -> Flag | None:
    """Why a user is held back; None where the user is not."""
    with store_errors(client):
        value: Any = client.get(keys.flag(user_id))
    return None if value is None else decode_flag(value)


def is_released(client: Client, keys: Keys, user_id: str) -> bool:
    """Whether an analyst has released a user, who is never flagged automatically then."""
    with store_errors(client):
        return bool(client.sismember(keys.unflaggable, user_id))


def read_user_flags(client: Client, keys: Keys, users: Sequence[str]) -> list[Flag | None]:
    """The flag of each user, None where there is none."""
    if not users:
        return []
    with store_errors(client):
        pipeline = client.pipeline(transaction=False)
        for user_id in users:
            pipeline.get(keys.flag(user_id))
        values: list[Any] = pipeline.execute()
    return [None if value is None else decode_flag(value) for value in values]


def list_flags(client: Client, keys: Keys, now: datetime, n: int, offset: int = 0) -> list[Flag]:
    """The `n` flags behind the first `offset`, those that expire last first."""
    with store_errors(client):
        members: list[Any] = client.zrevrangebyscore(keys.flags, "+inf", f"({to_unix_ms(now)}", offset, n)
        found = read_user_flags(client, keys, [decode_text(member) for member in members])
    return [flag for flag in found if flag is not None]


def flagged_users(client: Client, keys: Keys, now: datetime) -> list[str]:
    """Everyone who is held back at `now`, in no order."""
    with store_errors(client):
        members: list[Any] = client.zrangebyscore(keys.flags, f"({to_unix_ms(now)}", "+inf")
    return [decode_text(member) for member in members]


def release_user(client: Client, keys: Keys, user_id: str) -> bool:
    """Hold a user back no longer, nor again automatically; whether the user was held back."""
    with store_errors(client):
        client.sadd(keys.unflaggable, user_id)
        removed: Any = client.unlink(keys.flag(user_id))
        client.unlink(keys.suspect(user_id))
        client.zrem(keys.flags, user_id)
    return bool(removed)


def prune_flags(client: Client, keys: Keys, now: datetime) -> int:
    """Remove what has expired from the index; how many."""
    with store_errors(client):
        removed: Any = client.zremrangebyscore(keys.flags, "-inf", to_unix_ms(now))
    return int(removed)


def put_label(client: Client, keys: Keys, user_id: str, label: Label, at: datetime) -> None:
    """Keep what an analyst says of a user, and act on it at once: a bot is held back, who is fine is released."""
    with store_errors(client):
        client.xadd(keys.events, {LABEL_FIELD: encode_label(user_id, label, at)})
        if label == BOT:
            client.srem(keys.unflaggable, user_id)
    if label == BOT:
        put_flags(client, keys, [labeled_bot_flag(user_id, at)])
    else:
        release_user(client, keys, user_id)


def _not_judged(client: Client, keys: Keys, flags: Sequence[Flag]) -> list[Flag]:
    """The flags of users of whom no analyst has said anything, and those of analysts."""
    users = [flag.user_id for flag in flags]
    released: list[Any] = client.smismember(keys.unflaggable, users) if users else []
    known = read_user_flags(client, keys, users)
    return [
        flag
        for flag, allowed, before in zip(flags, released, known, strict=True)
        if flag.source == "label" or not (allowed or (before is not None and before.source == "label"))
    ]


def _write(client: Client, keys: Keys, flags: Sequence[Flag]) -> None:
    client.zadd(keys.flags, {flag.user_id: to_unix_ms(flag.until) for flag in flags})
    pipeline = client.pipeline(transaction=False)
    for flag in flags:
        pipeline.execute_command("SET", keys.flag(flag.user_id), encode_flag(flag), "PXAT", to_unix_ms(flag.until))
    pipeline.execute()
