"""The lake: events by bucket of users and by day, which are only added to, the catalogue, the users, and what is
said of them.
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
    EVENT_ID,
    ITEM_ID,
    TIMESTAMP,
    USER_ID,
    Events,
    Flags,
    Impressions,
    Items,
    Labels,
    Users,
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
BATCH_ROWS = 500_000  # split by bucket and day at a time
TABLES = {"items": (Items, ITEM_ID), "users": (Users, USER_ID), LABELS: (Labels, USER_ID)}
DAILY_TABLES = {IMPRESSIONS: Impressions, FLAGS: Flags}


@dataclass(frozen=True)
class Lake:
    """A directory that holds everything ever taken in."""

    directory: Path
    buckets: int = 1
    pseudonym_key: str | None = field(default=None, repr=False)
    """With it, users are kept by their pseudonyms alone."""
    excluded_users: pl.Series | None = field(default=None, repr=False, compare=False)
    """Users, by their ids in the lake, whose events are not read."""

    @contextmanager
    def locked(self) -> Generator[Path]:
        """Only one process at a time writes to the lake, others wait; gives a directory for what is on its way."""
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
        found = read_json(file) if file.exists() else None
        asked = None if self.pseudonym_key is None else key_check(self.pseudonym_key)
        if found == asked or (found is None and not any(self.directory.glob("[!.]*"))):
            return
        made = "without pseudonyms" if found is None else f"with {'another key' if asked else 'pseudonyms'}"
        raise SettingsError(
            f"pseudonym_key = {REDACTED if asked else None}: {self.directory} was made {made}, which must not be "
            "mixed; ingest into another directory"
        )

    def stored_id(self, user_id: str) -> str:
        """What a user is called in the lake, and in all that is made of it."""
        return user_id if self.pseudonym_key is None else pseudonym(self.pseudonym_key, user_id)

    def partition(self, bucket: int, date: str) -> Path:
        """Where the events of a bucket and a day (as in 2017-12-30) lie."""
        return self.directory / "events" / f"{BUCKET}={bucket:02d}" / f"{DATE}={date}"

    def excluding(self, users: pl.Series) -> "Lake":
        """The same lake as if these users had never done anything."""
        return replace(self, excluded_users=users)

    def events(self, bucket: int | None = None, since: datetime | None = None) -> pl.LazyFrame:
        """All events, or those of one bucket, or those of the UTC day of `since` and later, in the columns
        of `Events`.
        """
        which = "*" if bucket is None else f"{BUCKET}={bucket:02d}"
        files = sorted((self.directory / "events").glob(f"{which}/{DATE}=*/*.parquet"))
        if since is not None:
            files = [file for file in files if file.parent.name >= f"{DATE}={since:%Y-%m-%d}"]
        if not files:
            return pl.LazyFrame(schema=pl.Schema(Events))
        events = scan_files(files)
        if self.excluded_users is None:
            return events
        left_out = self.excluded_users.rename(USER_ID).to_frame().lazy()
        return events.join(left_out, on=USER_ID, how="anti", maintain_order="left")

    def items(self) -> pl.LazyFrame:
        """The catalogue, in the columns of `Items`."""
        return self._table("items")

    def users(self) -> pl.LazyFrame:
        """The users, in the columns of `Users`."""
        return self._table("users")

    def add_events(self, staged: pl.LazyFrame, part: str) -> int:
        """Add the events of `staged` whose ids their bucket and day do not have yet; returns how many.

        `part` begins the names of the new files. Each file appears whole and never changes; adding the same events
        again adds nothing. Some days are in memory at a time, or one, where it has more than `BATCH_ROWS`.
        """
        self._keep_buckets()
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
            known = scan_files(existing).select(EVENT_ID).collect()
            new = new.join(known, on=EVENT_ID, how="anti", maintain_order="left")
        if new.height:
            with atomic_write(target / f"{part}-{len(existing):04d}.parquet") as aside:
                new.sort(USER_ID, TIMESTAMP, EVENT_ID).write_parquet(aside)
        return new.height

    def count_events_of_part(self, part: str) -> int:
        """How many events lie in files whose names begin with `part`."""
        files = sorted((self.directory / "events").glob(f"*/*/{part}-*.parquet"))
        return scan_files(files).select(pl.len()).collect().item() if files else 0

    def upsert(self, table: str, rows: pl.DataFrame) -> int:
        """Put rows of a table of `TABLES` over those of the same id; returns how many."""
        _, key = TABLES[table]
        last = rows.unique(key, keep="last", maintain_order=True)
        kept = self._table(table).collect().join(last, on=key, how="anti")
        with atomic_write(self.directory / f"{table}.parquet") as aside:
            pl.concat([kept, last]).sort(key).write_parquet(aside)
        return last.height

    def merge_items(self, changes: pl.DataFrame) -> int:
        """Put what is given of each item over what is known of it, and add new items; returns how many.

        `changes` has the columns of `Items`, and each item once; null is what is not given.
        """
        facts = [name for name in pl.Schema(Items) if name != ITEM_ID]
        known = self.items().select(ITEM_ID, *(pl.col(name).alias(f"known_{name}") for name in facts))
        merged = changes.lazy().join(known, on=ITEM_ID, how="left", maintain_order="left")
        both = [pl.coalesce(name, f"known_{name}").alias(name) for name in facts]
        return self.upsert("items", merged.with_columns(both).select(*pl.Schema(Items)).collect())

    def impressions(self) -> pl.LazyFrame:
        """Everything shown online, in the columns of `Impressions`."""
        return self._days(IMPRESSIONS)

    def flags(self) -> pl.LazyFrame:
        """Everyone flagged online, in the columns of `Flags`."""
        return self._days(FLAGS)

    def labels(self) -> pl.LazyFrame:
        """What analysts say of users, in the columns of `Labels`."""
        return self._table(LABELS)

    def write_days(self, table: str, rows: pl.DataFrame, part: str) -> list[Path]:
        """Write rows of a table of `DAILY_TABLES`, a file of this name for each day, over one that is there.

        Returns the files.
        """
        files: list[Path] = []
        days = rows.with_columns(pl.col(TIMESTAMP).dt.date().alias(DATE)).partition_by(
            DATE, as_dict=True, include_key=False
        )
        for (day,), shown in days.items():
            files.append(self.directory / table / f"{DATE}={day}" / f"{part}.parquet")
            with atomic_write(files[-1]) as aside:
                shown.write_parquet(aside)
        return files

    def _days(self, table: str) -> pl.LazyFrame:
        files = sorted((self.directory / table).glob(f"{DATE}=*/*.parquet"))
        return scan_files(files) if files else pl.LazyFrame(schema=pl.Schema(DAILY_TABLES[table]))

    def _table(self, table: str) -> pl.LazyFrame:
        file = self.directory / f"{table}.parquet"
        return scan_files([file]) if file.exists() else pl.LazyFrame(schema=pl.Schema(TABLES[table][0]))

    def _keep_buckets(self) -> None:
        """Write down the number of buckets, which holds for all events that will ever be added."""
        if not (self.directory / BUCKETS_FILE).exists():
            write_json(self.directory / BUCKETS_FILE, self.buckets)


def open_lake(settings: Settings) -> Lake:
    """The lake of an installation; raises `SettingsError` when its events lie in another number of buckets, or
    its users have other names.
    """
    lake = Lake(settings.directory / "lake", settings.lake.buckets, settings.pseudonym_key or None)
    lake.check_pseudonyms()
    file = lake.directory / BUCKETS_FILE
    if file.exists() and read_json(file) != lake.buckets:
        raise SettingsError(
            f"lake.buckets = {lake.buckets}: expected {read_json(file)}, by which {lake.directory} was made; "
            "for another number ingest into another directory"
        )
    return lake


def scan_files(files: list[Path]) -> pl.LazyFrame:
    """The rows of Parquet files, whose paths are taken as they are."""
    return pl.scan_parquet(files, glob=False, hive_partitioning=False)


def _spans(days: pl.DataFrame) -> Iterator[tuple[date, date]]:
    """First and last of successive days that have up to `BATCH_ROWS` rows together, or of one that has more."""
    span: list[date] = []
    size = 0
    for day, rows in days.rows():
        if span and size + rows > BATCH_ROWS:
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
