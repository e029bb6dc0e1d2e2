"""Users who want no personal lists, as servers and backends know them."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from recsys.schema import TIMESTAMP, USER_ID
from recsys.store.client.connect import Client, store_errors
from recsys.store.keys import OPT_OUT_FIELD, Keys
from recsys.store.read import versions
from recsys.store.user_keys import LISTS, SESSIONS, read_entries_with, remove_keys, tell_servers, user_keys

IS_OPTED_OUT: Final = "is_opted_out"


class _Change(msgspec.Struct):
    """An entry of the stream: a user has opted out, or in again."""

    user_id: str
    timestamp: datetime
    is_opted_out: bool


_decode_change: Final = msgspec.json.Decoder(_Change).decode


def put_opt_out(client: Client, keys: Keys, user_id: str, since: datetime) -> None:
    """Give a user popular lists only, and remove the session and the lists."""
    with store_errors(client):
        client.set(keys.opt_out(user_id), since.isoformat())
    _append(client, keys, user_id, since, is_opted_out=True)
    _remove_personal(client, keys, [user_id])
    tell_servers(client, keys, [user_id])


def remove_opt_out(client: Client, keys: Keys, user_id: str, at: datetime) -> None:
    """Give a user personal lists again."""
    with store_errors(client):
        client.unlink(keys.opt_out(user_id))
    _append(client, keys, user_id, at, is_opted_out=False)


def apply_opt_outs(client: Client, keys: Keys, archived: Mapping[str, datetime]) -> int:
    """Put back the opt-outs that Redis has lost, and remove the lists of all who have opted out; return how many.

    `archived` are the users of the lake who have opted out, and since when; the stream says who has changed it
    since. A version that was computed before an opt-out has a list of the user.
    """
    since = dict(archived)
    for value in read_entries_with(client, keys, OPT_OUT_FIELD):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # an archive puts such an entry into quarantine
            change = _decode_change(value)
            since.pop(change.user_id, None)
            if change.is_opted_out:
                since[change.user_id] = change.timestamp
    with store_errors(client):
        for user_id, at in since.items():
            client.set(keys.opt_out(user_id), at.isoformat(), nx=True)
    _remove_personal(client, keys, sorted(since))
    return len(since)


def _remove_personal(client: Client, keys: Keys, users: list[str]) -> None:
    names = [version.name for version in versions(client, keys)] if users else []
    for user_id in users:
        held = user_keys(keys, names, user_id)
        remove_keys(client, [*held[SESSIONS], *held[LISTS]])


def _append(client: Client, keys: Keys, user_id: str, at: datetime, is_opted_out: bool) -> None:
    """Append a change to the stream: an archive takes all changes into the lake in their order."""
    change = {USER_ID: user_id, TIMESTAMP: at.isoformat(), IS_OPTED_OUT: is_opted_out}
    with store_errors(client):
        entry: Any = {OPT_OUT_FIELD: msgspec.json.encode(change)}
        client.xadd(keys.events, entry)
