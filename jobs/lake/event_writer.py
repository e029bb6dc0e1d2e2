"""Write the events of an ingest into the partitions of a lake, and undo an ingest."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import polars_hash

from jobs.lake.event_partitions import (
    CHANGED,
    COUNT_DTYPES,
    FILE,
    IDENTITY,
    INGEST,
    NEW,
    REPLACED_BY,
    UNCHANGED,
    IngestOfEvents,
    mark_current,
    merge_partition,
    read_partition,
    undo_ingest,
    write_partition,
)
from recsys.data.splits import in_window
from recsys.schema import EVENT_DTYPES, SOURCE, TIMESTAMP, USER_ID

BUCKET = "bucket"
DATE = "date"
MAX_ROWS_IN_MEMORY = 500_000  # of events added at a time, unless a single day has more
MAX_IDS_IN_MEMORY = 4_000_000
_IDENTITY_HASH = "_identity_hash"
_PLACE = "_place"
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
    that give ids of events, of which a correction may move an event to another day; an event that they give for
    several days stays on the day given last. Up to
    `MAX_ROWS_IN_MEMORY` given rows are in memory at a time, or a whole larger day. Each partition is replaced
    atomically, and giving the same rows again changes nothing.
    """
    bucket_of = bucket_expression(buckets)
    given, known_counts = _without_known(directory, given, bucket_of, ingest.keeps_known)
    own = _own_events(given, bucket_of, with_own_ids - ingest.keeps_known)
    last_days = _last_days(own)
    moved = _replace_moved(directory, own, bucket_of, ingest)
    counts, files = [known_counts, moved.counts], [*moved.files]
    merged: set[Path] = set()
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        for rows in _spans_of(given):
            keyed = rows.with_columns(bucket_of.alias(BUCKET), pl.col(TIMESTAMP).dt.date().alias(DATE))
            placed = _without_earlier_days(keyed, last_days)
            parts = placed.partition_by(BUCKET, DATE, as_dict=True, include_key=False)
            targets = [partition_file(directory, int(bucket), str(day)) for bucket, day in parts]
            merge = partial(_merge_into, ingest=ingest, written=files)
            counts += threads.map(merge, targets, parts.values())
            merged.update(targets)
    nothing = pl.DataFrame(schema=GIVEN_DTYPES)
    left = [file for file in _earlier_partitions(directory, earlier_days) if file not in merged]
    counts += [_merge_into(file, nothing, ingest, files) for file in left]
    sums = pl.concat(counts).group_by(SOURCE, "outcome").agg(pl.col("rows").sum()).sort(SOURCE, "outcome")
    return WrittenEvents(sums, tuple(sorted(files)))


def undo_events(
    directory: Path, number: int, kept_source: str, later_readings: Mapping[str, int] | None = None
) -> int:
    """Undo what an ingest did to all partitions, as `event_partitions.undo_ingest`; return how many changed."""
    changed = 0
    for file in partition_files(directory):
        is_given = (pl.col(INGEST) == number) & (pl.col(SOURCE) != kept_source)
        if scan_files([file]).select((is_given | (pl.col(REPLACED_BY) == number)).any()).collect().item():
            write_partition(file, undo_ingest(read_partition(file), number, kept_source, later_readings or {}))
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


def _own_events(given: pl.LazyFrame, bucket_of: pl.Expr, sources: frozenset[str]) -> pl.LazyFrame:
    """Return the events of sources that give ids, in their order: identity and its hash, source, bucket, day."""
    own = given.filter(pl.col(SOURCE).is_in(sources)) if sources else given.clear()
    return own.select(*IDENTITY, SOURCE, *_place_of_event(bucket_of))


