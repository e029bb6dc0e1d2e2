"""Flags as administrators list, read and change them over HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime

from recsys.schema import BOT
from recsys.store.client.client import RedisClient
from recsys.store.client.connection import Reply
from recsys.store.encoding import decode_text
from recsys.store.flags import Flag, Label, decode_flag, encode_flag, encode_label, labeled_bot_flag, to_unix_ms
from recsys.store.keys import LABEL_FIELD, Keys
from serving.api import UserFlag
from serving.engine.pseudonym_key import PseudonymKey


class FlagStore:
    """Reads flags, and applies analysts' labels."""

    def __init__(
        self, redis: RedisClient, keys: Keys, pseudonym_key: PseudonymKey, now: Callable[[], float]
    ) -> None:
        """`now` gives Unix seconds."""
        self._redis, self._keys, self._pseudonym_key, self._now = redis, keys, pseudonym_key, now

    async def list(self, n: int, offset: int) -> tuple[int, list[UserFlag]]:
        """Return the number of flagged users, and `n` of their flags behind `offset`, the latest expiry first.

        Raises `StoreError`, as the other methods do.
        """
        keys, unexpired = self._keys, f"({int(self._now() * 1e3)}"
        total, members = await self._redis.execute(
            keys.flags,
            ("ZCOUNT", keys.flags, unexpired, "+inf"),
            ("ZREVRANGEBYSCORE", keys.flags, "+inf", unexpired, "LIMIT", offset, n),
        )
        users = [keys.flag(decode_text(member)) for member in members]
        values = await self._redis.execute_each([(key, ("GET", key)) for key in users])
        return total, [flag for value in values if (flag := _to_answer(value)) is not None]

    async def read(self, user_id: str) -> tuple[UserFlag | None, bool]:
        """Return the flag of a user, by the stored id, and whether an analyst has released the user."""
        keys, key = self._keys, self._keys.flag(user_id)
        value, released = await self._redis.execute_each(
            [(key, ("GET", key)), (keys.unflaggable, ("SISMEMBER", keys.unflaggable, user_id))]
        )
        return _to_answer(value), bool(released)

    async def label(self, user_id: str, label: Label) -> None:
        """Record an analyst's label in the stream, and apply it: flag a bot, release a user who is fine."""
        await self._pseudonym_key.check()
        keys, now = self._keys, datetime.fromtimestamp(self._now(), UTC)
        entry = encode_label(user_id, label, now)
        await self._redis.execute(keys.events, ("XADD", keys.events, "*", LABEL_FIELD, entry))
        if label == BOT:
            await self._flag(labeled_bot_flag(user_id, now))
        else:
            flag = keys.flag(user_id)
            await self._redis.execute(keys.unflaggable, ("SADD", keys.unflaggable, user_id))
            await self._redis.execute(flag, ("UNLINK", flag), ("UNLINK", keys.suspect(user_id)))
            await self._redis.execute(keys.flags, ("ZREM", keys.flags, user_id))
        await self._redis.wait_for_replicas(keys.events, keys.unflaggable)

    async def _flag(self, flag: Flag) -> None:
        keys, until = self._keys, to_unix_ms(flag.until)
        key = keys.flag(flag.user_id)
        await self._redis.execute(keys.unflaggable, ("SREM", keys.unflaggable, flag.user_id))
        await self._redis.execute(keys.flags, ("ZADD", keys.flags, until, flag.user_id))
        await self._redis.execute(key, ("SET", key, encode_flag(flag), "PXAT", until))


def _to_answer(value: Reply) -> UserFlag | None:
    flag = None if value is None else decode_flag(value)
    if flag is None:
        return None
    since, until = flag.since.isoformat(), flag.until.isoformat()
    return UserFlag(flag.user_id, flag.score, list(flag.reasons), flag.source, since, until)
