import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from redis.crc import key_slot

from recsys.store.publish.list_commands import hash_keys, padded, set_commands, slots

# An id has no control characters (C) and no white space (Z).
ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40)
owners = st.lists(ids, min_size=1, max_size=12)


def _texts(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    encoded = [text.encode() for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    return starts, padded(b"".join(encoded))


def _commands(pairs: list[tuple[bytes, bytes]], per_command: int) -> bytes:
    """By hand, from the description of the protocol."""
    written = b""
    for start in range(0, len(pairs), per_command):
        parts = [b"MSET", *(part for pair in pairs[start : start + per_command] for part in pair)]
        written += b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return written


@settings(deadline=None)  # the first call compiles
@given(owners, st.lists(ids, min_size=1, max_size=20), st.integers(1, 30), st.integers(1, 5), st.data())
def test_commands_are_the_bytes_of_the_protocol(
    users: list[str], names: list[str], longest: int, per_command: int, data: st.DataObject
) -> None:
    numbers = st.lists(st.integers(0, len(names) - 1), max_size=25)
    lists = [data.draw(numbers) for _ in users]
    rows = [row for row, items in enumerate(lists) if items]
    owner_starts, owner_bytes = _texts(users)
    id_starts, id_bytes = _texts(names)
    commands, size = set_commands(
        b"shop:v:user:{",
        b"}",
        owner_starts,
        owner_bytes,
        np.concatenate([[0], np.cumsum([len(items) for items in lists])]).astype(np.int64),
        np.array([number for items in lists for number in items], np.int32),
        id_starts,
        id_bytes,
        np.array(rows, np.int64),
        longest,
        per_command,
    )
    pairs = [
        (
            f"shop:v:user:{{{users[row]}}}".encode(),
            " ".join(names[number] for number in lists[row][:longest]).encode(),
        )
        for row in rows
    ]
    assert commands.tobytes() == _commands(pairs, per_command)
    assert size == sum(len(value) for _, value in pairs)


@settings(deadline=None)
@given(owners, st.sampled_from([("shop:v:user:{", "}"), ("shop:v:", ""), ("shop:v:popular:", "")]))
def test_slots_are_those_of_the_cluster(users: list[str], around: tuple[str, str]) -> None:
    prefix, suffix = around
    starts, data = _texts(users)
    result = slots(prefix.encode(), suffix.encode(), starts, data, np.arange(len(users)))
    assert result.tolist() == [key_slot(f"{prefix}{user}{suffix}".encode()) for user in users]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20))
def test_keys_of_a_reply_are_separated_and_half_a_reply_is_not_taken(keys: list[bytes]) -> None:
    reply = b"".join(b"$%d\r\n%s\r\n" % (len(key), key) for key in keys)
    hashes = np.zeros(len(keys), np.uint64)
    assert hash_keys(np.frombuffer(reply, np.uint8), 0, len(keys), hashes) == len(reply)
    assert pl.Series(hashes).n_unique() == len(set(keys))
    for end in range(0, len(reply), 7):
        assert hash_keys(np.frombuffer(reply[:end], np.uint8), 0, len(keys), hashes) == -1
