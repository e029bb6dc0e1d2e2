"""Source files of the tests, and reads of all their rows."""

from pathlib import Path

import polars as pl

from jobs.ingest.formats.registry import read_chunks
from recsys.settings import Table

TABLE = Table("events", "events", "*", {})


def write_file(file: Path, content: str | bytes) -> Path:
    """Write a file and return it; text is written in UTF-8."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read_rows(
    file: Path, chunk_rows: int = 1000, table: Table = TABLE
) -> tuple[list[dict[str, object]], list[str]]:
    """Return all rows of a file, and the text of all its broken lines."""
    chunks = list(read_chunks(file, table, chunk_rows))
    assert all(chunk.rows.columns == chunks[0].rows.columns for chunk in chunks)
    assert chunks[0].rows.is_empty()
    return pl.concat([chunk.rows for chunk in chunks]).to_dicts(), [
        line.text.strip() for chunk in chunks for line in chunk.broken_lines
    ]


def broken_lines(file: Path, table: Table = TABLE, chunk_rows: int = 1000) -> list[tuple[int, str, str]]:
    """Return number, text and broken rule of each broken line."""
    return [
        (line.number, line.text, line.rule)
        for chunk in read_chunks(file, table, chunk_rows)
        for line in chunk.broken_lines
    ]


def notes(file: Path, table: Table = TABLE) -> list[str]:
    """Return what a user is told of how a file is read."""
    return [note for chunk in read_chunks(file, table, 1000) for note in chunk.notes]
