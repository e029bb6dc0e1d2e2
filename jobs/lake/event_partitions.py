"""Stored events of one bucket and day: who gave each row, which ingest, and which row of an event is current.

A partition is one file. It keeps rows that a later ingest replaced, and rows of the same event from several
sources, so that an ingest can be undone; readers see the current row of each event only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.state_files import read_state
from recsys.event_ids import row_hash
from recsys.files import atomic_write
from recsys.schema import EVENT_DTYPES, EVENT_ID, SOURCE, TIMESTAMP, USER_ID

FILE: Final = "events.parquet"
IDENTITY: Final = (USER_ID, EVENT_ID)
"""The columns that identify an event: the ids that one user's events have say nothing of another's."""
INGEST: Final = "ingest"
REPLACED_BY: Final = "replaced_by"
IS_CURRENT: Final = "is_current"
STORED_DTYPES: Final = {
    **EVENT_DTYPES,
    SOURCE: pl.String(),
    INGEST: pl.Int32(),
    REPLACED_BY: pl.Int32(),
    IS_CURRENT: pl.Boolean(),
}
"""Columns of a partition: those of events, the source, and the ingests that gave and replaced the row."""
COUNT_DTYPES: Final = {SOURCE: pl.String(), "outcome": pl.String(), "rows": pl.Int64()}
KEPT_INGESTS: Final = 50  # rows that an ingest before the last 50 replaced are removed, and cannot be restored
_HASH: Final = "_hash"
_SAID: Final = "_said"
_IS_REPEATED: Final = "_is_repeated"
_POSITION: Final = "_position"

NEW: Final = "new"
CHANGED: Final = "changed"
UNCHANGED: Final = "unchanged"
REMOVED: Final = "removed"
CURRENT: Final = "current"


@dataclass(frozen=True)
class IngestOfEvents:
    """What one ingest does to the partitions that it touches."""

    number: int
    """Ingests are numbered from 1 in their order."""
    replacing: frozenset[str] = frozenset()
    """Sources that are given whole: their earlier rows that are not given again are replaced."""
    keeps_known: frozenset[str] = frozenset()
    """Sources whose rows are dropped where the event is already in the lake, as for events received online."""


@dataclass(frozen=True)
class Merge:
    """A partition after an ingest, and the numbers of rows by source and outcome."""

    rows: pl.DataFrame
    counts: pl.DataFrame
    """Columns: source, outcome (new, changed, unchanged, removed; current: all current events), rows."""
    is_changed: bool


def empty_partition() -> pl.DataFrame:
    """Return a partition without rows."""
    return pl.DataFrame(schema=STORED_DTYPES)


def merge_partition(stored: pl.DataFrame, given: pl.DataFrame, ingest: IngestOfEvents) -> Merge:
    """Merge the rows that an ingest gives into the stored rows of a partition.

    `stored` has the columns of `STORED_DTYPES`, `given` those of events and the source. An event that a source
    gives twice is taken as it was given last. A row that says the same as the stored row of its source stays as it
    is; one that says something else replaces it. Of several sources of an event, the one that changed it last is
    current.
    """
    if stored.is_empty() and given[SOURCE].n_unique() == 1:
        return _first_merge(given.unique(IDENTITY, keep="last", maintain_order=True), ingest.number)
    given = given.unique([SOURCE, *IDENTITY], keep="last", maintain_order=True)
    given = given.with_columns(_content_hash())
    stored = stored.with_columns(_content_hash())
    known = stored.filter(pl.col(REPLACED_BY).is_null())
    keeps_known = pl.col(SOURCE).is_in(ingest.keeps_known)
    dropped = given.filter(keeps_known).join(known, on=IDENTITY, how="semi")
    given = given.join(dropped, on=[SOURCE, *IDENTITY], how="anti", maintain_order="left")
    outcomes = _outcomes(given, known)
    added = given.join(known, on=[SOURCE, *IDENTITY, _HASH], how="anti", maintain_order="left")
    is_replaced = _replaced(stored, given, ingest)
    number = pl.lit(ingest.number, pl.Int32)
    rows = pl.concat(
        [
            stored.select(
                *EVENT_DTYPES,
                SOURCE,
                INGEST,
                pl.when(is_replaced).then(number).otherwise(REPLACED_BY).alias(REPLACED_BY),
                IS_CURRENT,
            ),
            _as_stored(added, ingest.number, is_current=False),
        ]
    )
    rows = mark_current(rows.filter(_is_kept(ingest.number)))
    removed = stored.filter(IS_CURRENT).join(rows.filter(IS_CURRENT), on=IDENTITY, how="anti")
    own = rows.filter(IS_CURRENT).join(given, on=[SOURCE, *IDENTITY], how="semi")
    counts = [outcomes, _count(dropped, UNCHANGED), _count(removed, REMOVED), _count(own, CURRENT)]
    return Merge(rows, pl.concat(counts), is_changed=bool(added.height) or bool(is_replaced.any()))


def _first_merge(given: pl.DataFrame, number: int) -> Merge:
    """Return a new partition with the events of a single source, all of which are current."""
    rows = _as_stored(given, number, is_current=True).sort(USER_ID, TIMESTAMP, EVENT_ID)
    count = pl.DataFrame({SOURCE: rows[SOURCE][:1], "outcome": NEW, "rows": rows.height}, COUNT_DTYPES)
    return Merge(rows, pl.concat([count, count.with_columns(outcome=pl.lit(CURRENT))]), is_changed=True)


def _as_stored(given: pl.DataFrame, number: int, *, is_current: bool) -> pl.DataFrame:
    return given.select(
        *EVENT_DTYPES,
        SOURCE,
        pl.lit(number, pl.Int32).alias(INGEST),
        pl.lit(None, pl.Int32).alias(REPLACED_BY),
        pl.lit(is_current).alias(IS_CURRENT),
    )


def mark_current(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark the current row of each event, and sort the rows by user and time.

    It is the row that the last ingest gave of those that none replaced; of rows that say the same, the first one.
    """
    is_known = pl.col(REPLACED_BY).is_null()
    ordered = rows.with_columns(_content_hash()).sort(INGEST, SOURCE, maintain_order=True).with_row_index(_POSITION)
    last = pl.col(_HASH).filter(is_known).last().over(IDENTITY)
    candidate = ordered.with_columns(pl.when(is_known & (pl.col(_HASH) == last)).then(_POSITION).alias(_POSITION))
    is_current = (pl.col(_POSITION) == pl.col(_POSITION).min().over(IDENTITY)).fill_null(value=False)
    current = candidate.with_columns(is_current.alias(IS_CURRENT))
    return current.drop(_HASH, _POSITION).sort(USER_ID, TIMESTAMP, EVENT_ID, INGEST, SOURCE)


