"""Delimited text: CSV, TSV, and other separators. Every field is text, so that ids keep leading zeros."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv

from jobs.ingest.formats.chunks import OPEN_QUOTE, BrokenLine, Chunk, join_chunks, prefetch
from jobs.ingest.formats.records import Records, Syntax, split_records
from jobs.ingest.formats.text import TextBlock, find_encoding, text_blocks
from recsys.errors import SourceError
from recsys.settings import Table

SEPARATORS = (",", ";", "\t", "|")
SAMPLE_RECORDS = 100
SEPARATOR_LINE = re.compile(r"sep=(.)\r?")  # the first line that Excel writes and reads


@dataclass(frozen=True)
class Layout:
    """The syntax and the columns of a delimited file."""

    encoding: str
    syntax: Syntax
    names: tuple[str, ...]
    first_row: int
    """Number of the first line after the header, from 1."""
    notes: tuple[str, ...]


def read_delimited(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Yield the rows of a delimited file; a line with a wrong number of fields or with an open quote is broken."""
    layout = find_layout(file, table)
    empty = pl.DataFrame(schema=dict.fromkeys(layout.names, pl.String))
    yield Chunk(empty, notes=layout.notes)
    blocks = _with_note_of_first_open_quote(_parsed_blocks(file, layout, empty))
    yield from prefetch(join_chunks(blocks, chunk_rows))


def find_layout(file: Path, table: Table) -> Layout:
    """Return how a delimited file is read: as its table says, and as its first lines show."""
    encoding = find_encoding(file, table.encoding)
    notes = (f"read as {encoding.name}",) if encoding.is_guessed else ()
    block = next(text_blocks(file, encoding.name), TextBlock(1, ""))
    lines = block.text.split("\n")
    given = SEPARATOR_LINE.fullmatch(lines[0])
    first = table.skip_rows + (1 if given and not table.skip_rows else 0)
    while first < len(lines) and not lines[first].strip("\r"):
        first += 1
    if first >= len(lines):
        raise SourceError(f"no header follows line {table.skip_rows}" if table.skip_rows else "there is no header")
    separator = table.separator or (given and given[1]) or _detect_separator(file, lines[first:], table.quote)
    syntax = Syntax(separator, table.quote)
    fields, length = _first_record(lines[first:], syntax)
    names = column_names(fields if table.header else [""] * len(fields), table)
    return Layout(encoding.name, syntax, names, first + 1 + (length if table.header else 0), notes)


def column_names(header: list[str], table: Table) -> tuple[str, ...]:
    """Return the name of every column: the one that the table gives it, or that of the header, or `column_<n>`.

    Raises `SourceError` when two columns have one name, or the table names more columns than there are.
    """
    if len(table.column_names) > len(header):
        raise SourceError(f"there are {len(header)} columns; column_names has {len(table.column_names)}")
    given = [*table.column_names, *header[len(table.column_names) :]]
    names = [name or f"column_{position}" for position, name in enumerate(given, 1)]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        first = names.index(name)
        second = names.index(name, first + 1)
        raise SourceError(
            f"column {name!r} appears more than once, as columns {first + 1} and {second + 1}; "
            "give the columns other names with column_names"
        )
    return tuple(names)


def _detect_separator(file: Path, lines: list[str], quote: str) -> str:
    """Return the separator that splits most of the first records into as many fields as the first one."""
    usual = "\t" if ".tsv" in file.name.lower() else ","
    scores = {separator: _score(lines, Syntax(separator, quote)) for separator in SEPARATORS}
    best = max(SEPARATORS, key=lambda separator: (scores[separator], separator == usual))
    return best if scores[best] > (0, 0) else usual


