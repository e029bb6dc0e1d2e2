"""The lake: everything that was ingested or archived, in Parquet and JSON files of one directory.

    events/bucket=BB/date=YYYY-MM-DD/events.parquet       events with the source and the ingest of each row
    facts/KIND/TABLE.parquet                              what each table says of items and users
    items.parquet, users.parquet, identities.parquet      the united facts of all tables
    facts/prices.parquet                                  what each item cost, and since when
    facts/online_changes.parquet                          the time of the last online change of each item
    labels.parquet                                        analysts' labels
    impressions/date=YYYY-MM-DD/PART.parquet              items shown online
    flags/date=YYYY-MM-DD/PART.parquet                    users flagged online
    quarantine/*.parquet                                  rows that broke a rule, as they were read, by source
    sources/*.json, search_memory.json                    the latest reading of each source; what searches found
    ingests/NUMBER.json, undo/NUMBER/                     what each ingest did, and what undoing it needs
    schemas/*.json, watermarks/*.json                     columns and watermarks by table
    opt_outs.parquet, erasures/                           users who opted out; tombstones and receipts of erasures
    .layout.json, buckets.json, pseudonyms.json           version of the layout; number of buckets; check of the key

A user's bucket is `hash(user_id) mod buckets`; dates are those of the events, in UTC.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import polars as pl
import structlog

from jobs.lake.event_partitions import NEW, IngestOfEvents
from jobs.lake.event_reader import read_events
from jobs.lake.event_writer import DATE, Days, WrittenEvents, scan_files, undo_events, write_events
from jobs.lake.fact_tables import (
    FACT_TABLES,
    IDENTITIES,
    ONLINE,
    PRICES_FILE,
    last_changes,
    undo_facts,
    united_facts,
    write_online_facts,
    write_table_facts,
)
from jobs.lake.facts import leave_out, with_all_categories, write_facts
from jobs.lake.identities import resolve_identities
from jobs.lake.item_groups import fill_from_group, find_group_items, merge_variants, replace_variants
from jobs.lake.opt_outs import opted_out_users
from jobs.lake.prices import read_prices, with_prices_at
from jobs.lake.pseudonym_key import check_fingerprint, read_fingerprint, store_fingerprint
from jobs.lake.state_files import file_error
from jobs.lake.upgrade import has_present_layout, store_layout, upgrade_layout
from recsys.errors import SettingsError
from recsys.files import PARTIAL_SUFFIX, atomic_write, read_json, remove_partial, write_json
from recsys.pseudonyms import Pseudonyms
from recsys.schema import (
    CHANGED_ONLINE_AT,
    FLAG_DTYPES,
    IMPRESSION_DTYPES,
    ITEM_ID,
    LABEL_DTYPES,
    ONLINE_CHANGE_DTYPES,
    SOURCE,
    TIMESTAMP,
    USER_ID,
)
from recsys.settings import Settings

log = structlog.get_logger(__name__)

BUCKETS_FILE = "buckets.json"
IMPRESSIONS = "impressions"
FLAGS = "flags"
LABELS = "labels"
ONLINE_CHANGES_FILE = "facts/online_changes.parquet"
TABLES = {**FACT_TABLES, LABELS: (LABEL_DTYPES, USER_ID)}
DAILY_TABLES = {IMPRESSIONS: IMPRESSION_DTYPES, FLAGS: FLAG_DTYPES}


@dataclass(frozen=True)
class Lake:
    """A lake: its directory, its number of buckets, and the pseudonyms of its users."""

    directory: Path
    buckets: int = 1
    pseudonyms: Pseudonyms | None = None
    """Pseudonyms under which users, sessions and events are stored; None stores their own ids."""
    former_fingerprint: str | None = None
    """Fingerprint that the files still have, while a rotation of keys archives the last events."""
    excluded_users: pl.Series | None = field(default=None, repr=False, compare=False)
    """Users, by their ids in the lake, whose events `events` leaves out."""
    excluded_items: pl.Series | None = field(default=None, repr=False, compare=False)
    """Items that `events` and `items` leave out."""
    identities: pl.DataFrame | None = field(default=None, repr=False, compare=False)
    """Guest and user: guests whose events `events` returns as those of the users that they turned out to be."""
    group_items: pl.DataFrame | None = field(default=None, repr=False, compare=False)
    """The item that stands for each variant in `events` and `items`, found by `by_group`; None keeps variants."""
    original: Path | None = None
    """Directory of the lake that this one is a temporary copy of."""

    @property
    def directories(self) -> tuple[Path, ...]:
        """Return the directories whose files are no sources: its own, and that of its original."""
        return tuple(each.resolve() for each in (self.directory, self.original) if each is not None)

    @contextmanager
    def locked(self) -> Generator[Path]:
        """Lock the lake for writing, waiting for other processes; yields a directory for temporary files.

        Raises `OSError` where a file cannot be written, as on a full disk.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.check_pseudonyms()
            if self.former_fingerprint is None:
                store_fingerprint(self.directory, self.pseudonyms)
            remove_partial(self.directory)
            if not has_present_layout(self.directory):
                upgrade_layout(self.directory, {kind: key for kind, (_, key) in FACT_TABLES.items()})
            store_layout(self.directory)
            with tempfile.TemporaryDirectory(prefix=".", suffix=PARTIAL_SUFFIX, dir=self.directory) as scratch:
                try:
                    yield Path(scratch)
                except pl.exceptions.PolarsError as error:
                    raise file_error(error, self.directory) or error from None

    def check_pseudonyms(self) -> None:
        """Raise `SettingsError` when the lake holds users by their ids, or by the pseudonyms of another key."""
        if self.former_fingerprint is None or read_fingerprint(self.directory) != self.former_fingerprint:
            check_fingerprint(self.directory, self.pseudonyms)

    def stored_id(self, user_id: str) -> str:
        """Return a user's id in the lake and in everything computed from it: with a key, the pseudonym."""
        return user_id if self.pseudonyms is None else self.pseudonyms.user(user_id)

    def excluding(self, users: pl.Series) -> "Lake":
        """Return the same lake without the events of these users."""
        return replace(self, excluded_users=users)

    def excluding_items(self, items: pl.Series) -> "Lake":
        """Return the same lake without these items and their events."""
        return replace(self, excluded_items=items)

    def by_group(self) -> "Lake":
        """Return the same lake with one item in place of all variants of a group; without groups, an equal lake."""
        return replace(self, group_items=find_group_items(self.by_item().items()))

    def by_item(self) -> "Lake":
        """Return the same lake with its variants."""
        return replace(self, group_items=None)

    def joining_guests(self, moment: datetime) -> "Lake":
        """Return the same lake with the events of guests as those of the users whom they were known as by then."""
        known = resolve_identities(self._table(IDENTITIES).collect(), moment)
        return replace(self, identities=None if known.is_empty() else known)

    def events(self, bucket: int | None = None, since: datetime | None = None) -> pl.LazyFrame:
        """Return all events, those of one bucket, or of the UTC day of `since` and later, as `EVENT_DTYPES`.

        Those of users who have opted out are left out.
        """
        day = since.date() if since else None
        events = read_events(self.directory / "events", self.buckets, bucket, day, self.identities)
        wanted = leave_out(events, USER_ID, opted_out_users(self.directory))
        kept = leave_out(leave_out(wanted, USER_ID, self.excluded_users), ITEM_ID, self.excluded_items)
        return replace_variants(kept, self.group_items)

    def count_events(self) -> int:
        """Return the number of events."""
        return int(self.events().select(pl.len()).collect().item())

    def items(self, at: datetime | None = None) -> pl.LazyFrame:
        """Return the catalogue, in the columns of `ITEM_DTYPES`; with `at`, at the prices of that time.

        The first price that is known of an item also counts before its time. A variant without a title, category,
        brand or text has that of its group.
        """
        items = leave_out(
            fill_from_group(self._table("items").with_columns(with_all_categories())), ITEM_ID, self.excluded_items
        )
        if at is not None:
            items = with_prices_at(items, self.prices(), at)
        return merge_variants(items, self.group_items)

    def prices(self) -> pl.DataFrame:
        """Return what each item cost and since when, as `prices.PRICE_DTYPES`, in the order of the changes."""
        return read_prices(self.directory / PRICES_FILE)

    def users(self) -> pl.LazyFrame:
        """Return the users, in the columns of `USER_DTYPES`."""
        return self._table("users")

    def write_events(
        self,
        given: pl.LazyFrame,
        ingest: IngestOfEvents,
        earlier_days: Mapping[str, Days] | None = None,
        with_own_ids: frozenset[str] = frozenset(),
    ) -> WrittenEvents:
        """Write the events of an ingest, as `event_writer.write_events` describes."""
        self._store_buckets()
        directory = self.directory / "events"
        return write_events(directory, self.buckets, given, ingest, earlier_days or {}, with_own_ids)

    def add_online_events(self, events: pl.LazyFrame) -> tuple[int, tuple[Path, ...]]:
        """Add the events received online whose ids the lake does not have; return how many, and the files."""
        given = events.with_columns(pl.lit(ONLINE).alias(SOURCE))
        ingest = IngestOfEvents(self.last_ingest(), keeps_known=frozenset({ONLINE}))
        written = self.write_events(given, ingest)
        return int(written.counts.filter(pl.col("outcome") == NEW)["rows"].sum()), written.files

    def last_ingest(self) -> int:
        """Return the number of the last ingest, 0 before the first; an undone ingest keeps its number."""
        numbers = [int(file.name.partition(".")[0]) for file in (self.directory / "ingests").glob("*.json")]
        return max(numbers, default=0)

    def write_facts(
        self,
        kind: str,
        table: str,
        given: pl.DataFrame,
        when: datetime,
        ingest: int,
        position: int,
        is_complete: bool = False,
        unreadable: pl.Series | None = None,
    ) -> bool:
        """Take the facts that a table of an ingest gives, as `fact_tables.write_table_facts` describes."""
        return write_table_facts(
            self.directory, kind, table, given, when, ingest, position, is_complete, unreadable
        )

    def facts(self, kind: str) -> pl.DataFrame:
        """Return the united facts on items or users, with the table that gave each value."""
        return united_facts(self.directory, kind)

    def undo_writes(self, ingest: int, when: datetime, later_readings: Mapping[str, int]) -> int:
        """Undo what an ingest wrote to events and facts; return how many partitions of events changed.

        `later_readings` are the next ingests that replaced all events of a source.
        """
        undo_facts(self.directory, ingest, when)
        return undo_events(self.directory / "events", ingest, ONLINE, later_readings)

    def forget_undo(self, last: int) -> None:
        """Remove what undoing the ingests up to number `last` would need."""
        for directory in (self.directory / "undo").glob("*"):
            if int(directory.name) <= last:
                shutil.rmtree(directory)

    def merge_online_items(self, changes: pl.DataFrame, when: datetime, ingest: int) -> None:
        """Take the non-null values of items changed online after an ingest, one row for each item."""
        write_online_facts(self.directory, "items", changes, when, ingest)

    def merge_online_identities(self, identities: pl.DataFrame, when: datetime) -> None:
        """Take the identities of guests who logged in online, as `IDENTITY_DTYPES`, one row for each guest."""
        write_online_facts(self.directory, IDENTITIES, identities, when, self.last_ingest())

    def merge_online_times(self, times: pl.DataFrame) -> None:
        """Take the times of online changes, as `ONLINE_CHANGE_DTYPES`, after the changes themselves."""
        if times.height:
            time = pl.col(CHANGED_ONLINE_AT)
            latest = pl.concat([self.online_changes(), times]).group_by(ITEM_ID).agg(time.max()).sort(ITEM_ID)
            write_facts(self.directory / ONLINE_CHANGES_FILE, latest)

    def last_changes(self, kind: str) -> dict[str, int]:
        """Return for each table of facts, except the online one, the ingest that changed it last."""
        return last_changes(self.directory, kind)

    def online_changes(self) -> pl.DataFrame:
        """Return the time of the last archived online change of each item, as `ONLINE_CHANGE_DTYPES`."""
        file = self.directory / ONLINE_CHANGES_FILE
        return pl.read_parquet(file, glob=False) if file.exists() else pl.DataFrame(schema=ONLINE_CHANGE_DTYPES)

    def upsert_labels(self, rows: pl.DataFrame) -> int:
        """Insert labels, and replace those of the same users; return how many were written."""
        latest = rows.unique(USER_ID, keep="last", maintain_order=True)
        kept = self.labels().collect().join(latest, on=USER_ID, how="anti")
        with atomic_write(self.directory / f"{LABELS}.parquet") as temporary:
            pl.concat([kept, latest]).sort(USER_ID).write_parquet(temporary)
        return latest.height

    def impressions(self) -> pl.LazyFrame:
        """Return the items shown online, in the columns of `IMPRESSION_DTYPES`."""
        return self._daily_table(IMPRESSIONS)

    def flags(self) -> pl.LazyFrame:
        """Return the flags raised online, in the columns of `FLAG_DTYPES`."""
        return self._daily_table(FLAGS)

    def labels(self) -> pl.LazyFrame:
        """Return the labels given by analysts, in the columns of `LABEL_DTYPES`."""
        return self._table(LABELS)

    def write_days(self, table: str, rows: pl.DataFrame, part: str) -> list[Path]:
        """Write rows of a table of `DAILY_TABLES` to a file `part` for each day, replacing it; return the files."""
        files: list[Path] = []
        days = rows.with_columns(pl.col(TIMESTAMP).dt.date().alias(DATE)).partition_by(
            DATE, as_dict=True, include_key=False
        )
        for (day,), day_rows in days.items():
            files.append(self.directory / table / f"{DATE}={day}" / f"{part}.parquet")
            with atomic_write(files[-1]) as temporary:
                day_rows.write_parquet(temporary)
        return files

    def _daily_table(self, table: str) -> pl.LazyFrame:
        files = sorted((self.directory / table).glob(f"{DATE}=*/*.parquet"))
        return scan_files(files) if files else pl.LazyFrame(schema=DAILY_TABLES[table])

    def _table(self, table: str) -> pl.LazyFrame:
        """Return a table in the columns of its contract; null where a file of an earlier version lacks one."""
        dtypes, _ = TABLES[table]
        file = self.directory / f"{table}.parquet"
        if not file.exists():
            return pl.LazyFrame(schema=dtypes)
        stored = scan_files([file])
        missing = dtypes.keys() - set(stored.collect_schema().names())
        if not missing:
            return stored
        nulls = [pl.lit(None, dtypes[name]).alias(name) for name in dtypes if name in missing]
        return stored.with_columns(nulls).select(*dtypes)

    def _store_buckets(self) -> None:
        """Store the layout and the number of buckets, which can never change."""
        store_layout(self.directory)
        if not (self.directory / BUCKETS_FILE).exists():
            write_json(self.directory / BUCKETS_FILE, self.buckets)


def open_lake(settings: Settings) -> Lake:
    """Return the lake of an installation.

    Raises `SettingsError` if it was created with another number of buckets or another pseudonym key.
    """
    lake = Lake(settings.directory / "lake", settings.lake.buckets, Pseudonyms.from_settings(settings))
    lake.check_pseudonyms()
    file = lake.directory / BUCKETS_FILE
    if file.exists() and read_json(file) != lake.buckets:
        raise SettingsError(
            f"lake.buckets = {lake.buckets}: expected {read_json(file)}, with which {lake.directory} was created; "
            "for another number ingest into another directory"
        )
    if not has_present_layout(lake.directory):
        with lake.locked():
            log.info("lake converted to the present layout", directory=str(lake.directory))
    return lake
