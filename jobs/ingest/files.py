"""Source files: found by path, directory or glob, and read in chunks, whatever their format."""

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
        check_format(path, given.name)
        return [located(given)]
    inside = given.rglob("*") if given.is_dir() else map(Path, glob.glob(path, recursive=True))  # noqa: PTH207
    found = [located(file) for file in inside if file.is_file() and has_known_format(file.name)]
    if not found:
        raise SourceError(f"{path}: no {', '.join(FORMATS)} file is there")
    return found


def located(file: Path) -> Path:
    """The absolute path of a file, under the name it was given: a link's name says which table reads it."""
    return file.parent.resolve() / file.name


def has_known_format(name: str) -> bool:
    """Whether a file of this name is one that is read."""
    return name.lower().endswith(tuple(FORMATS))


def check_format(path: str, name: str) -> None:
    """Raise `SourceError`, naming the path, when a file of this name is none that is read."""
    if not has_known_format(name):
        raise SourceError(f"{path}: its format is not known; expected one of {', '.join(FORMATS)}")


def guesses_types(name: str) -> bool:
    """Whether the types of a file of this name are guessed from its values."""
    return name.lower().endswith((".jsonl", ".ndjson"))


def tables_of(name: str, sources: Sources) -> list[Table]:
    """The tables that a file of this name feeds; a file in the contract's own columns needs no mapping."""
    return [table for table in sources.file_tables or _contract_tables() if fnmatch(name, table.files)]


def _contract_tables() -> list[Table]:
    return [
        Table(kind, kind, f"{kind}*", {name: name for name in schema.column_names()})
        for kind, schema in SCHEMAS.items()
    ]


def read_chunks(file: Path, table: Table, chunk_rows: int, shown: str | None = None) -> Iterator[Chunk]:
    """The rows of a file in order, all chunks in the columns of the first, which has no rows.

    Raises `SourceError` with the file, or what it is shown as, and the reason it cannot be read.
    """
    form = next(form for suffix, form in FORMATS.items() if file.name.lower().endswith(suffix))
    shown = shown or str(file)
    readers = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_json_lines}
    try:
        if file.stat().st_size == 0:
            raise SourceError(f"{shown}: the file is empty")
        yield from readers[form](file, table, chunk_rows)
    except (OSError, LookupError, UnicodeDecodeError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        expected = form if form == "parquet" else f"{form} in {table.encoding}"
        raise SourceError(f"{shown}: cannot be read as {expected}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What an error says, without the lines that explain it to a programmer."""
    return str(error).strip().partition("\n")[0]


def _read_parquet(file: Path, _table: Table, chunk_rows: int) -> Iterator[Chunk]:
    scan = pl.scan_parquet(file, glob=False)
    yield Chunk(pl.DataFrame(schema=scan.collect_schema()))
    for rows in scan.collect_batches(chunk_size=chunk_rows, maintain_order=True):
        yield Chunk(rows)


def _read_csv(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Every field is text, so that ids keep their zeros; a line of too few or many fields is broken."""
    broken: list[str] = []

    def keep_broken(row: pyarrow.csv.InvalidRow) -> str:
        broken.append(row.text)
        return "skip"

    with _opened_csv(file, table, [], lambda _row: "skip") as reader:
        names = reader.schema.names
    empty = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    yield Chunk(empty)
    with _opened_csv(file, table, names, keep_broken) as batches:
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            pending.append(batch)
            if sum(part.num_rows for part in pending) >= chunk_rows:
                yield Chunk(_frame(pending), tuple(broken))
                pending.clear()
                broken.clear()
        yield Chunk(_frame(pending) if pending else empty, tuple(broken))


@contextmanager
def _opened_csv(
    file: Path, table: Table, text_columns: list[str], on_broken: Callable[[pyarrow.csv.InvalidRow], str]
) -> Generator[pyarrow.csv.CSVStreamingReader]:
    """A CSV file as batches, one a block of the file."""
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
    """One object a line; a line that is none is broken.

    The file is read twice: the columns and their types are those of all lines, not of a chunk.
    """
    empty = pl.DataFrame()
    for text, _ in _json_lines(file, table, chunk_rows):
        if text:
            found = pl.read_ndjson(text, infer_schema_length=None).clear()
            empty = pl.concat([empty, found], how="diagonal_relaxed")
    yield Chunk(empty)
    for text, broken in _json_lines(file, table, chunk_rows):
        yield Chunk(pl.read_ndjson(text, schema=empty.schema) if text else empty, broken)


def _json_lines(file: Path, table: Table, chunk_rows: int) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    """The objects of so many lines at a time, one a line, and the lines that are none."""
    with file.open(encoding=table.encoding) as lines:
        while chunk := list(islice(lines, chunk_rows)):
            written = [line for line in chunk if line.strip()]
            is_object = [_is_object(line) for line in written]
            text = "".join(line.rstrip("\n") + "\n" for line in compress(written, is_object))
            yield text.encode(), tuple(line for line, good in zip(written, is_object, strict=True) if not good)


def _is_object(line: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except msgspec.DecodeError:
        return False
