"""Read rows in quarantine again by the present settings: from their file if it is there, else as they were kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl

from jobs.checks.quarantine import QuarantineFile, breaks_rule, count_rules
from jobs.ingest.files import contract_tables, matching_tables
from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.numbers import numbers_in
from jobs.ingest.formats.registry import format_of
from jobs.ingest.mapping import SOURCE_ROW
from jobs.ingest.plan import IngestPlan, TableSource
from jobs.ingest.source_readings import (
    PARSING,
    TIME_FORMAT,
    parsing,
    quarantine_metadata,
    rejected_rows,
)
from jobs.ingest.source_records import SourceRecord, quarantine_file, read_record
from jobs.ingest.times import DAY_FIRST, MONTH_FIRST
from jobs.ingest.validation import StagedTable, stage
from jobs.lake.event_writer import scan_files
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import opted_out_users
from jobs.lake.tombstones import read_tombstones
from recsys.errors import SourceError
from recsys.files import fingerprint
from recsys.settings import Sources, Table


class NotRetriedError(Exception):
    """Says why the rows of a file in quarantine are not read again."""


@dataclass(frozen=True)
class Rereading:
    """A file in quarantine whose rows were read again, on disk but not yet in the lake."""

    file: QuarantineFile
    record: SourceRecord
    """The earlier reading of the source."""
    staged: StagedTable
    is_whole: bool
    """Whether the whole file of the source was read again, rather than the rows in quarantine."""
    rows: int
    """Rows in quarantine that were read again."""
    quarantine: Path
    """File with the rows that stay in quarantine."""
    quarantined: int
    rules: dict[str, int]

    @property
    def accepted(self) -> int:
        """Return the number of rows in quarantine that keep all rules now."""
        return max(0, self.file.rows - self.quarantined) if self.is_whole else self.staged.valid

    @property
    def is_changed(self) -> bool:
        """Return whether the rows are read in another way than before."""
        is_mended = self.is_whole and self.staged.source.fingerprint != self.record.fingerprint
        return is_mended or (self.quarantined, self.rules) != (self.file.rows, self.file.rules)


@dataclass(frozen=True)
class QuarantineReader:
    """Reads the rows of files in quarantine by the present settings, and writes what it reads below `scratch`."""

    lake: Lake
    sources: Sources
    latest: datetime
    scratch: Path
    on_rows: Callable[[int], None]

    def read(self, file: QuarantineFile, rules: Sequence[str]) -> Rereading:
        """Read the rows of a file that broke a rule again; raises `NotRetriedError` with a reason not to."""
        if file.ingest is None:
            raise NotRetriedError("its ingest stopped because of them: `recsys ingest` reads the source")
        record = read_record(self.lake, f"{file.table}/{file.source}")
        if record is None:
            raise NotRetriedError("no ingest of the source is in the lake")
        tables = [*self.sources.queries, *(self.sources.file_tables or contract_tables())]
        table = next((each for each in tables if each.name == file.table), None)
        if table is None or table.kind != record.kind:
            raise NotRetriedError(f"the settings have no table {file.table!r} of {record.kind}")
        directory = self.scratch / file.path.stem
        try:
            if self._is_unchanged(file, table, record):
                return self._read_file(file, record, directory)
            return self._read_rows(file, table, record, rules, directory)
        except SourceError as error:
            raise NotRetriedError(str(error)) from None

    def _is_unchanged(self, file: QuarantineFile, table: Table, record: SourceRecord) -> bool:
        """Return whether the file of a source is still there as it was read, and may be read again as a whole."""
        path = Path(file.source)
        is_whole = file.path == quarantine_file(self.lake, record.source) and table.watermark is None
        is_there = is_whole and bool(record.content) and path.is_absolute() and path.is_file()
        is_read = is_there and table in matching_tables(path.name, self.sources)
        return is_read and fingerprint(path) == record.content

    def _read_file(self, file: QuarantineFile, record: SourceRecord, directory: Path) -> Rereading:
        plan = IngestPlan(self.sources, self.lake, full=True)
        found = plan.file_sources([file.source], self.scratch)
        source = next(source for source in found if source.source == record.source)
        staged = self._stage(source, directory)
        bad = staged.rows - staged.valid
        if bad > file.rows:
            raise NotRetriedError(f"by the present settings {bad:,} rows of the file break a rule")
        kept = directory / "kept.parquet"
        rejected_rows(staged).sink_parquet(kept, metadata=quarantine_metadata(staged, file.ingest))
        return Rereading(file, record, staged, True, file.rows, kept, *count_rules(kept))

    def _read_rows(
        self, file: QuarantineFile, table: Table, record: SourceRecord, rules: Sequence[str], directory: Path
    ) -> Rereading:
        metadata = pl.read_parquet_metadata(file.path)
        rows = scan_files([file.path])
        if SOURCE_ROW not in rows.collect_schema().names():
            raise NotRetriedError("the rows of the source were not kept: ingest it again")
        if metadata.get(PARSING) != parsing(table):
            raise NotRetriedError("the settings by which the source is parsed have changed: ingest it again")
        is_read = breaks_rule(rules) & pl.col(SOURCE_ROW).is_not_null()
        chosen = rows.filter(is_read)
        count = int(chosen.select(pl.len()).collect().item())
        if not count:
            raise NotRetriedError("a line that is no row can only be read from its file")
        source = self._source(chosen, _table_of_rows(table, metadata), record)
        staged = self._stage(source, directory)
        kept = directory / "kept.parquet"
        remaining = pl.concat([rows.filter(~is_read), rejected_rows(staged)], how="diagonal")
        described = {**quarantine_metadata(staged, file.ingest), TIME_FORMAT: metadata.get(TIME_FORMAT, "")}
        remaining.sink_parquet(kept, metadata=described)
        return Rereading(file, record, staged, False, count, kept, *count_rules(kept))

    def _source(self, chosen: pl.LazyFrame, table: Table, record: SourceRecord) -> TableSource:
        """Return rows in quarantine as a source, of which they are an increment."""
        chunks = partial(_source_rows, chosen, self.sources.chunk_rows)
        file_format = format_of(record.file) if table.query is None else None
        is_delimited = file_format is not None and file_format.is_delimited
        return TableSource(
            table,
            record.source.partition("/")[2],
            record.file,
            record.source,
            chunks(),
            record.fingerprint,
            record.content,
            record.version,
            is_increment=True,
            earlier_columns=IngestPlan(self.sources, self.lake).earlier_columns(table),
            numbers=numbers_in(chunks) if is_delimited else None,
        )

    def _stage(self, source: TableSource, directory: Path) -> StagedTable:
        lake = self.lake
        refused = read_tombstones(lake.directory), opted_out_users(lake.directory)
        return stage(source, self.sources, self.latest, directory, self.on_rows, lake.pseudonyms, *refused)


def _table_of_rows(table: Table, metadata: Mapping[str, str]) -> Table:
    """Return a table for rows that are read already, by the order of day and month that all rows decided."""
    order = metadata.get(TIME_FORMAT)
    return replace(
        table,
        time_format=order if table.time_format is None and order in (DAY_FIRST, MONTH_FIRST) else table.time_format,
        keep="last" if table.watermark else table.keep,
        watermark=None,
        fill_down=(),
    )


def _source_rows(chosen: pl.LazyFrame, chunk_rows: int) -> Iterator[Chunk]:
    """Yield rows as their source had them, in chunks."""
    for rows in chosen.select(SOURCE_ROW).collect_batches(chunk_size=chunk_rows, maintain_order=True):
        yield Chunk(rows.unnest(SOURCE_ROW))
