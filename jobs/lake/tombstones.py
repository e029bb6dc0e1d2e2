"""Tombstones: keyed hashes of users who were erased, which keep their earlier rows out of the lake.

The key is a file that only its owner may read, below `erasures/` in the lake. Without it, nobody can tell from a
tombstone or a receipt who was erased, nor write a receipt.
"""

import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.state_files import read_state
from recsys.errors import StateError
from recsys.files import RESTORE, atomic_write, flush
from recsys.schema import GUEST_ID, LABELED_AT, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID

ERASURES: Final = "erasures"
KEY_FILE: Final = "key"
KEY_BYTES: Final = 32
FILE: Final = "tombstones.parquet"
SUBJECT: Final = "subject"
ERASED_AT: Final = "erased_at"
TOMBSTONE_DTYPES: Final = {SUBJECT: pl.String(), ERASED_AT: TIMESTAMP_DTYPE}
DAY_LENGTH: Final = len("2017-12-30")
WORD: Final = r"[^\s,;|\"'{}\[\]()<>=]+"
"""What may be an id in a line of text."""
FOREVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""The time of an erasure after which no row of the id is taken in again."""


@dataclass(frozen=True)
class Tombstones:
    """The erased users of a lake."""

    key: bytes
    erased: dict[str, datetime]
    """Keyed hash of a user -> the time up to which the user's rows are kept out."""

    def without_erased(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of users who are not erased, or that came after the erasure, by `TIMESTAMP`.

        Users are named by the columns `USER_ID` and `GUEST_ID`. Of tables without times, such as attributes of
        users, no row of an erased user is left.
        """
        times = (name for name in (TIMESTAMP, LABELED_AT) if rows.schema.get(name) == TIMESTAMP_DTYPE)
        time = next((pl.col(name) for name in times), pl.lit(None, TIMESTAMP_DTYPE))
        return self._without_erased(rows, time)

    def without_erased_texts(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows that broke a rule, whose values are text, as `without_erased`; a day counts as a whole."""
        day: pl.Expr = pl.lit(None, TIMESTAMP_DTYPE)
        if rows.schema.get(TIMESTAMP) == pl.String():
            date = pl.col(TIMESTAMP).str.head(DAY_LENGTH).str.to_date("%Y-%m-%d", strict=False)
            day = date.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return self._without_erased(rows, day)

    def without_erased_lines(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the texts of a first column that have no id of an erased user between separators."""
        if not self.erased or rows.is_empty():
            return rows
        words = rows.to_series().str.extract_all(WORD)
        found = words.explode().drop_nulls().unique()
        erased = [word for word in found if self.has(word)]
        has_erased = words.list.eval(pl.element().is_in(erased)).list.any()
        return rows.filter(~has_erased.fill_null(value=False))

    def _without_erased(self, rows: pl.DataFrame, time: pl.Expr) -> pl.DataFrame:
        if not self.erased or rows.is_empty():
            return rows
        is_kept = pl.lit(value=True)
        for name in (USER_ID, GUEST_ID):
            if name in rows.columns:
                until = self._erased_until(rows[name])
                is_kept &= until.is_null() | (time >= until).fill_null(value=False)
        return rows.filter(is_kept)

    def _erased_until(self, users: pl.Series) -> pl.Expr:
        """Return up to which time the rows of each user are kept out, null for one who is not erased."""
        ids = users.drop_nulls().unique()
        times = [self.erased.get(subject(self.key, user)) for user in ids]
        found = pl.Series(times, dtype=TIMESTAMP_DTYPE)
        is_erased = found.is_not_null()
        return pl.lit(
            users.replace_strict(
                ids.filter(is_erased), found.filter(is_erased), default=None, return_dtype=TIMESTAMP_DTYPE
            )
        )

    def has(self, user_id: str) -> bool:
        """Return whether a user is erased."""
        return subject(self.key, user_id) in self.erased


NO_TOMBSTONES: Final = Tombstones(b"", {})


def subject(key: bytes, user_id: str) -> str:
    """Return the keyed hash of a user, by the id in the lake: the HMAC-SHA256 in hexadecimal."""
    return hmac.digest(key, b"user:" + user_id.encode(), "sha256").hex()


def erasures_directory(lake_directory: Path) -> Path:
    """Return the directory of the key, the tombstones, the requests and the receipts of a lake."""
    return lake_directory / ERASURES


def read_key(lake_directory: Path) -> bytes | None:
    """Return the key of a lake, None before its first erasure; raises `StateError` if it was lost or damaged."""
    file = erasures_directory(lake_directory) / KEY_FILE
    if not file.exists():
        if _has_erasures(lake_directory):
            raise StateError(f"{file}: it is missing, so that erased persons cannot be kept out; {RESTORE}")
        return None
    text = file.read_bytes().strip()
    if re.fullmatch(rb"[0-9a-f]{%d}" % (2 * KEY_BYTES), text) is None:
        raise StateError(f"{file}: it is no key of erasures; {RESTORE}")
    return bytes.fromhex(text.decode())


def make_key(lake_directory: Path) -> bytes:
    """Return the key of a lake, which is made before the first erasure; the lake must be locked."""
    key = read_key(lake_directory)
    if key is not None:
        return key
    file, key = erasures_directory(lake_directory) / KEY_FILE, secrets.token_bytes(KEY_BYTES)
    with atomic_write(file) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(key.hex())
    flush([file])
    return key


def read_tombstones(lake_directory: Path) -> Tombstones:
    """Return the erased users of a lake; raises `StateError` if the key or the tombstones were lost or damaged."""
    key, file = read_key(lake_directory), erasures_directory(lake_directory) / FILE
    if key is None:
        return NO_TOMBSTONES
    if not file.exists():
        if _has_erasures(lake_directory):
            raise StateError(f"{file}: it is missing, so that erased persons cannot be kept out; {RESTORE}")
        return NO_TOMBSTONES  # the first erasure was killed before it wrote them
    return Tombstones(key, dict(read_state(file).select(SUBJECT, ERASED_AT).iter_rows()))


def add_tombstones(lake_directory: Path, users: Iterable[str], until: datetime) -> None:
    """Keep the rows of users up to a time out of a lake, which must be locked; a later time stays."""
    key = make_key(lake_directory)
    erased = dict(read_tombstones(lake_directory).erased)
    for user in users:
        name = subject(key, user)
        erased[name] = max(until, erased.get(name, until))
    rows = pl.DataFrame({SUBJECT: list(erased), ERASED_AT: list(erased.values())}, TOMBSTONE_DTYPES)
    with atomic_write(erasures_directory(lake_directory) / FILE) as temporary:
        rows.sort(SUBJECT).write_parquet(temporary)
    flush([erasures_directory(lake_directory) / FILE])


def _has_erasures(lake_directory: Path) -> bool:
    """Return whether there has been an erasure: it has left tombstones, a request or a receipt."""
    directory = erasures_directory(lake_directory)
    return (directory / FILE).exists() or any(directory.glob("*/[!.]*.json"))
