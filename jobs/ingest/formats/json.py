"""JSON Lines, and JSON files with one array of objects."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl

from jobs.ingest.formats.chunks import BROKEN_LINE, BrokenLine, Chunk, first_line
from jobs.ingest.formats.text import Encoding, find_encoding, numbered_lines, read_bytes
from recsys.errors import SourceError
from recsys.settings import Table

MAX_JSON_BYTES = 2**30
MAX_NESTING = 64  # levels of arrays and objects in an object; types of many more overflow the stack
DEEP = "nesting_is_shallow"
Numbered = tuple[int, str]
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
BRACKET = re.compile(r"[\[\]{}]")


def read_json_lines(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Yield one row for the JSON object of each line; any other line is broken.

    The file is read twice, because the columns and their types depend on all lines.
    """
    encoding = find_encoding(file, table.encoding)
    yield from _read_objects(lambda: numbered_lines(file, encoding.name), encoding, chunk_rows)


def read_json(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Yield one row for each object of an array, which is the file or the only array in its object.

    The file is in memory: at most `MAX_JSON_BYTES` after decompression, else it raises `SourceError`. A file of
    JSON Lines, which some tools name `.json`, is read as such, whatever its size.
    """
    encoding = find_encoding(file, table.encoding)
    if _has_json_lines(file, encoding):
        yield from read_json_lines(file, table, chunk_rows)
        return
    elements = _array(_decoded(read_bytes(file, MAX_JSON_BYTES), encoding))
    texts = [str(memoryview(element), "utf-8").replace("\n", " ").replace("\r", " ") for element in elements]
    yield from _read_objects(lambda: enumerate(texts, 1), encoding, chunk_rows)


def _has_json_lines(file: Path, encoding: Encoding) -> bool:
    """Return whether the first two lines with text are objects."""
    lines = (line for _, line in numbered_lines(file, encoding.name) if line.strip())
    first = next(lines, "")
    return _is_object(first) and _is_object(next(lines, ""))


def _decoded(content: bytes, encoding: Encoding) -> bytes:
    """Return the content in UTF-8 without a byte order mark."""
    try:
        return content.decode(encoding.name).removeprefix("\ufeff").encode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = content[error.start : error.end].hex(" ")
        raise SourceError(f"cannot be read in {encoding.name}: line {line} has the bytes {found}") from None


def _array(content: bytes) -> Sequence[msgspec.Raw]:
    """Return the elements of the array that is the JSON text, or the only array in its object."""
    try:
        value = msgspec.json.decode(content, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise SourceError(
            f"expected an array of objects, or an object with one array: {first_line(error)}"
        ) from None
    if isinstance(value, list):
        return value
    arrays = {name: raw for name, raw in value.items() if bytes(memoryview(raw)[:1]) == b"["}
    if len(arrays) != 1:
        names = ", ".join(arrays) or "none"
        raise SourceError(f"expected an array of objects, or an object with one array; its arrays: {names}")
    return msgspec.json.decode(next(iter(arrays.values())), type=list[msgspec.Raw])


def _read_objects(lines: Callable[[], Iterator[Numbered]], encoding: Encoding, chunk_rows: int) -> Iterator[Chunk]:
    """Yield a row for each text that is an object, in the columns and types that fit all of them."""
    empty = pl.DataFrame()
    for text, _ in _object_lines(lines(), chunk_rows):
        if text:
            columns = pl.read_ndjson(text, infer_schema_length=None).clear()
            empty = pl.concat([empty, columns], how="diagonal_relaxed")
    yield Chunk(empty, notes=(f"read as {encoding.name}",) if encoding.is_guessed else ())
    for text, broken in _object_lines(lines(), chunk_rows):
        yield Chunk(pl.read_ndjson(text, schema=empty.schema) if text else empty, broken)


def _object_lines(lines: Iterator[Numbered], chunk_rows: int) -> Iterator[tuple[bytes, tuple[BrokenLine, ...]]]:
    """Yield the objects of `chunk_rows` lines at a time, as JSON Lines, with the lines that are not objects."""
    while chunk := list(islice(lines, chunk_rows)):
        filled = [(number, line, _broken_rule(line)) for number, line in chunk if line.strip()]
        text = "".join(f"{line}\n" for _, line, rule in filled if rule is None)
        yield (
            text.encode(),
            tuple(BrokenLine(number, line, rule) for number, line, rule in filled if rule is not None),
        )


def _broken_rule(line: str) -> str | None:
    """Return the rule that a line breaks which is no object, or one of too many levels."""
    if _nesting(line) > MAX_NESTING:
        return DEEP
    return None if _is_object(line) else BROKEN_LINE


def _is_object(line: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def _nesting(line: str) -> int:
    """Return the levels of arrays and objects in JSON; 0 without a count if there are few brackets."""
    if line.count("{") + line.count("[") <= MAX_NESTING:
        return 0
    level = greatest = 0
    for bracket in BRACKET.findall(TEXT.sub("", line)):
        level += 1 if bracket in "{[" else -1
        greatest = max(greatest, level)
    return greatest
