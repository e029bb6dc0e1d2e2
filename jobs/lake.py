"""The lake: everything that was ingested or archived, in Parquet files of one directory.

    events/bucket=BB/date=YYYY-MM-DD/PART-NNNN.parquet    events; files are added and never change
    items.parquet, users.parquet, labels.parquet          the catalogue, user attributes, analysts' labels
    impressions/date=YYYY-MM-DD/PART.parquet              items shown online
    flags/date=YYYY-MM-DD/PART.parquet                    users flagged online
    quarantine/*.parquet                                  rows that broke a rule, as they were read
    ingests/*.json, schemas/*.json, watermarks/*.json     records of ingests by table
    buckets.json, pseudonyms.json                         number of buckets; check of the pseudonym key

A user's bucket is `hash(user_id) mod buckets`; dates are those of the events, in UTC.
"""

import fcntl
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import polars_hash

from recsys.data.splits import in_window
from recsys.errors import SettingsError
from recsys.files import PARTIAL_SUFFIX, atomic_write, read_json, remove_partial, write_json
from recsys.pseudonyms import key_check, pseudonym
from recsys.schema import (
    EVENT_DTYPES,
    EVENT_ID,
    FLAG_DTYPES,
    IMPRESSION_DTYPES,
    ITEM_DTYPES,
    ITEM_ID,
    LABEL_DTYPES,
    TIMESTAMP,
    USER_DTYPES,
    USER_ID,
)
from recsys.settings import Settings
from recsys.settings.types import REDACTED

BUCKET = "bucket"
DATE = "date"
BUCKETS_FILE = "buckets.json"
PSEUDONYMS_FILE = "pseudonyms.json"
IMPRESSIONS = "impressions"
FLAGS = "flags"
LABELS = "labels"
MAX_ROWS_IN_MEMORY = 500_000  # of events added at a time, unless a single day has more
TABLES = {"items": (ITEM_DTYPES, ITEM_ID), "users": (USER_DTYPES, USER_ID), LABELS: (LABEL_DTYPES, USER_ID)}
DAILY_TABLES = {IMPRESSIONS: IMPRESSION_DTYPES, FLAGS: FLAG_DTYPES}


