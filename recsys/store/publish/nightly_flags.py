"""The flags that the nightly run sets: those of the last run stand, all earlier ones of its kind go."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from datetime import datetime

from recsys.store.client.connect import Client, store_errors
from recsys.store.flags import FLAGS_PER_BATCH, Flag, flagged_users, put_flags, read_user_flags
from recsys.store.keys import Keys

NIGHTLY = "nightly"


def replace_nightly_flags(client: Client, keys: Keys, flags: Sequence[Flag], now: datetime) -> int:
    """Hold back the users of `flags`, and no longer those whom only an earlier run held back; how many are held.

    A flag of another source that lasts longer stays. Raises `StoreError`.
    """
    wanted = {flag.user_id: flag for flag in flags}
    users = flagged_users(client, keys, now)
    gone: list[str] = []
    for start in range(0, len(users), FLAGS_PER_BATCH):
        part = users[start : start + FLAGS_PER_BATCH]
        for user_id, flag in zip(part, read_user_flags(client, keys, part), strict=True):
            if flag is None:
                continue
            if flag.source == NIGHTLY and user_id not in wanted:
                gone.append(user_id)
            elif flag.source != NIGHTLY and user_id in wanted and flag.until >= wanted[user_id].until:
                del wanted[user_id]
    _drop(client, keys, gone)
    return put_flags(client, keys, [*wanted.values()])


def _drop(client: Client, keys: Keys, users: Sequence[str]) -> None:
    """Remove flags, the index last, which may name too many and never too few."""
    with store_errors(client):
        for start in range(0, len(users), FLAGS_PER_BATCH):
            part = users[start : start + FLAGS_PER_BATCH]
            pipeline = client.pipeline(transaction=False)
            for user_id in part:
                pipeline.unlink(keys.flag(user_id))
            pipeline.execute()
            client.zrem(keys.flags, *part)