def undo_ingest(
    rows: pl.DataFrame, number: int, kept_source: str, later_readings: Mapping[str, int]
) -> pl.DataFrame:
    """Remove the rows that an ingest gave, except those of `kept_source`, and restore those that it replaced.

    A row stays replaced if a later ingest gave all events of its source, and left it out: `later_readings` names
    the first such ingest by source.
    """
    later = pl.col(SOURCE).replace_strict(
        list(later_readings), list(later_readings.values()), default=None, return_dtype=pl.Int32
    )
    restored = (
        pl.when(pl.col(REPLACED_BY) != number).then(REPLACED_BY).when(pl.col(REPLACED_BY) == number).then(later)
    )
    kept = rows.filter((pl.col(INGEST) != number) | (pl.col(SOURCE) == kept_source))
    return mark_current(kept.with_columns(restored.alias(REPLACED_BY)))


def read_partition(file: Path) -> pl.DataFrame:
    """Read all stored rows of a partition, also those that are not current; empty where there is no file."""
    return read_state(file) if file.exists() else empty_partition()


def write_partition(file: Path, rows: pl.DataFrame) -> None:
    """Write a partition atomically; without rows its file is removed."""
    if rows.is_empty():
        file.unlink(missing_ok=True)
        return
    with atomic_write(file) as temporary:
        rows.write_parquet(temporary)


def _content_hash() -> pl.Expr:
    return row_hash(EVENT_DTYPES).alias(_HASH)


def _outcomes(given: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Count the given rows by source and by what they say of the current row of their event.

    A row that its source has given before is unchanged, also where another source's row is current.
    """
    repeated = known.select(SOURCE, *IDENTITY, _HASH).with_columns(pl.lit(value=True).alias(_IS_REPEATED))
    current = known.filter(IS_CURRENT).select(*IDENTITY, pl.col(_HASH).alias(_SAID))
    first = pl.col(_HASH).first().over(IDENTITY)  # of the same event from several sources of this ingest
    is_first = pl.struct(IDENTITY).is_first_distinct()
    before = pl.coalesce(_SAID, pl.when(~is_first).then(first))
    outcome = (
        pl.when(before.is_null())
        .then(pl.lit(NEW))
        .when((before == pl.col(_HASH)) | pl.col(_IS_REPEATED))
        .then(pl.lit(UNCHANGED))
        .otherwise(pl.lit(CHANGED))
    )
    joined = given.select(SOURCE, *IDENTITY, _HASH).join(current, on=IDENTITY, how="left", maintain_order="left")
    compared = joined.join(repeated, on=[SOURCE, *IDENTITY, _HASH], how="left", maintain_order="left")
    return (
        compared.group_by(SOURCE, outcome.alias("outcome"))
        .len("rows")
        .select(SOURCE, "outcome", pl.col("rows").cast(pl.Int64))
    )


def _replaced(stored: pl.DataFrame, given: pl.DataFrame, ingest: IngestOfEvents) -> pl.Series:
    """Return which stored rows the ingest replaces: by another row of their source, or because it left them out."""
    said = given.select(SOURCE, *IDENTITY, pl.col(_HASH).alias(_SAID))
    compared = stored.join(said, on=[SOURCE, *IDENTITY], how="left", maintain_order="left")
    is_left_out = pl.col(_SAID).is_null() & pl.col(SOURCE).is_in(ingest.replacing)
    is_corrected = (pl.col(_SAID) != pl.col(_HASH)).fill_null(value=False)
    return compared.select(pl.col(REPLACED_BY).is_null() & (is_corrected | is_left_out)).to_series()


def _count(rows: pl.DataFrame, outcome: str) -> pl.DataFrame:
    return (
        rows.group_by(SOURCE)
        .len("rows")
        .select(SOURCE, pl.lit(outcome).alias("outcome"), pl.col("rows").cast(pl.Int64))
    )


def _is_kept(number: int) -> pl.Expr:
    """Keep rows that were not replaced, or only by one of the last ingests."""
    return pl.col(REPLACED_BY).is_null() | (pl.col(REPLACED_BY) > number - KEPT_INGESTS)
