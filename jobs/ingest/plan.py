"""What an ingest reads: every table with every file it reads, and every table's query."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from jobs.ingest.connections import Connection
from jobs.ingest.files import find_files, guesses_types, located, read_chunks, tables_of
from jobs.ingest.object_store import RemoteFile, find_remote_files, is_remote
from jobs.ingest.schema_drift import known_columns
from jobs.ingest.validation import Reading
from jobs.ingest.watermark import Watermark, load_watermark
from jobs.lake import Lake
from recsys.errors import SourceError
from recsys.files import fingerprint, read_json
from recsys.settings import Sources, Table
from recsys.settings.types import redact_address

log = structlog.get_logger(__name__)

NOT_MAPPING = ("query", "connection", "watermark", "lateness")
# Rules that rows may keep at another time, or with other settings, though the file is the same.
PASSING_RULES = {"timestamp_is_in_range", "event_is_known"}


@dataclass(frozen=True)
class Request:
    """What an ingest is asked to do; `full` is to read everything, whatever is known of it."""

    sources: Sources
    lake: Lake
    full: bool = False

    def mark(self, table: Table) -> str:
        """Changes with what a table reads and how, so that a watermark of before does not hold for it."""
        place = redact_address(table.connection or "")
        names = sorted(self.sources.event_weights)
        return _hash(f"{_mapping(table, self.sources)} {table.query!r} {place} {table.watermark} {names!r}")

    def reached(self, table: Table) -> Watermark | None:
        """Where the table's last ingest ended."""
        return load_watermark(self.lake, table, self.mark(table)) if table.watermark else None

    def since(self, table: Table) -> Watermark | None:
        """Where the table is read from."""
        reached = None if self.full else self.reached(table)
        return None if reached is None else reached.lowered(table.lateness)

    def columns(self, table: Table) -> frozenset[str]:
        """Every column that the table ever had."""
        known = known_columns(self.lake, table.name)
        return frozenset() if known is None else frozenset(known)

    def known(self, table: Table) -> frozenset[str]:
        """Fingerprints and states of the files that need not be read again: they would bring the same."""
        if self.full or table.watermark is None:
            return frozenset()
        files = (self.lake.directory / "ingests").glob(f"{table.name}-*.json")
        records = {file.stem.removeprefix(f"{table.name}-"): read_json(file) for file in files}
        done = {mark: record for mark, record in records.items() if not PASSING_RULES & record["rules"].keys()}
        return frozenset(done) | {record["state"] for record in done.values() if record.get("state")}


def file_readings(paths: Sequence[str], request: Request, scratch: Path) -> Iterator[Reading]:
    """Each file under the paths with each table that reads it, but for those that are known; a file in a store lies
    in `scratch` until the next reading is asked for.
    """
    remote = tuple(path for path in paths if is_remote(path))
    local = tuple(path for path in paths if path not in remote)
    named = {str(located(Path(path))) for path in local if Path(path).is_file()} | set(map(redact_address, remote))
    files: list[Path | RemoteFile] = [*(find_files(local) if local else [])]
    files += find_remote_files(remote, request.sources.storage_options)
    known = {table.name: request.known(table) for table in request.sources.file_tables}
    read = due = 0
    for file in files:
        tables = tables_of(file.name, request.sources)
        shown = str(file) if isinstance(file, Path) else file.shown
        if not tables and shown in named:
            patterns = ", ".join(table.files for table in request.sources.file_tables)
            expected = patterns or "events*, items*, users*"
            raise SourceError(f"{shown}: no table reads a file of this name; expected one like {expected}")
        due += len(tables)
        for reading in _of_file(file, tables, known, request, scratch):
            read += 1
            yield reading
    if not due:
        raise SourceError(f"{', '.join(map(redact_address, paths))}: no table reads any of the files there")
    if due > read:
        log.info("files that are known already are not read again", files=due - read)


def _of_file(
    file: Path | RemoteFile, tables: list[Table], known: dict[str, frozenset[str]], request: Request, scratch: Path
) -> Iterator[Reading]:
    """The readings of one file that are due; one in a store is copied first, unless its state is known."""
    if isinstance(file, Path):
        yield from _of_copy(file, str(file), [(table, "") for table in tables], known, request)
        return
    states = [(table, _state(file, table, request.sources)) for table in tables]
    due = [(table, state) for table, state in states if state not in known.get(table.name, ())]
    if due:
        copy = file.fetch(scratch / "fetched")
        yield from _of_copy(copy, file.shown, due, known, request)
        copy.unlink()


def _of_copy(
    file: Path,
    shown: str,
    tables: list[tuple[Table, str]],
    known: dict[str, frozenset[str]],
    request: Request,
) -> Iterator[Reading]:
    content = fingerprint(file) if tables else ""
    for table, state in tables:
        name = _hash(f"{file.name} {content} {_mapping(table, request.sources)}")
        if name not in known.get(table.name, ()):
            yield Reading(
                table,
                shown,
                file.name,
                read_chunks(file, table, request.sources.chunk_rows, shown),
                name,
                state,
                request.since(table),
                request.columns(table),
                guesses_types(file.name),
            )


def _state(file: RemoteFile, table: Table, sources: Sources) -> str:
    """Names a version of a file in a store and its mapping, for a table with a watermark; else empty."""
    state = file.state() if table.watermark else ""
    return _hash(f"{file.shown} {state} {_mapping(table, sources)}") if state else ""


def query_readings(connections: dict[str, Connection], request: Request, scratch: Path) -> Iterator[Reading]:
    """Each table that has a query, from its watermark on."""
    from jobs.ingest.queries import read_query  # its drivers take a second, which files shall not wait

    for table in request.sources.queries:
        if table.name not in connections:
            continue
        connection, since = connections[table.name], request.since(table)
        mark = f"{request.mark(table)} {since!r}"
        yield Reading(
            table,
            f"table {table.name!r} on connection {connection.name!r}",
            connection.name,
            read_query(table, connection, request.sources.chunk_rows, since, scratch),
            _hash(mark),
            gone=request.columns(table),
            guessed=connection.scheme == "sqlite",
        )


def _mapping(table: Table, sources: Sources) -> str:
    """How rows are mapped, in full."""
    values = sorted((name, value) for name, value in asdict(table).items() if name not in NOT_MAPPING)
    return f"{sources.time_zone} {values!r}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