@dataclass(frozen=True)
class Lake:
    """A lake: its directory, its number of buckets, and the pseudonyms of its users."""

    directory: Path
    buckets: int = 1
    pseudonym_key: str | None = field(default=None, repr=False)
    """Key of the pseudonyms under which users are stored; None stores their own ids."""
    excluded_users: pl.Series | None = field(default=None, repr=False, compare=False)
    """Users, by their ids in the lake, whose events `events` leaves out."""

    @contextmanager
    def locked(self) -> Generator[Path]:
        """Lock the lake for writing, waiting for other processes; yields a directory for temporary files."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.check_pseudonyms()
            if self.pseudonym_key is not None:
                write_json(self.directory / PSEUDONYMS_FILE, key_check(self.pseudonym_key))
            remove_partial(self.directory)
            with tempfile.TemporaryDirectory(prefix=".", suffix=PARTIAL_SUFFIX, dir=self.directory) as scratch:
                yield Path(scratch)

    def check_pseudonyms(self) -> None:
        """Raise `SettingsError` when the lake holds users by their ids, or by the pseudonyms of another key."""
        file = self.directory / PSEUDONYMS_FILE
        stored = read_json(file) if file.exists() else None
        expected = None if self.pseudonym_key is None else key_check(self.pseudonym_key)
        if stored == expected or (stored is None and not any(self.directory.glob("[!.]*"))):
            return
        origin = "without pseudonyms" if stored is None else f"with {'another key' if expected else 'pseudonyms'}"
        raise SettingsError(
            f"pseudonym_key = {REDACTED if expected else None}: {self.directory} was created {origin}, which must "
            "not be mixed; ingest into another directory"
        )

    def stored_id(self, user_id: str) -> str:
        """Return a user's id in the lake and in everything computed from it: with a key, the pseudonym."""
        return user_id if self.pseudonym_key is None else pseudonym(self.pseudonym_key, user_id)

    def partition(self, bucket: int, date: str) -> Path:
        """Return the directory of the events of a bucket and a day, such as 2017-12-30."""
        return self.directory / "events" / f"{BUCKET}={bucket:02d}" / f"{DATE}={date}"

    def excluding(self, users: pl.Series) -> "Lake":
        """Return the same lake without the events of these users."""
        return replace(self, excluded_users=users)

    def events(self, bucket: int | None = None, since: datetime | None = None) -> pl.LazyFrame:
        """Return all events, those of one bucket, or of the UTC day of `since` and later, as `EVENT_DTYPES`."""
        buckets = "*" if bucket is None else f"{BUCKET}={bucket:02d}"
        files = sorted((self.directory / "events").glob(f"{buckets}/{DATE}=*/*.parquet"))
        if since is not None:
            files = [file for file in files if file.parent.name >= f"{DATE}={since:%Y-%m-%d}"]
        if not files:
            return pl.LazyFrame(schema=EVENT_DTYPES)
        events = scan_files(files)
        if self.excluded_users is None:
            return events
        excluded = self.excluded_users.rename(USER_ID).to_frame().lazy()
        return events.join(excluded, on=USER_ID, how="anti", maintain_order="left")

    def items(self) -> pl.LazyFrame:
        """Return the catalogue, in the columns of `ITEM_DTYPES`."""
        return self._table("items")

    def users(self) -> pl.LazyFrame:
        """Return the users, in the columns of `USER_DTYPES`."""
        return self._table("users")

    def add_events(self, staged: pl.LazyFrame, part: str) -> int:
        """Add the events of `staged` whose ids their bucket and day do not have yet; return how many.

        `part` is the prefix of the new files' names. Each file appears complete and never changes; adding the
        same events again has no effect. Up to `MAX_ROWS_IN_MEMORY` are in memory at a time, or a whole larger day.
        """
        self._store_buckets()
        keys = {BUCKET: pl.col(USER_ID).pipe(_stable_hash) % self.buckets, DATE: pl.col(TIMESTAMP).dt.date()}
        days = staged.group_by(keys[DATE].alias(DATE)).len().sort(DATE).collect(engine="streaming")
        added = 0
        for first, last in _spans(days):
            rows = (
                in_window(staged, _midnight(first), _midnight(last + timedelta(days=1)))
                .with_columns(**keys)
                .collect()
            )
            parts = rows.partition_by(*keys, as_dict=True, include_key=False)
            added += sum(
                self._add_partition(int(bucket), str(day), new, part) for (bucket, day), new in parts.items()
            )
        return added

    def _add_partition(self, bucket: int, day: str, new: pl.DataFrame, part: str) -> int:
        target = self.partition(bucket, day)
        new = new.unique(EVENT_ID, keep="first", maintain_order=True)
        existing = sorted(target.glob("*.parquet"))
        if existing:
            existing_ids = scan_files(existing).select(EVENT_ID).collect()
            new = new.join(existing_ids, on=EVENT_ID, how="anti", maintain_order="left")
        if new.height:
            with atomic_write(target / f"{part}-{len(existing):04d}.parquet") as temporary:
                new.sort(USER_ID, TIMESTAMP, EVENT_ID).write_parquet(temporary)
        return new.height

    def count_events_of_part(self, part: str) -> int:
        """Return the number of events in files whose names begin with `part`."""
        files = sorted((self.directory / "events").glob(f"*/*/{part}-*.parquet"))
        return scan_files(files).select(pl.len()).collect().item() if files else 0

    def upsert(self, table: str, rows: pl.DataFrame) -> int:
        """Insert rows into a table of `TABLES`, and replace rows with the same id; return how many were written."""
        _, key = TABLES[table]
        latest = rows.unique(key, keep="last", maintain_order=True)
        kept = self._table(table).collect().join(latest, on=key, how="anti")
        with atomic_write(self.directory / f"{table}.parquet") as temporary:
            pl.concat([kept, latest]).sort(key).write_parquet(temporary)
        return latest.height

    def merge_items(self, changes: pl.DataFrame) -> int:
        """Update items with the non-null values of `changes`, and add new items; return how many.

        `changes` has the columns of `ITEM_DTYPES`, and one row for each item.
        """
        columns = [name for name in ITEM_DTYPES if name != ITEM_ID]
        current = self.items().select(ITEM_ID, *(pl.col(name).alias(f"current_{name}") for name in columns))
        joined = changes.lazy().join(current, on=ITEM_ID, how="left", maintain_order="left")
        merged = [pl.coalesce(name, f"current_{name}").alias(name) for name in columns]
        return self.upsert("items", joined.with_columns(merged).select(*ITEM_DTYPES).collect())

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
        file = self.directory / f"{table}.parquet"
        return scan_files([file]) if file.exists() else pl.LazyFrame(schema=TABLES[table][0])

    def _store_buckets(self) -> None:
        """Store the number of buckets, which can never change."""
        if not (self.directory / BUCKETS_FILE).exists():
            write_json(self.directory / BUCKETS_FILE, self.buckets)


def open_lake(settings: Settings) -> Lake:
    """Return the lake of an installation.

    Raises `SettingsError` if it was created with another number of buckets or another pseudonym key.
    """
    lake = Lake(settings.directory / "lake", settings.lake.buckets, settings.pseudonym_key or None)
    lake.check_pseudonyms()
    file = lake.directory / BUCKETS_FILE
    if file.exists() and read_json(file) != lake.buckets:
        raise SettingsError(
            f"lake.buckets = {lake.buckets}: expected {read_json(file)}, with which {lake.directory} was created; "
            "for another number ingest into another directory"
        )
    return lake


def scan_files(files: list[Path]) -> pl.LazyFrame:
    """Scan Parquet files by their literal paths, without globs or columns from directory names."""
    return pl.scan_parquet(files, glob=False, hive_partitioning=False)


def _spans(days: pl.DataFrame) -> Iterator[tuple[date, date]]:
    """Yield first and last of successive days with up to `MAX_ROWS_IN_MEMORY` rows together, or of a larger day."""
    span: list[date] = []
    size = 0
    for day, rows in days.rows():
        if span and size + rows > MAX_ROWS_IN_MEMORY:
            yield span[0], span[-1]
            span, size = [], 0
        span.append(day)
        size += rows
    if span:
        yield span[0], span[-1]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _stable_hash(column: pl.Expr) -> pl.Expr:
    return polars_hash.hash_rows(column, version=1).nchash.xxh3_64()
