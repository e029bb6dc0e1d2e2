"""Source files: find them by path, directory or glob, and read any format in chunks."""

import glob
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import compress, islice
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.csv

from recsys.contract import Events, Items, Users
from recsys.errors import SourceError
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Kind, Sources, Table

FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
SCHEMAS: dict[Kind, type[Events] | type[Items] | type[Users]] = {
    "events": Events,
    "items": Items,
    "users": Users,
}
REQUIRED = {"events": (USER_ID, ITEM_ID, EVENT, TIMESTAMP), "items": (ITEM_ID,), "users": (USER_ID,)}


@dataclass(frozen=True)
class Chunk:
    """Some rows of a source, and the lines among them that could not be parsed as rows."""

    rows: pl.DataFrame
    broken_lines: tuple[str, ...] = ()


def find_files(paths: tuple[str, ...]) -> list[Path]:
    """Return every readable file under the given files, directories and globs, sorted and without duplicates.

    Raises `SourceError` for a path without a file, or with one of an unknown format.
    """
    return sorted({file for path in paths for file in _expand(path)})


def _expand(path: str) -> list[Path]:
    location = Path(path)
    if location.is_file():
        check_format(path, location.name)
        return [absolute_path(location)]
    candidates = location.rglob("*") if location.is_dir() else map(Path, glob.glob(path, recursive=True))  # noqa: PTH207
    files = [absolute_path(file) for file in candidates if file.is_file() and has_known_format(file.name)]
    if not files:
        raise SourceError(f"{path}: no {', '.join(FORMATS)} file found")
    return files


def absolute_path(file: Path) -> Path:
    """Return the absolute path of a file; a link keeps its own name, by which tables are matched."""
    return file.parent.resolve() / file.name


def has_known_format(name: str) -> bool:
    """Return whether a file of this name has a readable format."""
    return name.lower().endswith(tuple(FORMATS))


def check_format(path: str, name: str) -> None:
    """Raise `SourceError` with the path when a file of this name has no readable format."""
    if not has_known_format(name):
        raise SourceError(f"{path}: unknown format; expected one of {', '.join(FORMATS)}")


def has_inferred_types(name: str) -> bool:
    """Return whether the column types of a file of this name are inferred from its values."""
    return name.lower().endswith((".jsonl", ".ndjson"))


def matching_tables(name: str, sources: Sources) -> list[Table]:
    """Return the tables that read a file of this name; without tables, files have the contract's own columns."""
    return [table for table in sources.file_tables or _contract_tables() if fnmatch(name, table.files)]


def _contract_tables() -> list[Table]:
    return [
        Table(kind, kind, f"{kind}*", {name: name for name in schema.column_names()})
        for kind, schema in SCHEMAS.items()
    ]


def read_chunks(file: Path, table: Table, chunk_rows: int, display_name: str | None = None) -> Iterator[Chunk]:
    """Yield the rows of a file in order; all chunks have the columns of the first, which has no rows.

    Raises `SourceError` with the file, by its display name if there is one, and the reason it cannot be read.
    """
    file_format = next(value for suffix, value in FORMATS.items() if file.name.lower().endswith(suffix))
    display_name = display_name or str(file)
    readers = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_json_lines}
    try:
        if file.stat().st_size == 0:
            raise SourceError(f"{display_name}: the file is empty")
        yield from readers[file_format](file, table, chunk_rows)
    except (OSError, LookupError, UnicodeDecodeError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        expected = file_format if file_format == "parquet" else f"{file_format} in {table.encoding}"
        raise SourceError(f"{display_name}: cannot be read as {expected}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, which is the part for users."""
    return str(error).strip().partition("\n")[0]


def _read_parquet(file: Path, _table: Table, chunk_rows: int) -> Iterator[Chunk]:
    scan = pl.scan_parquet(file, glob=False)
    yield Chunk(pl.DataFrame(schema=scan.collect_schema()))
    for rows in scan.collect_batches(chunk_size=chunk_rows, maintain_order=True):
        yield Chunk(rows)


def _read_csv(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Read every field as text, so that ids keep leading zeros; a line with a wrong number of fields is broken."""
    broken: list[str] = []

    def keep_broken(row: pyarrow.csv.InvalidRow) -> str:
        broken.append(row.text)
        return "skip"

    with _open_csv(file, table, [], lambda _row: "skip") as reader:
        names = reader.schema.names
    empty = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    yield Chunk(empty)
    with _open_csv(file, table, names, keep_broken) as batches:
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            pending.append(batch)
            if sum(part.num_rows for part in pending) >= chunk_rows:
                yield Chunk(_frame(pending), tuple(broken))
                pending.clear()
                broken.clear()
        yield Chunk(_frame(pending) if pending else empty, tuple(broken))


@contextmanager
def _open_csv(
    file: Path, table: Table, text_columns: list[str], on_broken: Callable[[pyarrow.csv.InvalidRow], str]
) -> Generator[pyarrow.csv.CSVStreamingReader]:
    """Open a CSV file as a stream of batches, one for each block of the file."""
    compression = "gzip" if file.name.lower().endswith(".gz") else None
    with pa.input_stream(str(file), compression=compression) as stream:
        yield pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(encoding=table.encoding),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=table.separator, newlines_in_values=True, invalid_row_handler=on_broken
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(text_columns, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )


def _frame(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _read_json_lines(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Read one JSON object from each line; any other line is broken.

    The file is read twice, because the columns and their types depend on all lines.
    """
    empty = pl.DataFrame()
    for text, _ in _json_lines(file, table, chunk_rows):
        if text:
            columns = pl.read_ndjson(text, infer_schema_length=None).clear()
            empty = pl.concat([empty, columns], how="diagonal_relaxed")
    yield Chunk(empty)
    for text, broken in _json_lines(file, table, chunk_rows):
        yield Chunk(pl.read_ndjson(text, schema=empty.schema) if text else empty, broken)


def _json_lines(file: Path, table: Table, chunk_rows: int) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    """Yield the objects of `chunk_rows` lines at a time, as JSON Lines, with the lines that are not objects."""
    with file.open(encoding=table.encoding) as lines:
        while chunk := list(islice(lines, chunk_rows)):
            nonempty = [line for line in chunk if line.strip()]
            is_object = [_is_object(line) for line in nonempty]
            text = "".join(line.rstrip("\n") + "\n" for line in compress(nonempty, is_object))
            yield text.encode(), tuple(line for line, valid in zip(nonempty, is_object, strict=True) if not valid)


def _is_object(line: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except msgspec.DecodeError:
        return False
