"""Pseudonyms that are stored instead of personal ids and cannot be reversed without the keys of the shop."""

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

import polars as pl

from recsys.errors import SettingsError
from recsys.schema import ATTRIBUTES, EVENT_ID, GUEST_ID, IP, SESSION_ID, USER_AGENT, USER_ID
from recsys.settings.settings import Settings

LENGTH: Final = 32
FINGERPRINT_LENGTH: Final = 16
NO_KEY: Final = "none"
"""Fingerprint of an installation that stores the shop's own ids."""
MIN_CONTAINED_LENGTH: Final = 5
"""Characters from which an id is looked for inside of other texts; a shorter one is only compared with them."""
_PATTERN: Final = re.compile(rf"[0-9a-f]{{{LENGTH}}}")


def pseudonym(key: str, user_id: str) -> str:
    """Return the first 32 hexadecimal characters of the HMAC-SHA256 of a user id.

    >>> pseudonym("key", "7")
    '01235b0d2aa4a5daba7243a9228194c8'
    """
    return _digest(key, user_id)[:LENGTH]


def has_form_of_pseudonym(text: str) -> bool:
    """Return whether a text has the form of a pseudonym."""
    return _PATTERN.fullmatch(text) is not None


@dataclass(frozen=True)
class Pseudonyms:
    """The pseudonyms of one installation: each key hashes what the key before it made of an id."""

    keys: tuple[str, ...] = field(repr=False)
    """Keys, the oldest first; at least one."""
    user_keys: tuple[str, ...] | None = field(default=None, repr=False)
    """Keys of users, where others than those of events and sessions; None for the same."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Pseudonyms | None":
        """Return the pseudonyms of an installation; None if it stores the shop's own ids.

        Raises `SettingsError` for former keys without a present one.
        """
        if not settings.pseudonym_key:
            if settings.former_pseudonym_keys:
                raise SettingsError("former_pseudonym_keys: expected none without a pseudonym_key")
            return None
        return cls((*settings.former_pseudonym_keys, settings.pseudonym_key))

    def user(self, user_id: str) -> str:
        """Return the pseudonym of a user or of a guest."""
        keys = self.keys if self.user_keys is None else self.user_keys
        return reduce(lambda text, key: pseudonym(key, text), keys, user_id)

    def event(self, event_id: str) -> str:
        """Return the pseudonym of the id of an event, another one than that of a user with the same id."""
        return self._chain(EVENT_ID, event_id)

    def session(self, session_id: str) -> str:
        """Return the pseudonym of the id of a session."""
        return self._chain(SESSION_ID, session_id)

    def origin_key(self) -> bytes:
        """Return the key of the hashes of IP addresses and browsers that count events."""
        return self._chain(IP, "").encode()

    def fingerprint(self) -> str:
        """Return a short hash by which the keys of two installations can be compared without revealing them."""
        return self._chain("fingerprint", "")[:FINGERPRINT_LENGTH]

    def count_of(self, fingerprint: str) -> int:
        """Return how many of the former keys, from the first on, have a fingerprint; 0 if it is that of none."""
        counts = range(1, len(self.keys))
        return next((count for count in counts if Pseudonyms(self.keys[:count]).fingerprint() == fingerprint), 0)

    def by_column(self) -> Mapping[str, Callable[[str], str]]:
        """Return the function of each column of ids."""
        return {USER_ID: self.user, GUEST_ID: self.user, EVENT_ID: self.event, SESSION_ID: self.session}

    def _chain(self, kind: str, text: str) -> str:
        # No id has control characters: what is hashed of two kinds is never the same.
        return reduce(lambda each, key: _digest(key, f"{kind}\0{each}")[:LENGTH], self.keys, text)


def stored_fingerprint(pseudonyms: Pseudonyms | None) -> str:
    """Return the fingerprint of an installation with or without pseudonyms."""
    return NO_KEY if pseudonyms is None else pseudonyms.fingerprint()


def pseudonymize(column: pl.Series, function: Callable[[str], str]) -> pl.Series:
    """Return the pseudonym of each id of a column; null stays null."""
    ids = column.drop_nulls().unique()
    pseudonyms = pl.Series([function(each) for each in ids], dtype=pl.String)
    return column.replace_strict(ids, pseudonyms, default=None, return_dtype=pl.String)


def replace_ids(rows: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
    """Replace the ids of users, guests, sessions and events in a table by their pseudonyms."""
    functions = pseudonyms.by_column()
    return rows.with_columns(
        pseudonymize(rows[name], functions[name]) for name in rows.columns if name in functions
    )


def pseudonymize_rows(rows: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
    """Replace ids by pseudonyms in a table, and remove IP addresses and browsers.

    An attribute of a user that holds the user's id holds the pseudonym instead.
    """
    hidden = replace_ids(rows, pseudonyms)
    if USER_ID in rows.columns and ATTRIBUTES in rows.columns:
        hidden = hidden.with_columns(_hide_in_attributes(rows, hidden))
    removed = [pl.lit(None, rows.schema[name]).alias(name) for name in (IP, USER_AGENT) if name in rows.columns]
    return hidden.with_columns(removed)


def _hide_in_attributes(rows: pl.DataFrame, hidden: pl.DataFrame) -> pl.Series:
    texts = [
        None if text is None else _replace_id(text, user_id, stored_id)
        for text, user_id, stored_id in zip(rows[ATTRIBUTES], rows[USER_ID], hidden[USER_ID], strict=True)
    ]
    return pl.Series(ATTRIBUTES, texts, rows.schema[ATTRIBUTES])


def _replace_id(text: str, user_id: str | None, stored_id: str) -> str:
    """Replace an id in a JSON object: wherever it stands, or if it is short, where it is a whole value."""
    if user_id is None:
        return text
    if len(user_id) >= MIN_CONTAINED_LENGTH:
        return text.replace(user_id, stored_id)
    value = re.escape(user_id)
    return re.sub(rf'(:\s*)(?:"{value}"|{value})(?=\s*[,}}])', rf'\g<1>"{stored_id}"', text)


def _digest(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()
