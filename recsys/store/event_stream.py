"""The stream of what was taken in online: read in blocks from its start, and trimmed once a block is safe."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys

MAX_SEQUENCE: Final = 2**64 - 1


@dataclass(frozen=True)
class Entry:
    """One entry of the stream."""

    id: str
    """As in 1514764799123-0."""
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True)
class StreamState:
    """What waits in the stream."""

    entries: int
    oldest: datetime | None
    """When the entry that waits longest was taken in, by the server's clock."""


def entry_sort_key(entry_id: str) -> tuple[int, int]:
    """What ids of entries are sorted by: milliseconds, and the number within one.

    >>> entry_sort_key("9-10") > entry_sort_key("9-9")
    True
    """
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def last_entry_id(client: Client, keys: Keys) -> str | None:
    """The id of the entry that came last, None where the stream is empty."""
    with store_errors(client):
        found: Any = client.xrevrange(keys.events, count=1)
    return decode_text(found[0][0]) if found else None


def read_entries(client: Client, keys: Keys, until: str, count: int) -> list[Entry]:
    """The first `count` entries of the stream, up to and with the one of id `until`, in order."""
    with store_errors(client):
        found: Any = client.xrange(keys.events, "-", until, count)
    return [Entry(decode_text(entry_id), fields) for entry_id, fields in found]


def remove_entries(client: Client, keys: Keys, until: str) -> int:
    """Remove the entries up to and with the one of id `until`, none that came after; returns how many."""
    milliseconds, sequence = entry_sort_key(until)
    last = sequence == MAX_SEQUENCE
    following = f"{milliseconds + 1}-0" if last else f"{milliseconds}-{sequence + 1}"
    with store_errors(client):
        removed: Any = client.xtrim(keys.events, minid=following, approximate=False)
    return int(removed)


def read_stream_state(client: Client, keys: Keys) -> StreamState:
    """How many entries wait, and since when."""
    with store_errors(client):
        entries: Any = client.xlen(keys.events)
        first: Any = client.xrange(keys.events, count=1)
    if not first:
        return StreamState(0, None)
    milliseconds, _ = entry_sort_key(decode_text(first[0][0]))
    return StreamState(int(entries), datetime.fromtimestamp(milliseconds / 1000, UTC))
