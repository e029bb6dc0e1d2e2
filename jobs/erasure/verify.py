"""Verify a receipt: its signature, and that nothing of the erased persons is left."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from jobs.erasure.persons import Installation, Persons
from jobs.erasure.places import count_places
from jobs.erasure.receipts import Receipt, read_receipt
from jobs.lake.event_writer import scan_files
from jobs.lake.tombstones import FOREVER, read_key, subject
from recsys.errors import SourceError
from recsys.schema import GUEST_ID, USER_ID
from recsys.store.user_keys import find_users

SEARCHED: Final = ("lake/**/*.parquet", "runs/**/*.parquet")


@dataclass(frozen=True)
class Verification:
    """What verifying a receipt found."""

    receipt: Receipt
    found: dict[str, int]
    """Place -> what is there of the persons."""


def verify(installation: Installation, file: Path, user: str | None = None) -> Verification:
    """Check the signature of a receipt, and search all places for its persons; `user` is an id in the lake.

    Without a user, all ids that the lake, the runs and Redis have are compared with the hashes of the receipt.
    Raises `StateError` for a wrong signature, `SourceError` for a user who is not in the receipt.
    """
    receipt = read_receipt(installation.lake, file)
    key = read_key(installation.lake.directory) or b""
    named = set(receipt.subjects)
    if user is not None and subject(key, user) not in named:
        raise SourceError(f"user {user!r} is not in the receipt {file}")
    ids = {user} if user is not None else {each for each in _known_ids(installation) if subject(key, each) in named}
    before: datetime = FOREVER if receipt.is_forever else receipt.requested_at
    persons = Persons(frozenset(ids), before, FOREVER if receipt.is_forever else receipt.finished_at)
    return Verification(receipt, count_places(installation, persons) if ids else {})


def _known_ids(installation: Installation) -> Iterator[str]:
    """Yield all ids of users, some of them several times."""
    for pattern in SEARCHED:
        for file in installation.directory.glob(pattern):
            yield from _ids_of(file)
    yield from find_users(installation.client, installation.keys)


def _ids_of(file: Path) -> Iterable[Any]:
    rows = scan_files([file])
    schema = rows.collect_schema()
    names = [name for name in (USER_ID, GUEST_ID) if schema.get(name) == pl.String()]
    for name in names:
        yield from rows.select(pl.col(name).drop_nulls().unique()).collect(engine="streaming").to_series()
