"""Write the events of an ingest into the partitions of a lake, and undo an ingest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import polars_hash

from jobs.lake.event_partitions import (
    CHANGED,
    FILE,
    INGEST,
    NEW,
    REPLACED_BY,
    IngestOfEvents,
    mark_current,
    merge_partition,
    read_partition,
    undo_ingest,
    write_partition,
)
from recsys.data.splits import in_window
from recsys.schema import EVENT_DTYPES, EVENT_ID, SOURCE, TIMESTAMP, USER_ID

BUCKET = "bucket"
DATE = "date"
MAX_ROWS_IN_MEMORY = 500_000  # of events added at a time, unless a single day has more
MAX_IDS_IN_MEMORY = 4_000_000
_ID_HASH = "_id_hash"
GIVEN_DTYPES = {**EVENT_DTYPES, SOURCE: pl.String()}
Days = tuple[date, date]


@dataclass(frozen=True)
class WrittenEvents:
    """What an ingest did to the events of a lake."""

    counts: pl.DataFrame
    """Columns: source, outcome (see `event_partitions`), rows."""
    files: tuple[Path, ...]
    """The partitions that were written."""


def write_events(
    directory: Path,
    buckets: int,
    given: pl.LazyFrame,
    ingest: IngestOfEvents,
    earlier_days: Mapping[str, Days],
    with_own_ids: frozenset[str] = frozenset(),
) -> WrittenEvents:
    """Write the given events, in the columns of `GIVEN_DTYPES`, below `directory`.

    `earlier_days` are the first and last day of what a replaced source gave before; `with_own_ids` are the sources
    that give ids of events, of which a correction may move an event to another user or day. Up to
    `MAX_ROWS_IN_MEMORY` given rows are in memory at a time, or a whole larger day. Each partition is replaced
    atomically, and giving the same rows again changes nothing.
    """
    bucket_of = bucket_expression(buckets)
    bucket_of = bucket_expression(buckets)
    moved = _replace_moved(directory, bucket_of, given, ingest, with_own_ids - ingest.keeps_known)
    counts, files = [moved.counts], [*moved.files]
    merged: set[Path] = set()
    for rows in _spans_of(given):
        keyed = rows.with_columns(bucket_of.alias(BUCKET), pl.col(TIMESTAMP).dt.date().alias(DATE))
        for (bucket, day), part in keyed.partition_by(BUCKET, DATE, as_dict=True, include_key=False).items():
            file = partition_file(directory, int(bucket), str(day))
            counts.append(_merge_into(file, part, ingest, files))
            merged.add(file)
    nothing = pl.DataFrame(schema=GIVEN_DTYPES)
    left = [file for file in _earlier_partitions(directory, earlier_days) if file not in merged]
    counts += [_merge_into(file, nothing, ingest, files) for file in left]
    sums = pl.concat(counts).group_by(SOURCE, "outcome").agg(pl.col("rows").sum()).sort(SOURCE, "outcome")
    return WrittenEvents(sums, tuple(files))


def undo_events(directory: Path, number: int, kept_source: str) -> int:
    """Undo what an ingest did to all partitions, but for `kept_source`; return how many partitions changed."""
    changed = 0
    for file in partition_files(directory):
        is_given = (pl.col(INGEST) == number) & (pl.col(SOURCE) != kept_source)
        if scan_files([file]).select((is_given | (pl.col(REPLACED_BY) == number)).any()).collect().item():
            write_partition(file, undo_ingest(read_partition(file), number, kept_source))
            changed += 1
    return changed


def bucket_expression(buckets: int) -> pl.Expr:
    """Return the bucket of a user: `hash(user_id) mod buckets`."""
    return polars_hash.hash_rows(pl.col(USER_ID), version=1).nchash.xxh3_64() % buckets


def partition_file(directory: Path, bucket: int, day: str) -> Path:
    """Return the file of the events of a bucket and a day, such as 2017-12-30."""
    return directory / f"{BUCKET}={bucket:02d}" / f"{DATE}={day}" / FILE


def partition_files(directory: Path, bucket: int | None = None, since: date | None = None) -> list[Path]:
    """Return the files of all partitions, or of a bucket, from a day on, in order."""
    buckets = "*" if bucket is None else f"{BUCKET}={bucket:02d}"
    files = sorted(directory.glob(f"{buckets}/{DATE}=*/{FILE}"))
    return files if since is None else [file for file in files if file.parent.name >= f"{DATE}={since}"]


def scan_files(files: list[Path]) -> pl.LazyFrame:
    """Scan Parquet files by their literal paths, without globs or columns from directory names."""
    return pl.scan_parquet(files, glob=False, hive_partitioning=False)


def _merge_into(file: Path, given: pl.DataFrame, ingest: IngestOfEvents, written: list[Path]) -> pl.DataFrame:
    """Merge given rows into a partition, write it and append it to `written` if it changes; return the counts."""
    merge = merge_partition(read_partition(file), given, ingest)
    if merge.is_changed:
        write_partition(file, merge.rows)
        written.append(file)
    return merge.counts


def _replace_moved(
    directory: Path, bucket_of: pl.Expr, given: pl.LazyFrame, ingest: IngestOfEvents, sources: frozenset[str]
) -> WrittenEvents:
    """Mark stored events as replaced that are given again for another user's bucket or another day.

    The counts turn them from new into changed events.
    """
    files, written = partition_files(directory), list[Path]()
    counts: list[dict[str, object]] = []
    if not files or not sources:
        return WrittenEvents(_count_frame(counts), ())
    own = given.filter(pl.col(SOURCE).is_in(sources))
    passes = 1 + own.select(pl.len()).collect().item() // MAX_IDS_IN_MEMORY
    keyed = (
        polars_hash.hash_rows(pl.col(EVENT_ID), version=1).nchash.xxh3_64().alias(_ID_HASH),
        bucket_of.cast(pl.UInt16).alias(BUCKET),
        pl.col(TIMESTAMP).dt.date().alias(DATE),
    )
    new = own.select(EVENT_ID, SOURCE, *keyed)
    stored = scan_files(files).filter(pl.col(REPLACED_BY).is_null()).select(*keyed)
    is_elsewhere = (pl.col(BUCKET) != pl.col(f"{BUCKET}_new")) | (pl.col(DATE) != pl.col(f"{DATE}_new"))
    for number in range(passes):
        part = pl.col(_ID_HASH) % passes == number
        latest = new.filter(part).unique(EVENT_ID, keep="last", maintain_order=True)
        frame = (
            stored.filter(part)
            .join(latest, on=_ID_HASH, suffix="_new")
            .filter(is_elsewhere)
            .collect(engine="streaming")
        )
        for (bucket, day), rows in frame.partition_by(BUCKET, DATE, as_dict=True).items():
            file = partition_file(directory, int(bucket), str(day))
            current = read_partition(file)
            is_moved = pl.col(REPLACED_BY).is_null() & pl.col(EVENT_ID).is_in(rows[EVENT_ID].implode())
            replaced = pl.when(is_moved).then(pl.lit(ingest.number, pl.Int32)).otherwise(REPLACED_BY)
            write_partition(file, mark_current(current.with_columns(replaced.alias(REPLACED_BY))))
            written.append(file)
        for source, size in frame.unique(EVENT_ID).group_by(SOURCE).len().rows():
            counts += [
                {SOURCE: source, "outcome": NEW, "rows": -size},
                {SOURCE: source, "outcome": CHANGED, "rows": size},
            ]
    return WrittenEvents(_count_frame(counts), tuple(written))


def _count_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={SOURCE: pl.String, "outcome": pl.String, "rows": pl.Int64})


def _earlier_partitions(directory: Path, earlier_days: Mapping[str, Days]) -> list[Path]:
    """Return the partitions of the days on which replaced sources gave events before."""
    names = [(f"{DATE}={first}", f"{DATE}={last}") for first, last in earlier_days.values()]
    files = partition_files(directory) if names else []
    return [file for file in files if any(first <= file.parent.name <= last for first, last in names)]


def _spans_of(given: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of successive days, up to `MAX_ROWS_IN_MEMORY` at a time, or of a larger day."""
    day = pl.col(TIMESTAMP).dt.date().alias(DATE)
    days = given.group_by(day).len().sort(DATE).collect(engine="streaming")
    for first, last in _spans(days):
        yield in_window(given, _midnight(first), _midnight(last + timedelta(days=1))).collect()


def _spans(days: pl.DataFrame) -> Iterator[Days]:
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
