"""Users who want no personal lists, as servers and backends know them."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec

from recsys.schema import TIMESTAMP, USER_ID
from recsys.store.client.connect import Client, store_errors
from recsys.store.keys import ERASURE_FIELD, OPT_OUT_FIELD, Keys
from recsys.store.read import versions
from recsys.store.user_keys import LISTS, SESSIONS, read_entries_with, remove_keys, tell_servers, user_keys

IS_OPTED_OUT: Final = "is_opted_out"
USERS_PER_COMMAND: Final = 1_000


class _Change(msgspec.Struct):
    """An entry of the stream: a user has opted out, or in again."""

    user_id: str
    timestamp: datetime
    is_opted_out: bool


class _Erasure(msgspec.Struct):
    """An entry of the stream: a user is to be erased."""

    user_id: str


_decode_erasure: Final = msgspec.json.Decoder(_Erasure).decode
_decode_change: Final = msgspec.json.Decoder(_Change).decode


def put_opt_out(client: Client, keys: Keys, user_id: str, since: datetime) -> None:
    """Give a user popular lists only, and remove the session and the lists."""
    with store_errors(client):
        client.set(keys.opt_out(user_id), since.isoformat())
    _append(client, keys, user_id, since, is_opted_out=True)
    _remove_personal(client, keys, [user_id], (SESSIONS, LISTS))
    tell_servers(client, keys, [user_id])


def remove_opt_out(client: Client, keys: Keys, user_id: str, at: datetime) -> None:
    """Give a user personal lists again."""
    with store_errors(client):
        client.unlink(keys.opt_out(user_id))
    _append(client, keys, user_id, at, is_opted_out=False)


def withhold_lists(
    client: Client, keys: Keys, opted_out: Mapping[str, datetime], erased: Iterable[str]
) -> frozenset[str]:
    """Remove the lists of users who have opted out, or whose erasure is queued; return the users.

    The lake knows who has `opted_out`, and since when, and the queued erasures, and the stream what came later. An
    opt-out that Redis has lost is put back. A version that was computed before has a list of the user.
    """
    queued = {*erased, *_erased_in_stream(client, keys)}
    since = _opt_outs_with_stream(client, keys, opted_out)
    _put_back_opt_outs(client, keys, since)
    users = frozenset((*since, *queued))
    _remove_personal(client, keys, sorted(users))
    return users


def _put_back_opt_outs(client: Client, keys: Keys, since: Mapping[str, datetime]) -> None:
    users = sorted(since)
    with store_errors(client):
        for start in range(0, len(users), USERS_PER_COMMAND):
            pipeline = client.pipeline(transaction=False)
            for user_id in users[start : start + USERS_PER_COMMAND]:
                pipeline.set(keys.opt_out(user_id), since[user_id].isoformat(), nx=True)
            pipeline.execute()


def _opt_outs_with_stream(client: Client, keys: Keys, archived: Mapping[str, datetime]) -> dict[str, datetime]:
    since = dict(archived)
    for value in read_entries_with(client, keys, OPT_OUT_FIELD):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # an archive puts such an entry into quarantine
            change = _decode_change(value)
            since.pop(change.user_id, None)
            if change.is_opted_out:
                since[change.user_id] = change.timestamp
    return since


def _erased_in_stream(client: Client, keys: Keys) -> Iterator[str]:
    for value in read_entries_with(client, keys, ERASURE_FIELD):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            yield _decode_erasure(value).user_id


def _remove_personal(client: Client, keys: Keys, users: Sequence[str], kinds: Sequence[str] = (LISTS,)) -> None:
    """Remove what Redis has of users; of a version that is being loaded, its publisher does."""
    complete = [version.name for version in versions(client, keys) if version.live or version.published_at]
    held = [user_keys(keys, complete, user_id) for user_id in users]
    remove_keys(client, [name for each in held for kind in kinds for name in each[kind]])


def _append(client: Client, keys: Keys, user_id: str, at: datetime, is_opted_out: bool) -> None:
    """Append a change to the stream: an archive takes all changes into the lake in their order."""
    change = {USER_ID: user_id, TIMESTAMP: at.isoformat(), IS_OPTED_OUT: is_opted_out}
    with store_errors(client):
        entry: Any = {OPT_OUT_FIELD: msgspec.json.encode(change)}
        client.xadd(keys.events, entry)