def _place_of_event(bucket_of: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the hash of an event's identity, its bucket and its day."""
    return (
        polars_hash.hash_rows([pl.col(name) for name in IDENTITY], version=1)
        .nchash.xxh3_64()
        .alias(_IDENTITY_HASH),
        bucket_of.cast(pl.UInt16).alias(BUCKET),
        pl.col(TIMESTAMP).dt.date().alias(DATE),
    )


def _passes(own: pl.LazyFrame) -> Iterator[pl.Expr]:
    """Yield conditions on the hashes of identities that divide the events into parts of `MAX_IDS_IN_MEMORY`."""
    rows = own.select(pl.len()).collect().item()
    passes = math.ceil(rows / MAX_IDS_IN_MEMORY)
    yield from (pl.col(_IDENTITY_HASH) % passes == number for number in range(passes))


def _last_days(own: pl.LazyFrame) -> pl.DataFrame:
    """Return the events that one ingest gives for several days, with the day given last."""
    has_several = pl.col(DATE).min() != pl.col(DATE).max()
    days = [pl.DataFrame(schema={**dict.fromkeys(IDENTITY, pl.String), DATE: pl.Date})]
    for part in _passes(own):
        grouped = own.filter(part).group_by(_IDENTITY_HASH).agg(has_several.alias("has_several"))
        scattered = grouped.filter("has_several").select(_IDENTITY_HASH).collect(engine="streaming")
        if scattered.height:
            events = own.join(scattered.lazy(), on=_IDENTITY_HASH, how="semi", maintain_order="left")
            days.append(events.unique(IDENTITY, keep="last", maintain_order=True).select(*IDENTITY, DATE).collect())
    return pl.concat(days)


def _without_earlier_days(rows: pl.DataFrame, last_days: pl.DataFrame) -> pl.DataFrame:
    """Leave out rows, which have their day, of events that are given for another day later."""
    if last_days.is_empty():
        return rows
    joined = rows.join(last_days, on=IDENTITY, how="left", suffix="_last", maintain_order="left")
    is_last = pl.col(DATE) == pl.col(f"{DATE}_last")
    return joined.filter(is_last.fill_null(value=True)).select(rows.columns)


def _stored_elsewhere(directory: Path, given: pl.LazyFrame, bucket_of: pl.Expr) -> pl.LazyFrame:
    """Return given events that are stored on another day: those of `_own_events`, with the stored day."""
    stored = scan_files(partition_files(directory)).filter(pl.col(REPLACED_BY).is_null())
    latest = given.unique(IDENTITY, keep="last", maintain_order=True)
    joined = stored.select(*_place_of_event(bucket_of)).join(latest, on=_IDENTITY_HASH, suffix="_given")
    return joined.filter(pl.col(DATE) != pl.col(f"{DATE}_given"))


def _without_known(
    directory: Path, given: pl.LazyFrame, bucket_of: pl.Expr, sources: frozenset[str]
) -> tuple[pl.LazyFrame, pl.DataFrame]:
    """Leave out rows of sources that keep what is known, if another day has the event; return the counts of those.

    Of an event that such a source gives for several days, the one given first stays.
    """
    own = _own_events(given, bucket_of, sources)
    if not sources or not own.limit(1).collect().height:
        return given, _count_frame([])
    rows = given.with_row_index(_PLACE)
    is_own = pl.col(SOURCE).is_in(sources)
    repeated = rows.filter(is_own & ~pl.struct(IDENTITY).is_first_distinct()).select(_PLACE)
    elsewhere = (
        _stored_elsewhere(directory, own, bucket_of).select(IDENTITY) if partition_files(directory) else None
    )
    if elsewhere is not None:
        known = rows.filter(is_own).join(elsewhere, on=IDENTITY, how="semi").select(_PLACE)
        repeated = pl.concat([repeated, known]).unique()
    dropped = repeated.collect(engine="streaming")
    left = rows.join(dropped.lazy(), on=_PLACE, how="anti", maintain_order="left").drop(_PLACE)
    counts = rows.join(dropped.lazy(), on=_PLACE, how="semi").group_by(SOURCE).len("rows").collect()
    return left, _count_frame([{SOURCE: s, "outcome": UNCHANGED, "rows": size} for s, size in counts.rows()])


def _replace_moved(directory: Path, own: pl.LazyFrame, bucket_of: pl.Expr, ingest: IngestOfEvents) -> WrittenEvents:
    """Mark stored events as replaced that are given again for another day.

    The counts turn them from new into changed events.
    """
    written = list[Path]()
    counts: list[dict[str, object]] = []
    if not partition_files(directory):
        return WrittenEvents(_count_frame(counts), ())
    for part in _passes(own):
        frame = _stored_elsewhere(directory, own.filter(part), bucket_of).collect(engine="streaming")
        for (bucket, day), rows in frame.partition_by(BUCKET, DATE, as_dict=True).items():
            file = partition_file(directory, int(bucket), str(day))
            current = read_partition(file).with_row_index(_PLACE)
            moved = current.filter(pl.col(REPLACED_BY).is_null()).join(rows, on=IDENTITY, how="semi")[_PLACE]
            is_moved = pl.col(_PLACE).is_in(moved.implode())
            replaced = pl.when(is_moved).then(pl.lit(ingest.number, pl.Int32)).otherwise(REPLACED_BY)
            write_partition(file, mark_current(current.with_columns(replaced.alias(REPLACED_BY)).drop(_PLACE)))
            written.append(file)
        for source, size in frame.unique(IDENTITY).group_by(SOURCE).len().rows():
            counts += [
                {SOURCE: source, "outcome": NEW, "rows": -size},
                {SOURCE: source, "outcome": CHANGED, "rows": size},
            ]
    return WrittenEvents(_count_frame(counts), tuple(written))


def _count_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=COUNT_DTYPES)


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
