"""Check sources before an ingest: that each is found, and that a sample of each table can be read and mapped."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from jobs.checks.outcome import Check, doubtful, failed, passed
from jobs.ingest.files import FoundFile, matching_tables
from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.numbers import numbers_of
from jobs.ingest.formats.registry import format_of, read_chunks
from jobs.ingest.ingest import check_tables
from jobs.ingest.plan import IngestPlan, SourceFile, TableSource
from jobs.ingest.queries import read_query, resolve_connection
from jobs.ingest.source_readings import MIN_ROWS_OF_SHARE
from jobs.ingest.validation import StagedTable, stage
from jobs.lake.lake import Lake
from recsys.errors import RecsysError
from recsys.settings import Sources, Table
from recsys.settings.types import redact_address

SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class SourceChecks:
    """Checks of the sources of an ingest into a lake; they read the lake and write temporary files to `scratch`."""

    sources: Sources
    lake: Lake
    latest: datetime
    """Later events break a rule."""
    scratch: Path

    def run(self, paths: Sequence[str], with_queries: bool) -> Iterator[Check]:
        """Check that sources are found, and the first `SAMPLE_ROWS` rows of each table.

        Of a table of files, they are those of its first file; of a query, those that the database gives first.
        """
        try:
            check_tables(self.sources)
        except RecsysError as error:
            yield failed("tables", str(error))
            return
        files: list[SourceFile] = []
        for path in paths:
            check, found = self._find(path)
            yield check
            files += found
        first: dict[str, tuple[Table, SourceFile]] = {}
        for file in files:
            for table in matching_tables(file.name, self.sources):
                first.setdefault(table.name, (table, file))
        for table, file in first.values():
            yield self._check_file(table, file)
        for table in self.sources.file_tables if paths else ():
            if table.name not in first:
                yield doubtful(f"table {table.name}", f"none of the files is named like {table.files!r}")
        for table in self.sources.queries if with_queries else ():
            yield self._check_query(table)

    def _find(self, path: str) -> tuple[Check, list[SourceFile]]:
        """Return whether a source is found and read by a table, and the files that are read."""
        name = f"source {redact_address(path)}"
        plan = IngestPlan(self.sources, self.lake)
        try:
            files, named = plan.find((path,), self.scratch)
        except (RecsysError, OSError) as error:
            return failed(name, str(error)), []
        read = [file for file in files if matching_tables(file.name, self.sources)]
        unread = [file.display_name for file in files if file not in read]
        if not read or named & set(unread):
            patterns = ", ".join(table.files for table in self.sources.file_tables) or "events*, items*, users*"
            return failed(name, f"no table reads a file of this name; expected one like {patterns}"), read
        skipped = len(unread) + len(plan.skipped)
        others = f", {skipped:,} more are skipped" if skipped else ""
        return passed(name, f"found: {len(read):,} {'file' if len(read) == 1 else 'files'}{others}"), read

    def _check_file(self, table: Table, file: SourceFile) -> Check:
        """Check a table by the first rows of a file; a remote file is copied, and the copy removed."""
        try:
            if isinstance(file, FoundFile):
                return self._check_copy(table, file, file.path)
            copy = file.fetch(self.scratch / "fetched")
            try:
                return self._check_copy(table, file, copy)
            finally:
                copy.unlink()
        except (RecsysError, OSError) as error:
            return failed(f"table {table.name}", str(error))

    def _check_copy(self, table: Table, file: SourceFile, path: Path) -> Check:
        file_format = format_of(path.name)
        numbers = numbers_of(path, table) if file_format is not None and file_format.is_delimited else None
        chunks = first_rows(read_chunks(path, table, SAMPLE_ROWS, file.display_name))
        return self._check_sample(
            TableSource(table, file.display_name, file.name, table.name, chunks, "", numbers=numbers)
        )

    def _check_query(self, table: Table) -> Check:
        """Check a query by its first rows; it is not run to its end unless the database needs to."""
        try:
            connection = resolve_connection(table, self.sources)
            query = (table.query or "").strip().rstrip(";")
            limited = replace(table, query=f"SELECT * FROM ({query}\n) AS sample_rows LIMIT {SAMPLE_ROWS}")
            chunks = read_query(limited, connection, SAMPLE_ROWS, None, self.scratch)
            name = f"table {table.name!r} on connection {connection.name!r}"
            return self._check_sample(TableSource(table, name, connection.name, table.name, first_rows(chunks), ""))
        except (RecsysError, OSError) as error:
            return failed(f"table {table.name}", str(error))

    def _check_sample(self, source: TableSource) -> Check:
        staged = stage(
            source,
            self.sources,
            self.latest,
            self.scratch / "samples" / source.table.name,
            lambda _rows: None,
            self.lake.pseudonyms,
        )
        return _judge(staged, self.sources)


def first_rows(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the first `SAMPLE_ROWS` rows of a source, with its broken lines among them."""
    rows = 0
    for chunk in chunks:
        yield replace(chunk, rows=chunk.rows.head(SAMPLE_ROWS - rows))
        rows += chunk.rows.height
        if rows >= SAMPLE_ROWS:
            return


def _judge(staged: StagedTable, sources: Sources) -> Check:
    """Return whether an ingest would stop if all rows of the table were like its sample."""
    table, name = staged.table, f"table {staged.table.name}"
    limit = sources.max_bad_rows if table.max_bad_rows is None else table.max_bad_rows
    bad = staged.rows - staged.valid
    rules = ", ".join(f"{rule} ({count:,})" for rule, count in sorted(staged.rules.items()))
    notes = "".join(f"; {note}" for note in (*staged.notes, *staged.counts.messages()))
    if not staged.rows:
        return doubtful(name, f"{staged.source.display_name} has no rows{notes}")
    if not bad:
        return passed(name, f"the first {staged.rows:,} rows of {staged.source.display_name} keep all rules{notes}")
    found = f"{bad:,} of the first {staged.rows:,} rows of {staged.source.display_name} break rules: {rules}{notes}"
    is_too_many = not staged.valid or (staged.rows >= MIN_ROWS_OF_SHARE and bad > limit * staged.rows)
    if is_too_many and limit < 1:
        return failed(name, f"{found}; `recsys ingest --dry-run` shows such rows; mend the mapping")
    return doubtful(name, f"{found}; `recsys ingest --dry-run` shows such rows")
