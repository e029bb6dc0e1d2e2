"""The flags that the nightly run sets: those of the last run stand, all earlier ones of its kind go."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from recsys.store.connection import Client, store_errors
from recsys.store.flags import BLOCK, Flag, decode_flag, flagged_users, put_flags
from recsys.store.keys import Keys

NIGHTLY = "nightly"


def replace_nightly_flags(client: Client, keys: Keys, flags: Sequence[Flag], now: datetime) -> int:
    """Hold back the users of `flags`, and no longer those whom only an earlier run held back; how many are held.

    A flag of another source that lasts longer stays. Raises `StoreError`.
    """
    wanted = {flag.user_id: flag for flag in flags}
    users = flagged_users(client, keys, now)
    gone: list[str] = []
    for start in range(0, len(users), BLOCK):
        for user_id, flag in _read(client, keys, users[start : start + BLOCK]).items():
            if flag.source == NIGHTLY and user_id not in wanted:
                gone.append(user_id)
            elif flag.source != NIGHTLY and user_id in wanted and flag.until >= wanted[user_id].until:
                del wanted[user_id]
    _drop(client, keys, gone)
    return put_flags(client, keys, [*wanted.values()])


def _read(client: Client, keys: Keys, users: Sequence[str]) -> dict[str, Flag]:
    """The flags of those users who have one that can be read."""
    with store_errors(client):
        pipeline = client.pipeline(transaction=False)
        for user_id in users:
            pipeline.get(keys.flag(user_id))
        values: list[Any] = pipeline.execute()
    flags = (None if value is None else decode_flag(value) for value in values)
    return {user_id: flag for user_id, flag in zip(users, flags, strict=True) if flag is not None}


def _drop(client: Client, keys: Keys, users: Sequence[str]) -> None:
    """Remove flags, the index last, which may name too many and never too few."""
    with store_errors(client):
        for start in range(0, len(users), BLOCK):
            part = users[start : start + BLOCK]
            pipeline = client.pipeline(transaction=False)
            for user_id in part:
                pipeline.unlink(keys.flag(user_id))
            pipeline.execute()
            client.zrem(keys.flags, *part)
