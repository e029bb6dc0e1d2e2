"""The formats of source files, by the suffixes of their names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from jobs.ingest.formats.chunks import Chunk, first_line
from jobs.ingest.formats.delimited import read_delimited
from jobs.ingest.formats.json import read_json, read_json_lines
from jobs.ingest.formats.parquet import read_parquet
from jobs.ingest.formats.spreadsheet import read_spreadsheet
from jobs.ingest.formats.text import COMPRESSIONS
from jobs.ingest.formats.zip_archive import SUFFIX
from recsys.errors import SourceError
from recsys.settings import Table


@dataclass(frozen=True)
class Format:
    """A format of files: its name in messages, its reader, and what is special about it."""

    name: str
    read: Callable[[Path, Table, int], Iterator[Chunk]]
    is_text: bool = True
    """Whether it may be compressed, and has an encoding."""
    has_inferred_types: bool = False
    """Whether the types of its columns are inferred from their values."""
    is_delimited: bool = False


CSV = Format("csv", read_delimited, is_delimited=True)
JSON_LINES = Format("jsonl", read_json_lines, has_inferred_types=True)
SPREADSHEETS = ("xlsx", "xls", "ods")
FORMATS = {
    ".parquet": Format("parquet", read_parquet, is_text=False),
    ".csv": CSV,
    ".tsv": CSV,
    ".txt": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": Format("json", read_json, has_inferred_types=True),
    **{f".{name}": Format(name, read_spreadsheet, is_text=False, has_inferred_types=True) for name in SPREADSHEETS},
}
SUFFIXES = {
    suffix + compression: file_format
    for suffix, file_format in FORMATS.items()
    for compression in ("", *(COMPRESSIONS if file_format.is_text else ()))
}
EXPECTED = f"{', '.join(FORMATS)}; text also as {', '.join(COMPRESSIONS)}; all of them in {SUFFIX}"


def format_of(name: str) -> Format | None:
    """Return the format of a file of this name; None if it is not known."""
    return next((value for suffix, value in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def read_chunks(file: Path, table: Table, chunk_rows: int, display_name: str | None = None) -> Iterator[Chunk]:
    """Yield the rows of a file in order; all chunks have the columns of the first, which has no rows.

    Raises `SourceError` with the file, by its display name if there is one, and the reason it cannot be read.
    """
    file_format = format_of(file.name)
    display_name = display_name or str(file)
    assert file_format is not None
    try:
        if file.stat().st_size == 0:
            raise SourceError("the file is empty")
        yield from file_format.read(file, table, chunk_rows)
    except SourceError as error:
        raise SourceError(f"{display_name}: {error}") from None
    except (OSError, LookupError, UnicodeError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        in_encoding = f" in {table.encoding}" if file_format.is_text and table.encoding else ""
        raise SourceError(
            f"{display_name}: cannot be read as {file_format.name}{in_encoding}: {first_line(error)}"
        ) from None
