"""Pseudonyms that are stored instead of user ids and cannot be reversed without the key of the shop."""

import hmac
from typing import Final

import polars as pl

from recsys.schema import GUEST_ID, IP, USER_AGENT, USER_ID

LENGTH: Final = 32
CHECK_LENGTH: Final = 16
CHECK_TEXT: Final = "recsys"


def pseudonym(key: str, user_id: str) -> str:
    """Return the first 32 hexadecimal characters of the HMAC-SHA256 of a user id.

    >>> pseudonym("key", "7")
    '01235b0d2aa4a5daba7243a9228194c8'
    """
    return _digest(key, user_id)[:LENGTH]


def pseudonymize(column: pl.Series, key: str) -> pl.Series:
    """Return the pseudonym of each id of a column; null stays null."""
    ids = column.drop_nulls().unique()
    pseudonyms = pl.Series([pseudonym(key, user_id) for user_id in ids], dtype=pl.String)
    return column.replace_strict(ids, pseudonyms, default=None, return_dtype=pl.String)


def pseudonymize_users(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Replace user ids by pseudonyms in a table, and remove IP addresses and browsers."""
    hidden = [pl.lit(None, rows.schema[name]).alias(name) for name in (IP, USER_AGENT) if name in rows.columns]
    hidden += [
        pl.lit(pseudonymize(rows[name], key)).alias(name) for name in (USER_ID, GUEST_ID) if name in rows.columns
    ]
    return rows.with_columns(hidden)


def key_check(key: str) -> str:
    """Return a short hash by which two keys can be compared without revealing them."""
    return _digest(key, CHECK_TEXT)[:CHECK_LENGTH]


def _digest(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()
