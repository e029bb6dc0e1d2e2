"""What a user's own Redis is set up to do: version, memory, eviction, and the commands that the user may run."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
from redis.exceptions import NoPermissionError, ResponseError

from recsys.store.client.connect import Client, describe_server, primaries, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import POPULAR, Keys

CHECK_MS: Final = 10_000
VALUE: Final = "1"
NO_PERMISSION: Final = "NOPERM"  # in the reply to a refused EXEC, which aborts the transaction


@dataclass(frozen=True)
class ServerState:
    """One server, as its INFO describes it."""

    address: str
    name: str
    """Redis or Valkey."""
    version: tuple[int, ...]
    """The version of Redis that it is compatible with."""
    used_bytes: int
    max_bytes: int
    """`maxmemory`; 0 if there is none."""
    policy: str
    """`maxmemory-policy`."""
    is_append_only: bool
    """Whether it writes each change to a file."""
    replicas: int
    """Number of replicas that follow it."""
    is_replica: bool
    """Whether it copies another server, and takes no writes."""

    @property
    def is_evicting(self) -> bool:
        """Return whether it removes lists and events when its memory is full."""
        return self.policy.startswith("allkeys") and self.max_bytes > 0


def read_server_states(client: Client) -> list[ServerState]:
    """Return the state of each server that holds keys; raises `StoreError` if one does not tell."""
    with store_errors(client):
        return [_read_state(node) for node in primaries(client)]


def refused_commands(client: Client, keys: Keys) -> list[str]:
    """Return the commands of the engine that the user may not run, by name.

    The server is asked by ACL DRYRUN, which it has from Redis 7 on and tells only some users. Else the commands are
    tried on a key of their own, `keys.check`, which is a string: those that would write another type fail.
    """
    return _names(_refused(client, _commands(keys.check)))


def refused_keys(client: Client, keys: Keys) -> list[str]:
    """Return the kinds of keys that the user may not use although it may use others, each as one key of it."""
    refused = _refused(client, [("GET", key) for key in (keys.check, *_kinds(keys))])
    names = [str(command[1]) for command in refused]
    return [] if keys.check in names else names


def _commands(key: str) -> list[tuple[Any, ...]]:
    """Return every command of jobs and of the server, with arguments that change no data but the key's."""
    return [
        ("SET", key, VALUE, "PX", CHECK_MS),
        ("MSET", key, VALUE),
        ("GET", key),
        ("TYPE", key),
        ("MGET", key),
        ("PEXPIRE", key, CHECK_MS),
        ("PTTL", key),
        ("MEMORY USAGE", key),
        ("BITFIELD", key, "GET", "u8", 0),
        ("EVAL", "return 1", 1, key),
        ("HSET", key, VALUE, VALUE),
        ("HGET", key, VALUE),
        ("HMGET", key, VALUE),
        ("HGETALL", key),
        ("HKEYS", key),
        ("HLEN", key),
        ("HSCAN", key, 0),
        ("HDEL", key, VALUE),
        ("HINCRBY", key, VALUE, 1),
        ("SADD", key, VALUE),
        ("SREM", key, VALUE),
        ("SISMEMBER", key, VALUE),
        ("SMISMEMBER", key, VALUE),
        ("SMEMBERS", key),
        ("SSCAN", key, 0),
        ("ZADD", key, 1, VALUE),
        ("ZREM", key, VALUE),
        ("ZCARD", key),
        ("ZRANGE", key, 0, 0),
        ("ZRANGEBYSCORE", key, 0, 0),
        ("ZREVRANGE", key, 0, 0),
        ("ZREVRANGEBYSCORE", key, 0, 0),
        ("ZCOUNT", key, 0, 0),
        ("ZSCAN", key, 0),
        ("ZREMRANGEBYSCORE", key, 0, 0),
        ("ZMSCORE", key, VALUE),
        ("XADD", key, "*", VALUE, VALUE),
        ("XRANGE", key, "-", "+"),
        ("XDEL", key, "1-1"),
        ("XREVRANGE", key, "+", "-"),
        ("XREAD", "COUNT", 1, "STREAMS", key, 0),
        ("XLEN", key),
        ("XTRIM", key, "MAXLEN", 1),
        ("PFADD", key, VALUE),
        ("PFCOUNT", key),
        ("SCAN", 0),
        ("DBSIZE",),
        ("INFO", "memory"),
        ("TIME",),
        ("WAIT", 0, 1),
        ("PING",),
        ("WATCH", key),
        ("MULTI",),
        ("EXEC",),
        ("UNWATCH",),
        ("DEL", key),
        ("UNLINK", key),
    ]


def _kinds(keys: Keys) -> list[str]:
    """Return one key of each kind, whether it exists or not."""
    of_id = (keys.session, keys.event_ids, keys.alias, keys.flag, keys.suspect, keys.opt_out)
    of_version = (
        keys.user_items,
        keys.again_items,
        keys.new_items,
        keys.similar_items,
        keys.bought_together,
        keys.history,
        keys.disliked,
        keys.profile,
    )
    return [
        *(keys.live, keys.versions, keys.removed_versions, keys.sizes, keys.flags, keys.unflaggable, keys.salt),
        *(keys.unavailable, keys.erased, keys.events, keys.items, keys.item_changes, keys.rates(1, 0)),
        *(keys.active(0), keys.quota(VALUE), keys.catalogue(VALUE), keys.ranking(VALUE, POPULAR)),
        *(key(VALUE) for key in of_id),
        *(key(VALUE, VALUE) for key in of_version),
    ]


def _refused(client: Client, commands: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    with store_errors(client):
        node = primaries(client)[0]
        try:
            return _ask(node, commands)
        except ResponseError:
            return _try(node, commands)


def _names(commands: Sequence[tuple[Any, ...]]) -> list[str]:
    return [str(command[0]) for command in commands]


def _ask(node: redis.Redis, commands: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    user = _text(node.execute_command("ACL WHOAMI"))
    return [
        command for command in commands if _text(node.execute_command("ACL DRYRUN", user, *_split(command))) != "OK"
    ]


def _text(reply: Any) -> str:
    return decode_text(cast(bytes | str, reply))


def _try(node: redis.Redis, commands: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    refused: list[tuple[Any, ...]] = []
    with node.client() as connection:  # WATCH, MULTI and EXEC belong to one connection
        for command in commands:
            try:
                connection.execute_command(*command)
            except ResponseError as error:  # of other kinds, the command may be run, and fails on a string
                if isinstance(error, NoPermissionError) or NO_PERMISSION in str(error):
                    refused.append(command)
    return refused


def _split(command: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*str(command[0]).split(" "), *command[1:])


def _read_state(node: redis.Redis) -> ServerState:
    info: dict[str, Any] = node.info()  # pyright: ignore[reportAssignmentType]
    return ServerState(
        address=describe_server(node),
        name="Valkey" if "valkey_version" in info else "Redis",
        version=tuple(int(part) for part in str(info["redis_version"]).split(".") if part.isdigit()),
        used_bytes=int(info["used_memory"]),
        max_bytes=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "noeviction")),
        is_append_only=bool(info.get("aof_enabled", 0)),
        replicas=int(info.get("connected_slaves", 0)),
        is_replica=info.get("role") == "slave",
    )
