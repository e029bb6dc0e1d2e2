"""A dry run of an ingest: what it would do, on a temporary copy of the lake, and the first rows of each table."""

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from jobs.ingest.mapping import RULES, SOURCE_ROW
from jobs.ingest.source_readings import valid_rows
from jobs.ingest.validation import StagedTable
from jobs.lake.event_writer import scan_files
from jobs.lake.lake import Lake
from jobs.scheduler.lock import job_lock
from recsys.files import link_or_copy
from recsys.schema import SOURCE

JOB = "dry-run"
MAX_ROWS = 5  # that are shown of each table, and of each rule that its rows break
NOT_COPIED = ("quarantine", "impressions", "flags", ".lock", "*.partial")


@dataclass(frozen=True)
class BadRows:
    """The first rows of a source that broke a rule."""

    table: str
    rule: str
    file: str
    rows: pl.DataFrame
    """Values as they came, as text."""


@dataclass(frozen=True)
class SampleRows:
    """The first rows of each table as they will be read, and the first bad rows of each table and rule."""

    valid: dict[str, pl.DataFrame] = field(default_factory=dict[str, pl.DataFrame])
    """Table -> rows in the contract's columns."""
    bad: list[BadRows] = field(default_factory=list[BadRows])

    def add(self, staged: StagedTable) -> None:
        """Take the rows of a source that are still missing, up to `MAX_ROWS` of its table and of each rule."""
        name = staged.table.name
        rows = valid_rows(staged).head(MAX_ROWS).collect().drop(SOURCE, strict=False)
        known = self.valid.get(name)
        self.valid[name] = (rows if known is None else pl.concat([known, rows])).head(MAX_ROWS)
        if staged.rules:
            self.bad.extend(self._bad_rows(staged))

    def _bad_rows(self, staged: StagedTable) -> Iterator[BadRows]:
        rejected = scan_files(sorted((staged.directory / "quarantine").iterdir()))
        for rule in sorted(staged.rules):
            shown = sum(
                each.rows.height for each in self.bad if (each.table, each.rule) == (staged.table.name, rule)
            )
            if shown < MAX_ROWS:
                broken = rejected.filter(pl.col(RULES).str.split(", ").list.contains(rule))
                rows = broken.head(MAX_ROWS - shown).drop(SOURCE_ROW, strict=False).collect()
                yield BadRows(staged.table.name, rule, staged.source.file, rows)


@contextmanager
def copied_lake(lake: Lake, directory: Path) -> Generator[Lake]:
    """Yield a temporary copy of a lake, in a data directory, that an ingest may write to.

    Its files are links to those of the lake, which are never changed in place, so that a copy takes no space. The
    lake is locked only while they are made. Raises `BusyError` while another process makes a dry run.
    """
    with job_lock(directory, JOB):
        copy = directory / JOB
        shutil.rmtree(copy, ignore_errors=True)
        try:
            if lake.directory.is_dir():
                ignored = shutil.ignore_patterns(*NOT_COPIED)
                with lake.locked():
                    shutil.copytree(lake.directory, copy, copy_function=link_or_copy, ignore=ignored)
            yield replace(lake, directory=copy, original=lake.directory)
        finally:
            with suppress(FileNotFoundError):
                shutil.rmtree(copy)