def _score(lines: list[str], syntax: Syntax) -> tuple[float, int]:
    """Return the share of the first records with as many fields as the first one, and the number of its fields."""
    try:
        counts = [len(fields) for fields, _ in islice(_csv_records(lines, syntax), SAMPLE_RECORDS) if fields]
    except csv.Error:
        return 0, 0
    if not counts or counts[0] < 2:
        return 0, 0
    return sum(count == counts[0] for count in counts) / len(counts), counts[0]


def _first_record(lines: list[str], syntax: Syntax) -> tuple[list[str], int]:
    """Return the fields of the first record and its number of lines."""
    try:
        return next(_csv_records(lines, syntax))
    except csv.Error as error:
        raise SourceError(f"the header cannot be read: {error}") from None


def _csv_records(lines: list[str], syntax: Syntax) -> Iterator[tuple[list[str], int]]:
    """Yield the fields of each record, and the number of lines up to its end."""
    text = io.StringIO("\n".join(lines), newline="")
    quoting = csv.QUOTE_MINIMAL if syntax.quote else csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=syntax.separator, quotechar=syntax.quote or None, quoting=quoting)
    for fields in reader:
        yield fields, reader.line_num


def _with_note_of_first_open_quote(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    is_noted = False
    for chunk in chunks:
        number = next((line.number for line in chunk.broken_lines if line.rule == OPEN_QUOTE), None)
        if number is not None and not is_noted:
            is_noted = True
            chunk = replace(chunk, notes=(f"line {number}: a quote opens and does not close",))
        yield chunk


def _parsed_blocks(file: Path, layout: Layout, empty: pl.DataFrame) -> Iterator[Chunk]:
    blocks = _blocks_from(text_blocks(file, layout.encoding), layout.first_row)
    for records in split_records(blocks, layout.syntax):
        yield _parse(records, layout, empty)


def _blocks_from(blocks: Iterator[TextBlock], number: int) -> Iterator[TextBlock]:
    """Yield the lines from a number on."""
    for block in blocks:
        before = number - block.first_number
        if before <= 0:
            yield block
            yield from blocks
            return
        lines = block.text.split("\n", before)
        if len(lines) > before:
            yield from chain([TextBlock(number, lines[before])], blocks)
            return


def _parse(records: Records, layout: Layout, empty: pl.DataFrame) -> Chunk:
    """Return the records with as many fields as there are columns as rows, and the others as broken lines."""
    is_blank = records.texts.str.strip_chars("\r") == ""
    is_row = _field_counts(records.texts, layout.syntax) == len(layout.names)
    is_broken = ~is_row & ~is_blank
    broken = [
        BrokenLine(number, text.removesuffix("\r"))
        for number, text in zip(records.numbers.filter(is_broken), records.texts.filter(is_broken), strict=True)
    ]
    rows = records.texts.filter(is_row & ~is_blank)
    lines = sorted([*broken, *records.broken_lines], key=lambda line: line.number)
    return Chunk(_frame(rows, layout) if rows.len() else empty, tuple(lines))


def _field_counts(texts: pl.Series, syntax: Syntax) -> pl.Series:
    if syntax.quote:
        separator = re.escape(syntax.separator)
        has_quote = texts.str.contains(syntax.quote, literal=True)
        if has_quote.any():
            texts = texts.str.replace_all(f"(^|{separator}){syntax.quoted}", "${1}")
    return texts.str.count_matches(syntax.separator, literal=True) + 1


def _frame(rows: pl.Series, layout: Layout) -> pl.DataFrame:
    """Parse records, all of which have the same number of fields."""
    content = "\n".join(rows.to_list()).encode()
    parsed = pyarrow.csv.read_csv(
        pa.py_buffer(content),
        read_options=pyarrow.csv.ReadOptions(column_names=layout.names, block_size=len(content) + 1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=layout.syntax.separator,
            quote_char=layout.syntax.quote or False,
            newlines_in_values=bool(layout.syntax.quote),
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(layout.names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )
    frame = pl.from_arrow(parsed)
    assert isinstance(frame, pl.DataFrame)
    assert frame.height == rows.len()
    return frame
