"""The sources that an ingest has staged, compared with their earlier readings: what stops it, what they replace."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import structlog

from jobs.ingest.mapping import RULES, SOURCE_ROW
from jobs.ingest.source_records import SourceRecord, quarantine_file, read_record, stopped_file
from jobs.ingest.validation import StagedTable
from jobs.lake.event_writer import Days, scan_files
from jobs.lake.lake import Lake
from jobs.lake.quarantine_history import keep_quarantine
from recsys.errors import SourceError
from recsys.files import atomic_write
from recsys.schema import TIMESTAMP
from recsys.settings import Sources, Table

log = structlog.get_logger(__name__)

MIN_ROWS_OF_SHARE = 100  # of a table, below which only a source of bad rows alone stops the ingest
# In the metadata of a quarantine file.
SOURCE_NAME, INGEST_NUMBER, PARSING, TIME_FORMAT = "source", "ingest", "parsing", "time_format"
PARSING_SETTINGS = (
    "encoding",
    "separator",
    "quote",
    "header",
    "column_names",
    "skip_rows",
    "fill_down",
    "sheet",
    "explode",
    "query",
)
ZONE_TOLERANCE = timedelta(days=1)  # that a corrected time zone may move the first and the last event
MIN_SPAN_OF_TOLERANCE = timedelta(days=7)  # of earlier events, so that a file of each day does not replace the last


@dataclass(frozen=True)
class SourceReading:
    """One staged source, with its earlier reading."""

    staged: StagedTable
    earlier: SourceRecord | None
    days: Days | None
    """First and last day of its valid events."""
    is_replacing: bool
    """Whether its events replace those that it gave before."""

    @property
    def is_new(self) -> bool:
        """Return whether the source was not read before with this content and this mapping."""
        return self.earlier is None or self.earlier.fingerprint != self.staged.source.fingerprint


def check_readings(
    staged: Sequence[StagedTable], lake: Lake, sources: Sources, replaces_earlier: bool = False
) -> list[SourceReading]:
    """Compare staged sources with their earlier readings; with `replaces_earlier`, all of them replace those.

    Raises `SourceError` when a table has too many bad rows, which are then in quarantine, or a source too few rows.
    """
    readings = [compare_reading(part, lake, replaces_earlier) for part in staged]
    _check_bad_rows(readings, lake, sources)
    readings = [replace(reading, staged=_without_repeated(reading.staged, lake)) for reading in readings]
    if not replaces_earlier:
        _check_row_numbers(readings, sources)
    return readings


def valid_files(staged: StagedTable) -> list[Path]:
    """Return the files of the valid rows of a source."""
    return sorted((staged.directory / "valid").iterdir())


def valid_rows(staged: StagedTable) -> pl.LazyFrame:
    """Return the valid rows of a source."""
    return scan_files(valid_files(staged))


def write_quarantine(staged: StagedTable, lake: Lake, ingest: int | None) -> None:
    """Write the rejected rows of a source's latest reading, or remove their file if there are none.

    `ingest` is the number of the ingest, None if it stops: then those of the earlier reading stay. An increment by
    watermark has a file of its own beside those of earlier increments. What undoing the ingest restores is kept.
    """
    source, stopped = staged.source.source, stopped_file(lake, staged.source.source)
    if ingest is None:
        _write_rejected(staged, stopped, None)
        return
    file = quarantine_file(lake, source, ingest if staged.source.is_increment else None)
    earlier = [] if staged.source.is_increment else [each for each in _increments(lake, source) if each != file]
    keep_quarantine(lake.directory, ingest, [file, *earlier])
    _write_rejected(staged, file, ingest)
    for other in (*earlier, stopped):
        other.unlink(missing_ok=True)


def _increments(lake: Lake, source: str) -> list[Path]:
    """Return the files of rejected rows of the increments of a source."""
    file = quarantine_file(lake, source)
    return sorted(file.parent.glob(f"{file.stem}-[0-9]*.parquet"))


def _write_rejected(staged: StagedTable, file: Path, ingest: int | None) -> None:
    if staged.rows == staged.valid + staged.repeated:
        file.unlink(missing_ok=True)
        return
    with atomic_write(file) as temporary:
        rejected_rows(staged).sink_parquet(temporary, metadata=quarantine_metadata(staged, ingest))


def rejected_rows(staged: StagedTable) -> pl.LazyFrame:
    """Return the rejected rows of a source."""
    return scan_files(sorted((staged.directory / "quarantine").iterdir()))


def quarantine_metadata(staged: StagedTable, ingest: int | None) -> dict[str, str]:
    """Return the metadata of a quarantine file, which tell where its rows came from and how they were read."""
    return {
        SOURCE_NAME: staged.source.source,
        INGEST_NUMBER: "" if ingest is None else str(ingest),
        PARSING: parsing(staged.table),
        TIME_FORMAT: staged.time_format or "",
    }


def _without_repeated(staged: StagedTable, lake: Lake) -> StagedTable:
    """Leave out rejected rows of an increment that an earlier, overlapping increment put into quarantine."""
    source = staged.source.source
    own = quarantine_file(lake, source, lake.last_ingest() + 1)  # of an ingest that was killed
    files = (quarantine_file(lake, source), *_increments(lake, source))
    earlier = [file for file in files if file != own and file.exists()]
    if not staged.source.is_increment or staged.rows == staged.valid or not earlier:
        return staged
    known = pl.concat([_row_hashes(scan_files([file])).collect() for file in earlier])["hash"].unique().implode()
    rules: Counter[str] = Counter()
    repeated = 0
    for file in sorted((staged.directory / "quarantine").iterdir()):
        rows = pl.read_parquet(file, glob=False)
        new = rows.filter(~_row_hashes(rows.lazy()).collect()["hash"].is_in(known))
        repeated += rows.height - new.height
        rules.update(new[RULES].str.split(", ").explode().drop_nulls())
        new.write_parquet(file)
    return replace(staged, repeated=repeated, new_rules=dict(rules))


def _row_hashes(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return a hash of each rejected row as its source has it, or of the values that were kept of it."""
    names = rows.collect_schema().names()
    values = pl.struct(pl.col(name) for name in names if name not in (RULES, SOURCE_ROW)).hash()
    if SOURCE_ROW not in names:
        return rows.select(values.alias("hash"))
    row = pl.col(SOURCE_ROW)
    return rows.select(pl.when(row.is_null()).then(values).otherwise(row.hash()).alias("hash"))


