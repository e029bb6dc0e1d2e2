"""The sources of an ingest: every table with each of its files, or with its query."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import structlog

from jobs.ingest.files import (
    NO_TABLE,
    FoundFile,
    SkippedFile,
    absolute_path,
    find_files,
    matching_tables,
    name_problem,
)
from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.numbers import Numbers, numbers_of
from jobs.ingest.formats.registry import format_of, read_chunks
from jobs.ingest.formats.zip_archive import SUFFIX, ZipMember, list_members
from jobs.ingest.manifests import check_listed, expand_manifests
from jobs.ingest.object_store import RemoteFile, find_remote_files, is_remote
from jobs.ingest.queries import Connection, read_query
from jobs.ingest.schema_drift import load_columns
from jobs.ingest.source_records import read_records
from jobs.ingest.watermark import Watermark, load_watermark
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.files import fingerprint
from recsys.settings import Sources, Table
from recsys.settings.types import redact_address

SourceFile = FoundFile | ZipMember | RemoteFile
log = structlog.get_logger(__name__)

# Settings of a table that do not change how a row is mapped.
NOT_MAPPING = ("query", "connection", "watermark", "lateness", "replaces", "complete", "max_bad_rows", "min_rows")
# Rules that depend on the clock or on other settings, so that a rejected row may pass them later.
CHANGING_RULES = {"timestamp_is_in_range", "event_is_known"}


@dataclass(frozen=True)
class TableSource:
    """One table with one source that it reads: a file, or its query."""

    table: Table
    display_name: str
    """Name in messages."""
    file: str
    """Name in counts."""
    source: str
    """Table, and path of the file or connection: identifies the source for its later readings."""
    chunks: Iterator[Chunk]
    fingerprint: str
    """A hash of the content and the mapping."""
    content: str = ""
    """A hash of the content of a file."""
    version: str = ""
    """A hash of a remote file's version and the mapping, known without reading the file."""
    start: Watermark | None = None
    """Rows of a file with a lower watermark are skipped."""
    is_increment: bool = False
    """Whether only rows from a watermark on are read, so that what is left out is not gone."""
    earlier_columns: Collection[str] = frozenset()
    """All columns that the table had in earlier ingests."""
    has_inferred_types: bool = False
    """Whether types are inferred from values, as for JSON Lines."""
    numbers: Numbers | None = None
    """Which columns of text hold numbers, for a delimited file."""


