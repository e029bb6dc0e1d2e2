"""Data quality of the sources: rows read and rejected, quarantined rows by day, changed columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class SourceCounts:
    """The number of rows of one source, by what happened to them."""

    name: str
    rows_read: int
    accepted: int
    duplicates: int
    quarantined: int
    """Rows that broke a rule and were moved to quarantine."""
    rules: Mapping[str, int]
    """Rule -> rows that broke it; a row may break several."""
    findings: tuple[str, ...] = ()
    """How the rows were read, and what may be wrong with them although they keep all rules."""


@dataclass(frozen=True)
class QuarantineCounts:
    """The number of quarantined event rows for each day and rule."""

    per_day: tuple[tuple[date, str, int], ...] = ()
    """Day, the first rule that the row broke, number of rows; in order of day."""
    undated: int = 0
    """Rows whose timestamp cannot be parsed or lies outside the days of the accepted events."""


@dataclass(frozen=True)
class SchemaChange:
    """A column of a source that was added, removed, or changed its type between two ingests."""

    table: str
    column: str
    before: str | None
    """The earlier type; None for an added column."""
    after: str | None
    """The later type; None for a removed column."""
    when: datetime
    """Wall-clock time of the ingest that detected the change."""
