"""Encoding of lists of item ids in Redis: best first, separated by one space (an id has no white space)."""

import polars as pl


def encode_lists(lists: pl.Series) -> pl.Series:
    """Encode a series of lists of ids as a series of bytes, the values of their keys.

    >>> encode_lists(pl.Series([["a", "b"], ["c"]])).to_list()
    [b'a b', b'c']
    """
    return lists.list.join(" ").cast(pl.Binary)


def decode_list(value: bytes | str | None, limit: int | None = None) -> list[str]:
    """Decode the ids of one value, or the first `limit` of them; no ids if the key does not exist.

    >>> decode_list(b"a b"), decode_list(b"a b c", 2)
    (['a', 'b'], ['a', 'b'])
    """
    if not value:
        return []
    return decode_text(value).split(" ") if limit is None else decode_text(value).split(" ", limit)[:limit]


def decode_text(value: bytes | str) -> str:
    """Return a reply as text, whether or not the client decodes replies."""
    return value.decode() if isinstance(value, bytes) else value