@dataclass(frozen=True)
class IngestPlan:
    """The sources of an ingest and the lake's records of earlier ones, which `full` ignores."""

    sources: Sources
    lake: Lake
    full: bool = False
    skipped: list[SkippedFile] = field(default_factory=list[SkippedFile])
    """Files that were found and are not read; complete when all sources of files are read."""

    def query_fingerprint(self, table: Table) -> str:
        """Return a hash of a table's query and mapping; a watermark is valid only while the hash stays the same."""
        address = redact_address(table.connection or "")
        names = sorted(self.sources.event_weights)
        return _hash(f"{_mapping(table, self.sources)} {table.query!r} {address} {table.watermark} {names!r}")

    def last_watermark(self, table: Table) -> Watermark | None:
        """Return the greatest watermark of the table's earlier ingests."""
        return load_watermark(self.lake, table, self.query_fingerprint(table)) if table.watermark else None

    def start_watermark(self, table: Table) -> Watermark | None:
        """Return the watermark from which the table is read: the last one, less its lateness."""
        last = None if self.full else self.last_watermark(table)
        return None if last is None else last.lowered(table.lateness)

    def earlier_columns(self, table: Table) -> frozenset[str]:
        """Return every column that the table has had in earlier ingests."""
        return frozenset(load_columns(self.lake, table.name) or ())

    def ingested_files(self, table: Table) -> frozenset[str]:
        """Return fingerprints and versions of the files that would give the same rows if they were read again."""
        if self.full or table.watermark is None:
            return frozenset()
        records = [record for record in read_records(self.lake) if record.table == table.name]
        final = [record for record in records if not CHANGING_RULES & record.rules.keys()]
        return frozenset(hashed for record in final for hashed in (record.fingerprint, record.version) if hashed)

    def file_sources(self, paths: Sequence[str], scratch: Path) -> Iterator[TableSource]:
        """Yield each file under the paths with each table that reads it, except files that were ingested before.

        A remote file is copied to `scratch`, and removed when the next source is requested. A manifest stands for
        the files that it lists. Files that are skipped are added to `skipped`. Raises `SourceError` if no table
        reads any of the files, if none reads a file that was named, or if a file changes while it is read.
        """
        files, named = self.find(paths, scratch)
        ingested = {table.name: self.ingested_files(table) for table in self.sources.file_tables}
        read = matching = 0
        for file in files:
            tables = matching_tables(file.name, self.sources)
            if not tables:
                patterns = ", ".join(table.files for table in self.sources.file_tables)
                reason = f"{NO_TABLE}; expected one like {patterns or 'events*, items*, users*'}"
                if file.display_name in named:
                    raise SourceError(f"{file.display_name}: {reason}")
                self.skipped.append(SkippedFile(file.display_name, reason))
            matching += len(tables)
            for source in self._file_sources(file, tables, ingested, scratch):
                read += 1
                yield source
        if not matching:
            raise SourceError(f"{', '.join(map(redact_address, paths))}: no table reads any of the files there")
        if matching > read:
            log.info("files skipped, ingested before", files=matching - read)

    def find(self, paths: Sequence[str], scratch: Path) -> tuple[list[SourceFile], set[str]]:
        """Return the files under the paths that can be read, and the display names of those that were named."""
        sources = self.sources
        expanded, listed = expand_manifests(paths, sources.storage_options, scratch)
        remote = [path for path in expanded if is_remote(path)]
        local = [path for path in expanded if not is_remote(path)]
        local_files, skipped = find_files(local, sources.require_success, self.lake.directories)
        remote_files, skipped_remote = find_remote_files(remote, sources.storage_options, sources.require_success)
        self.skipped.extend([*skipped, *skipped_remote])
        sizes: dict[str, int | None] = {file.display_name: file.size for file in local_files}
        check_listed(listed, sizes | {file.display_name: None for file in remote_files})
        named = {str(absolute_path(Path(path))) for path in local if Path(path).is_file()}
        read = [member for file in local_files for member in self._members(file)]
        return [*read, *self._without_archives(remote_files)], named | set(map(redact_address, remote))

    def _members(self, file: FoundFile) -> list[FoundFile | ZipMember]:
        """Return the members of an archive that can be read, or the file if it is none."""
        if not file.name.lower().endswith(SUFFIX):
            return [file]
        members, skipped = list_members(file.path, file.check_unchanged, name_problem)
        self.skipped.extend(SkippedFile(name, reason) for name, reason in skipped.items())
        return list(members)

    def _without_archives(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        archives = [file for file in files if file.name.lower().endswith(SUFFIX)]
        self.skipped.extend(SkippedFile(file.display_name, "a remote archive is not read") for file in archives)
        return [file for file in files if file not in archives]

    def _file_sources(
        self,
        file: SourceFile,
        tables: list[Table],
        ingested: dict[str, frozenset[str]],
        scratch: Path,
    ) -> Iterator[TableSource]:
        """Yield the sources of one file.

        A remote file and a member of an archive is copied first, unless its version was ingested before.
        """
        if isinstance(file, FoundFile):
            due = [(table, "") for table in tables]
            for source in self._copy_sources(file.path, file.display_name, due, ingested):
                yield replace(source, chunks=_unchanged(source.chunks, file))
            return
        versions = [(table, _version(file, table, self.sources)) for table in tables]
        due = [(table, version) for table, version in versions if version not in ingested.get(table.name, ())]
        if due:
            copy = file.fetch(scratch / "fetched")
            yield from self._copy_sources(copy, file.display_name, due, ingested)
            copy.unlink()

    def _copy_sources(
        self, file: Path, display_name: str, tables: list[tuple[Table, str]], ingested: dict[str, frozenset[str]]
    ) -> Iterator[TableSource]:
        content = fingerprint(file) if tables else ""
        file_format = format_of(file.name)
        assert file_format is not None
        for table, version in tables:
            name = _hash(f"{file.name} {content} {_mapping(table, self.sources)}")
            start = self.start_watermark(table)
            if name not in ingested.get(table.name, ()):
                yield TableSource(
                    table,
                    display_name,
                    file.name,
                    f"{table.name}/{display_name}",
                    read_chunks(file, table, self.sources.chunk_rows, display_name),
                    name,
                    content,
                    version,
                    start,
                    start is not None,
                    self.earlier_columns(table),
                    file_format.has_inferred_types,
                    numbers_of(file, table) if file_format.is_delimited else None,
                )

    def query_sources(self, connections: dict[str, Connection], scratch: Path) -> Iterator[TableSource]:
        """Yield each table whose query has a connection in `connections`, by table name, from its watermark on."""
        for table in self.sources.queries:
            if table.name not in connections:
                continue
            connection, start = connections[table.name], self.start_watermark(table)
            yield TableSource(
                table,
                f"table {table.name!r} on connection {connection.name!r}",
                connection.name,
                f"{table.name}/{connection.name}",
                read_query(table, connection, self.sources.chunk_rows, start, scratch),
                _hash(f"{self.query_fingerprint(table)} {start!r}"),
                is_increment=start is not None,
                earlier_columns=self.earlier_columns(table),
                has_inferred_types=connection.scheme == "sqlite",
            )


def _unchanged(chunks: Iterator[Chunk], file: FoundFile) -> Iterator[Chunk]:
    """Yield the chunks of a file; raises `SourceError` when it has changed since it was found."""
    yield from chunks
    file.check_unchanged()


def _version(file: RemoteFile | ZipMember, table: Table, sources: Sources) -> str:
    """Return a hash of a remote file's version and its mapping; empty for a table without a watermark."""
    version = file.version() if table.watermark else ""
    return _hash(f"{file.display_name} {version} {_mapping(table, sources)}") if version else ""


def _mapping(table: Table, sources: Sources) -> str:
    """Return the settings that determine how a table's rows are mapped, as text."""
    values = sorted((name, value) for name, value in asdict(table).items() if name not in NOT_MAPPING)
    return f"{sources.time_zone} {sources.null_ids!r} {values!r}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
