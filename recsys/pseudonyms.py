"""Pseudonyms: what is kept in place of user ids, so that none can be told without the shop's key."""

import hmac
from typing import Final

import polars as pl

from recsys.schema import IP, USER_AGENT, USER_ID

LENGTH: Final = 32
CHECK_LENGTH: Final = 16
CHECKED: Final = "recsys"


def pseudonym(key: str, user_id: str) -> str:
    """The first 32 hexadecimal characters of the HMAC-SHA256 of a user id.

    >>> pseudonym("key", "7")
    '01235b0d2aa4a5daba7243a9228194c8'
    """
    return _digest(key, user_id)[:LENGTH]


def pseudonymize(column: pl.Series, key: str) -> pl.Series:
    """The pseudonym of each id of a column; null stays null."""
    ids = column.drop_nulls().unique()
    pseudonyms = pl.Series([pseudonym(key, user_id) for user_id in ids], dtype=pl.String)
    return column.replace_strict(ids, pseudonyms, default=None, return_dtype=pl.String)


def pseudonymize_users(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Rows of any table with pseudonyms in place of user ids, and without addresses and browsers."""
    hidden = [pl.lit(None, rows.schema[name]).alias(name) for name in (IP, USER_AGENT) if name in rows.columns]
    if USER_ID in rows.columns:
        hidden.append(pl.lit(pseudonymize(rows[USER_ID], key)).alias(USER_ID))
    return rows.with_columns(hidden)


def key_check(key: str) -> str:
    """What tells two keys apart without giving either away."""
    return _digest(key, CHECKED)[:CHECK_LENGTH]


def _digest(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()
