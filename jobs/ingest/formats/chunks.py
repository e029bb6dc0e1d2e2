"""What every reader yields: rows of a source in chunks, with the lines that are no rows."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

import polars as pl

BROKEN_LINE = "line_is_whole"
OPEN_QUOTE = "quote_is_closed"
LINE_TEXT = "line"  # column of a quarantine file: text of a broken line


@dataclass(frozen=True)
class BrokenLine:
    """A line that could not be parsed as a row; an element of a JSON array has its position as its number."""

    number: int
    """Number of the line in the file, from 1."""
    text: str
    rule: str = BROKEN_LINE
    """The rule that it broke."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a source, and the lines among them that could not be parsed as rows."""

    rows: pl.DataFrame
    broken_lines: tuple[BrokenLine, ...] = ()
    notes: tuple[str, ...] = ()
    """What a user should be told of how the file is read, such as a detected encoding."""


def broken_line_frame(lines: Iterable[BrokenLine]) -> pl.DataFrame:
    """Return broken lines as rows of a quarantine file: `line`, `line_number` and `rules`."""
    values = [(line.text, line.number, line.rule) for line in lines]
    return pl.DataFrame(values, {LINE_TEXT: pl.String, "line_number": pl.Int64, "rules": pl.String}, orient="row")


def join_chunks(chunks: Iterable[Chunk], chunk_rows: int) -> Iterator[Chunk]:
    """Yield the same rows in chunks of at least `chunk_rows` rows; the last chunk may have fewer."""
    pending: list[Chunk] = []
    for chunk in chunks:
        pending.append(chunk)
        if sum(part.rows.height for part in pending) >= chunk_rows:
            yield _joined(pending)
            pending.clear()
    if pending:
        yield _joined(pending)


def join_empty_start(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Yield the same rows; a first chunk that only gives the columns is joined to the next if there is one."""
    iterator = iter(chunks)
    start = list(islice(iterator, 1))
    if start and not start[0].rows.height:
        start = [_joined([*start, *islice(iterator, 1)])]
    yield from chain(start, iterator)


def prefetch(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Yield the same chunks; a thread reads the next one while the caller works on the last one.

    Nobody waits for the thread of a reading that is given up: such an iterator may be removed by the garbage
    collector, in the midst of the start of another thread, where waiting for one never ends. The thread ends when
    its executor is gone.
    """
    thread = ThreadPoolExecutor(1)
    following = thread.submit(next, chunks, None)
    while (chunk := following.result()) is not None:
        following = thread.submit(next, chunks, None)
        yield chunk


def _joined(chunks: list[Chunk]) -> Chunk:
    return Chunk(
        pl.concat([chunk.rows for chunk in chunks]),
        tuple(line for chunk in chunks for line in chunk.broken_lines),
        tuple(note for chunk in chunks for note in chunk.notes),
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, which is the part for users."""
    return str(error).strip().partition("\n")[0]
