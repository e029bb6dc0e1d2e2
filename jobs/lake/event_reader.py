"""Read the current events of a lake, those of guests as events of the users that they turned out to be."""

from datetime import date
from pathlib import Path

import polars as pl

from jobs.lake.event_partitions import IS_CURRENT
from jobs.lake.event_writer import bucket_expression, partition_files, scan_files
from jobs.lake.identities import of_guests, without_guests
from recsys.schema import EVENT_DTYPES


def read_events(
    directory: Path, buckets: int, bucket: int | None, since: date | None, identities: pl.DataFrame | None
) -> pl.LazyFrame:
    """Return the events of all users or of those of one bucket, from a UTC day on, as `EVENT_DTYPES`.

    A guest of `identities`, whose events may be in any bucket, is in the bucket of the user.
    """
    events = _current_events(directory, bucket, since)
    if identities is None:
        return events
    own = without_guests(events, identities)
    known = identities if bucket is None else identities.filter(bucket_expression(buckets) == bucket)
    if known.is_empty():
        return own
    return pl.concat([own, of_guests(_current_events(directory, None, since), known)])


def _current_events(directory: Path, bucket: int | None, since: date | None) -> pl.LazyFrame:
    files = partition_files(directory, bucket, since)
    if not files:
        return pl.LazyFrame(schema=EVENT_DTYPES)
    return scan_files(files).filter(IS_CURRENT).select(*EVENT_DTYPES)
