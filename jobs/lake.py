"""The lake: events by bucket of users and by day, which are only added to, the catalogue, and the users."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import polars_hash

from recsys.files import written_whole
from recsys.schema import EVENT_ID, ITEM_ID, TIMESTAMP, USER_ID, Events, Items, Users
from recsys.settings import Settings

BUCKET = "bucket"
DATE = "date"
TABLES = {"items": (Items, ITEM_ID), "users": (Users, USER_ID)}


@dataclass(frozen=True)
class Lake:
    """A directory that holds everything ever taken in."""

    directory: Path
    buckets: int = 1

    @contextmanager
    def locked(self) -> Generator[None]:
        """Only one process at a time writes to the lake; others wait."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def partition(self, bucket: int, date: str) -> Path:
        """Where the events of a bucket and a day (as in 2017-12-30) lie."""
        return self.directory / "events" / f"{BUCKET}={bucket:02d}" / f"{DATE}={date}"

    def events(self, bucket: int | None = None) -> pl.LazyFrame:
        """All events, or those of one bucket, in the columns of `Events`."""
        which = "*" if bucket is None else f"{BUCKET}={bucket:02d}"
        files = sorted((self.directory / "events").glob(f"{which}/{DATE}=*/*.parquet"))
        if not files:
            return pl.LazyFrame(schema=pl.Schema(Events))
        return pl.scan_parquet(files, hive_partitioning=False)

    def items(self) -> pl.LazyFrame:
        """The catalogue, in the columns of `Items`."""
        return self._table("items")

    def users(self) -> pl.LazyFrame:
        """The users, in the columns of `Users`."""
        return self._table("users")

    def add_events(self, staged: pl.LazyFrame, scratch: Path, part: str) -> int:
        """Add the events of `staged` whose ids their bucket and day do not have yet; returns how many.

        `scratch` is a directory for rows on their way; `part` begins the names of the new files. Each
        file appears whole; adding the same events again adds nothing.
        """
        bucket = (pl.col(USER_ID).pipe(_stable_hash) % self.buckets).cast(pl.String).str.zfill(2)
        keyed = staged.with_columns(bucket.alias(BUCKET), pl.col(TIMESTAMP).dt.date().alias(DATE))
        keyed.sink_parquet(pl.PartitionBy(scratch, key=[BUCKET, DATE], include_key=False), mkdir=True)
        places = sorted({file.parent for file in scratch.rglob("*.parquet")})
        return sum(self._add_partition(place, part) for place in places)

    def _add_partition(self, place: Path, part: str) -> int:
        bucket, date = (name.partition("=")[2] for name in place.parts[-2:])
        target = self.partition(int(bucket), date)
        new = pl.read_parquet(place / "*.parquet", hive_partitioning=False)
        new = new.unique(EVENT_ID, keep="first", maintain_order=True)
        existing = sorted(target.glob("*.parquet"))
        if existing:
            known = pl.scan_parquet(existing, hive_partitioning=False).select(EVENT_ID).collect()
            new = new.join(known, on=EVENT_ID, how="anti", maintain_order="left")
        if new.height:
            with written_whole(target / f"{part}-{len(existing):04d}.parquet") as aside:
                new.sort(USER_ID, TIMESTAMP, EVENT_ID).write_parquet(aside)
        return new.height

    def put(self, table: str, rows: pl.DataFrame) -> int:
        """Put rows of `items` or `users` over those of the same id; returns how many."""
        _, key = TABLES[table]
        last = rows.unique(key, keep="last", maintain_order=True)
        kept = self._table(table).collect().join(last, on=key, how="anti")
        with written_whole(self.directory / f"{table}.parquet") as aside:
            pl.concat([kept, last]).sort(key).write_parquet(aside)
        return last.height

    def _table(self, table: str) -> pl.LazyFrame:
        file = self.directory / f"{table}.parquet"
        return pl.scan_parquet(file) if file.exists() else pl.LazyFrame(schema=pl.Schema(TABLES[table][0]))


def lake_of(settings: Settings) -> Lake:
    """The lake of an installation."""
    return Lake(settings.directory / "lake", settings.lake.buckets)


def _stable_hash(column: pl.Expr) -> pl.Expr:
    return polars_hash.hash_rows(column, version=1).nchash.xxh3_64()
