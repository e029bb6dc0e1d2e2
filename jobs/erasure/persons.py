"""The persons of an erasure or an export: their ids, and the installation that is searched for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from jobs.lake.fact_tables import IDENTITIES, read_fact_tables
from jobs.lake.lake import Lake, open_lake
from jobs.lake.tombstones import FOREVER
from recsys.schema import GUEST_ID, USER_ID
from recsys.settings import Settings
from recsys.store.client.connect import Client, connect
from recsys.store.keys import Keys
from recsys.store.user_keys import find_aliases, find_logins_in_stream


@dataclass(frozen=True)
class Installation:
    """All that holds data of persons: the data directory with its lake and runs, and Redis."""

    directory: Path
    lake: Lake
    client: Client
    keys: Keys

    @classmethod
    def open(cls, settings: Settings) -> "Installation":
        """Open the lake and connect to Redis; raises `StoreError` if it does not answer."""
        client = connect(settings.redis, settings.directory)
        return cls(settings.directory, open_lake(settings), client, Keys(settings.redis.namespace))


@dataclass(frozen=True)
class Persons:
    """Persons by their ids in the lake, those of guests that they were included."""

    ids: frozenset[str]
    before: datetime = FOREVER
    """What came at this time or later is of others with the same ids."""
    computed_before: datetime = FOREVER
    """Runs and versions made later know nothing of the persons."""

    has_loading: bool = True
    """Whether versions that are being loaded are searched too; removing a list makes the load fail."""

    @property
    def series(self) -> pl.Series:
        """Return the ids in order."""
        return pl.Series(USER_ID, sorted(self.ids), pl.String)


def find_guests(installation: Installation, users: Iterable[str]) -> frozenset[str]:
    """Return the guests who turned out to be some users, by the lake, the stream and the aliases in Redis."""
    known = frozenset(users)
    while True:
        found = known | _guests_in_lake(installation.lake, known)
        found |= find_logins_in_stream(installation.client, installation.keys, found)
        found |= find_aliases(installation.client, installation.keys, found)
        if found == known:
            return known - frozenset(users)
        known = found


def _guests_in_lake(lake: Lake, users: frozenset[str]) -> frozenset[str]:
    tables = read_fact_tables(lake.directory, IDENTITIES).values()
    rows = [table.filter(pl.col(USER_ID).is_in(users))[GUEST_ID] for table in tables]
    return frozenset(pl.concat(rows)) if rows else frozenset()