def parsing(table: Table) -> str:
    """Return the settings that determine which rows and columns a source has, as text."""
    return repr([(name, getattr(table, name)) for name in PARSING_SETTINGS])


def compare_reading(staged: StagedTable, lake: Lake, replaces_earlier: bool = False) -> SourceReading:
    """Compare a staged source with its earlier reading."""
    earlier = read_record(lake, staged.source.source)
    days = _days(staged) if staged.table.kind == "events" else None
    is_replacing = (
        earlier is not None
        and staged.table.kind == "events"
        and (replaces_earlier or _is_replacing(staged, earlier, days))
    )
    return SourceReading(staged, earlier, days, is_replacing)


def _is_replacing(staged: StagedTable, earlier: SourceRecord, days: Days | None) -> bool:
    """Return whether a source gives all that it gave before, corrected, rather than more of the same."""
    if staged.source.is_increment or staged.table.replaces == "never":
        return False
    if staged.table.replaces == "always" or (earlier.content and earlier.content == staged.source.content):
        return True
    if earlier.first_day is None or earlier.last_day is None:
        return True
    span = earlier.last_day - earlier.first_day
    tolerance = ZONE_TOLERANCE if span >= MIN_SPAN_OF_TOLERANCE else timedelta()
    if days and days[0] <= earlier.first_day + tolerance and days[1] >= earlier.last_day - tolerance:
        return True
    log.warning(
        'source has other events than before: they are added (replaces = "always" or --replace corrects them)',
        source=staged.source.display_name,
        earlier=f"{earlier.first_day} to {earlier.last_day}",
        now=f"{days[0]} to {days[1]}" if days else "none",
    )
    return False


def _days(staged: StagedTable) -> Days | None:
    """Return the first and the last day of the valid events of a source."""
    day = pl.col(TIMESTAMP).dt.date()
    first, last = valid_rows(staged).select(day.min().alias("first"), day.max().alias("last")).collect().row(0)
    return None if first is None else (first, last)


def _check_bad_rows(readings: Sequence[SourceReading], lake: Lake, sources: Sources) -> None:
    """Raise `SourceError` for a table with too many bad rows; its bad rows are written to quarantine."""
    for name in dict.fromkeys(reading.staged.table.name for reading in readings):
        parts = [reading.staged for reading in readings if reading.staged.table.name == name]
        table = parts[0].table
        limit = sources.max_bad_rows if table.max_bad_rows is None else table.max_bad_rows
        rows, valid = sum(part.rows for part in parts), sum(part.valid for part in parts)
        broken = next((part for part in parts if part.rows and not part.valid), None)
        is_within = rows < MIN_ROWS_OF_SHARE or rows - valid <= limit * rows
        if limit >= 1 or (is_within and broken is None):
            continue
        worst = broken or max(parts, key=lambda part: (part.rows - part.valid) / max(part.rows, 1))
        for part in parts:
            write_quarantine(part, lake, None)
        rules = ", ".join(f"{rule} ({count:,})" for rule, count in Counter(worst.rules).most_common())
        place = "above" if lake.original is not None else f"in {stopped_file(lake, worst.source.source)}"
        raise SourceError(
            f"{worst.source.display_name}: {worst.rows - worst.valid:,} of {worst.rows:,} rows broke rules of "
            f"table {name!r}: {rules}; max_bad_rows = {limit:g} allows {limit:.0%} of a table. "
            f"The lake is unchanged; see the rows {place}"
        )


def _check_row_numbers(readings: Sequence[SourceReading], sources: Sources) -> None:
    """Raise `SourceError` for a source that has much fewer rows than it had before."""
    for reading in readings:
        staged, earlier = reading.staged, reading.earlier
        limit = sources.min_rows if staged.table.min_rows is None else staged.table.min_rows
        if earlier is None or staged.source.is_increment or staged.given >= limit * earlier.rows:
            continue
        raise SourceError(
            f"{staged.source.display_name}: {staged.given:,} rows, {earlier.rows:,} at the last reading; "
            f"min_rows = {limit:g} expects {limit:.0%} of them. The lake is unchanged; `recsys ingest --replace` "
            "takes the rows as they are"
        )
