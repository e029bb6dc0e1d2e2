"""Findings about the data's quality: rows in quarantine, and changes of the sources' columns."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True)
class Quarantine:
    """Numbers of quarantined events, by the day of their own timestamp."""

    per_day: tuple[tuple[date, str, int], ...]
    """Day, the first rule that the rows broke, number of rows; in order of day."""
    undated: int
    """Rows whose day cannot be read, or lies outside the days of the other events."""


@dataclass(frozen=True)
class SchemaChange:
    """A column of a source that was added, was removed, or changed its type between two ingests."""

    table: str
    column: str
    before: str | None
    """Its type; None if the column is new."""
    after: str | None
    """Its type; None if the column was removed."""
    when: datetime
    """Time of the ingest that detected the change (UTC)."""
