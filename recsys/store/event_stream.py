"""The stream of events accepted online: read in blocks from its start, and trimmed once a block is archived."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys

ENTRIES_PER_COMMAND: Final = 2_000
MAX_SEQUENCE: Final = 2**64 - 1


@dataclass(frozen=True)
class Entry:
    """One entry of the stream."""

    id: str
    """Such as 1514764799123-0."""
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True)
class StreamState:
    """How many entries are in the stream, and how old they are."""

    entries: int
    oldest: datetime | None
    """Time of the oldest entry, by the clock of the server."""


def entry_sort_key(entry_id: str) -> tuple[int, int]:
    """Return the sort key of an entry id: milliseconds, and the number within the millisecond.

    >>> entry_sort_key("9-10") > entry_sort_key("9-9")
    True
    """
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def entry_time(entry_id: str) -> datetime:
    """Return the time at which an entry came, by the clock of the server."""
    return datetime.fromtimestamp(entry_sort_key(entry_id)[0] / 1000, UTC)


def last_entry_id(client: Client, keys: Keys) -> str | None:
    """Return the id of the last entry, None if the stream is empty."""
    with store_errors(client):
        last: Any = client.xrevrange(keys.events, count=1)
    return decode_text(last[0][0]) if last else None


def read_entries(client: Client, keys: Keys, until: str, count: int) -> list[Entry]:
    """Return the first `count` entries, in order, up to and including the one with id `until`.

    A command reads few of them, so that it does not keep readers waiting.
    """
    read: list[Entry] = []
    start = "-"
    with store_errors(client):
        while len(read) < count:
            wanted = min(ENTRIES_PER_COMMAND, count - len(read))
            entries: Any = client.xrange(keys.events, start, until, wanted)
            read += [Entry(decode_text(entry_id), fields) for entry_id, fields in entries]
            if len(entries) < wanted:
                break
            start = f"({read[-1].id}"
    return read


def remove_entries(client: Client, keys: Keys, until: str) -> int:
    """Remove the entries up to and including the one with id `until`; return how many."""
    milliseconds, sequence = entry_sort_key(until)
    is_last = sequence == MAX_SEQUENCE
    following = f"{milliseconds + 1}-0" if is_last else f"{milliseconds}-{sequence + 1}"
    with store_errors(client):
        removed: Any = client.xtrim(keys.events, minid=following, approximate=False)
    return int(removed)


def read_stream_state(client: Client, keys: Keys) -> StreamState:
    """Return the number of entries, and the time of the oldest."""
    with store_errors(client):
        entries: Any = client.xlen(keys.events)
        first: Any = client.xrange(keys.events, count=1)
    if not first:
        return StreamState(0, None)
    return StreamState(int(entries), entry_time(decode_text(first[0][0])))
