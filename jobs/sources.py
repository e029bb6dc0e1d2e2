"""Source files: found by path, directory or glob, and read in chunks, whatever their format."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import compress, islice
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.csv

from recsys.errors import SourceError
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID, Events, Items, Users
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
    """Some rows of a file, and the lines among them that are no rows at all."""

    rows: pl.DataFrame
    broken_lines: tuple[str, ...] = ()


def find_files(paths: tuple[str, ...]) -> list[Path]:
    """Every readable file under the given files, directories and globs, sorted, each once.

    Raises `SourceError` for a path that leads to no file, or names one of an unknown format.
    """
    return sorted({file for path in paths for file in _expand(path)})


def _expand(path: str) -> list[Path]:
    given = Path(path)
    if given.is_file():
        _format(given)
        return [given.resolve()]
    inside = given.rglob("*") if given.is_dir() else map(Path, glob.glob(path, recursive=True))  # noqa: PTH207
    found = [file.resolve() for file in inside if file.is_file() and _has_known_format(file)]
    if not found:
        raise SourceError(f"{path}: no {', '.join(FORMATS)} file is there")
    return found


def _has_known_format(file: Path) -> bool:
    return file.name.lower().endswith(tuple(FORMATS))


def _format(file: Path) -> str:
    for suffix, name in FORMATS.items():
        if file.name.lower().endswith(suffix):
            return name
    raise SourceError(f"{file}: its format is not known; expected one of {', '.join(FORMATS)}")


def tables_of(file: Path, sources: Sources) -> list[Table]:
    """The tables that a file feeds; a file in the contract's own columns needs no mapping."""
    return [table for table in sources.tables or _contract_tables() if fnmatch(file.name, table.files)]


def _contract_tables() -> list[Table]:
    return [
        Table(kind, kind, f"{kind}*", {name: name for name in schema.column_names()})
        for kind, schema in SCHEMAS.items()
    ]


def read_chunks(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """The rows of a file in order; raises `SourceError` with the file and the reason it cannot be read."""
    try:
        if file.stat().st_size == 0:
            raise SourceError(f"{file}: the file is empty")
        readers = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_json_lines}
        yield from readers[_format(file)](file, table, chunk_rows)
    except (OSError, LookupError, UnicodeDecodeError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SourceError(f"{file}: cannot be read as {_format(file)} in {table.encoding}: {reason}") from None


def _read_parquet(file: Path, _table: Table, chunk_rows: int) -> Iterator[Chunk]:
    scan = pl.scan_parquet(file)
    empty = pl.DataFrame(schema=scan.collect_schema())
    yield Chunk(empty)
    for rows in scan.collect_batches(chunk_size=chunk_rows, maintain_order=True):
        yield Chunk(rows)


def _read_csv(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Every field is text, so that ids keep their zeros; a line of too few or many fields is broken."""
    broken: list[str] = []

    def keep_broken(row: pyarrow.csv.InvalidRow) -> str:
        broken.append(row.text)
        return "skip"

    parse = pyarrow.csv.ParseOptions(
        delimiter=table.separator, newlines_in_values=True, invalid_row_handler=keep_broken
    )
    names = _csv_header(file, table)
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
    )
    read = pyarrow.csv.ReadOptions(encoding=table.encoding)
    yield Chunk(pl.DataFrame(schema=dict.fromkeys(names, pl.String)))
    with pa.input_stream(str(file)) as stream:
        batches = pyarrow.csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert)
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            pending.append(batch)
            if sum(part.num_rows for part in pending) >= chunk_rows:
                yield Chunk(_frame(pending), tuple(broken))
                pending, broken[:] = [], []
        if pending or broken:
            yield Chunk(_frame(pending) if pending else pl.DataFrame(), tuple(broken))


def _csv_header(file: Path, table: Table) -> list[str]:
    """The column names of a CSV file, which its first line gives."""
    read = pyarrow.csv.ReadOptions(encoding=table.encoding, block_size=1 << 20)
    parse = pyarrow.csv.ParseOptions(
        delimiter=table.separator, newlines_in_values=True, invalid_row_handler=lambda _row: "skip"
    )
    everything_text = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    with pa.input_stream(str(file)) as stream:
        return pyarrow.csv.open_csv(
            stream, read_options=read, parse_options=parse, convert_options=everything_text
        ).schema.names


def _frame(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _read_json_lines(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """One object a line; a line that is none is broken."""
    with file.open(encoding=table.encoding) as lines:
        while chunk := [line for line in islice(lines, chunk_rows) if line.strip()]:
            is_object = [_is_object(line) for line in chunk]
            text = "".join(line.rstrip("\n") + "\n" for line in compress(chunk, is_object))
            broken = tuple(line for line, good in zip(chunk, is_object, strict=True) if not good)
            rows = pl.read_ndjson(text.encode(), infer_schema_length=None) if text else pl.DataFrame()
            yield Chunk(rows, broken)


def _is_object(line: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except msgspec.DecodeError:
        return False
