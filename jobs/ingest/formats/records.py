"""Split the text of a delimited file into records, whose quoted fields may contain line ends.

A quote opens a field only at its start, is doubled inside, and ends the field. A line in which text follows the
closing quote, or whose quote does not close, is broken, and the next record starts on the next line: a stray quote
costs one line.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from jobs.ingest.formats.chunks import OPEN_QUOTE, BrokenLine
from jobs.ingest.formats.text import TextBlock

MAX_RECORD_LENGTH = 2**20


@dataclass(frozen=True)
class Records:
    """Some records of a file, and the lines among them that are none."""

    texts: pl.Series
    """Text of each record without its last line end."""
    numbers: pl.Series
    """Number of each record's first line, from 1."""
    broken_lines: tuple[BrokenLine, ...] = ()


@dataclass(frozen=True)
class Syntax:
    """The characters of a delimited file."""

    separator: str
    quote: str
    """Empty if fields are not quoted."""

    @property
    def quoted(self) -> str:
        """Return a regular expression of a quoted field."""
        quote = re.escape(self.quote)
        return f"{quote}{self._inside}{quote}"

    @property
    def _inside(self) -> str:
        quote = re.escape(self.quote)
        return f"[^{quote}]*(?:{quote}{quote}[^{quote}]*)*"

    @property
    def _field(self) -> str:
        quote, separator = re.escape(self.quote), re.escape(self.separator)
        return rf"(?:{self.quoted}|[^{quote}{separator}\r][^{separator}\r]*)?"

    @property
    def _more_fields(self) -> str:
        return f"(?:{re.escape(self.separator)}{self._field})*"

    @property
    def whole(self) -> str:
        """Return a regular expression of a line that is one record."""
        return rf"^{self._field}{self._more_fields}\r?$"

    @property
    def opens(self) -> str:
        """Return a regular expression of a line that starts a record and ends inside a quoted field."""
        return f"(?:{self._field}{re.escape(self.separator)})*{re.escape(self.quote)}{self._inside}"

    @property
    def stays_open(self) -> str:
        """Return a regular expression of a line that starts and ends inside quoted fields."""
        between = f"{re.escape(self.quote)}{self._more_fields}{re.escape(self.separator)}{re.escape(self.quote)}"
        return f"{self._inside}(?:{between}{self._inside})?"

    @property
    def closes(self) -> str:
        """Return a regular expression of a line that starts inside a quoted field and ends the record."""
        return rf"{self._inside}{re.escape(self.quote)}{self._more_fields}\r?"


def split_records(blocks: Iterable[TextBlock], syntax: Syntax) -> Iterator[Records]:
    """Yield the records of some blocks, in their order."""
    rest = ""
    for block, is_last in _with_last(blocks):
        first = block.first_number - (rest.count("\n") + 1 if rest else 0)
        text = f"{rest}\n{block.text}" if rest else block.text
        lines = _Lines(text, first, syntax)
        yield lines.records(is_last)
        rest = lines.rest


def _with_last(blocks: Iterable[TextBlock]) -> Iterator[tuple[TextBlock, bool]]:
    """Yield each block, with whether it is the last one."""
    iterator = iter(blocks)
    block = next(iterator, None)
    while block is not None:
        following = next(iterator, None)
        yield block, following is None
        block = following


@dataclass
class _Lines:
    """The lines of a block, preceded by the lines of a record that the block before it did not end."""

    text: str
    first_number: int
    syntax: Syntax
    rest: str = ""
    """The lines of the record that this block does not end."""
    _broken: list[BrokenLine] = field(default_factory=list[BrokenLine])

    def records(self, is_last: bool) -> Records:
        """Return the records that end in the block."""
        lines = pl.Series(self.text.split("\n"), dtype=pl.String)
        numbers = pl.int_range(self.first_number, self.first_number + lines.len(), eager=True)
        if not self.syntax.quote or self.syntax.quote not in self.text:
            return Records(lines, numbers)
        suspicious = (~lines.str.contains(self.syntax.whole)).arg_true().to_list()
        if not suspicious:
            return Records(lines, numbers)
        texts = lines.to_list()
        starts = self._join_lines(texts, suspicious, is_last)
        is_start = pl.Series(starts, dtype=pl.Boolean)
        joined = pl.Series([text for text, kept in zip(texts, starts, strict=True) if kept], dtype=pl.String)
        return Records(joined, numbers.filter(is_start), tuple(self._broken))

    def _join_lines(self, texts: list[str], suspicious: list[int], is_last: bool) -> list[bool]:
        """Join each record's lines in the place of its first one; return whether each line starts a record."""
        opens = re.compile(self.syntax.opens)
        quoted = [index for index, text in enumerate(texts) if self.syntax.quote in text]
        starts = [True] * len(texts)
        following = 0
        for index in suspicious:
            if index < following:
                continue
            if not opens.fullmatch(texts[index]):
                starts[index] = self._break(index, texts[index])
                continue
            last = self._last_line(texts, index, quoted)
            if last == "open" and not is_last and sum(map(len, texts[index:])) <= MAX_RECORD_LENGTH:
                self.rest = "\n".join(texts[index:])
                starts[index:] = [False] * (len(texts) - index)
                break
            if isinstance(last, str):
                starts[index] = self._break(index, texts[index], is_open=last == "open")
                continue
            texts[index] = "\n".join(texts[index : last + 1])
            starts[index + 1 : last + 1] = [False] * (last - index)
            following = last + 1
        return starts

    def _last_line(self, texts: list[str], index: int, quoted: list[int]) -> int | Literal["open", "broken"]:
        """Return the last line of the record that starts at a line.

        It is "open" if no line closes its quote, and "broken" if text follows the closing quote.
        """
        closes, stays_open = re.compile(self.syntax.closes), re.compile(self.syntax.stays_open)
        for line in quoted[bisect_right(quoted, index) :]:
            if closes.fullmatch(texts[line]):
                return line
            if not stays_open.fullmatch(texts[line]):
                return "broken"
        return "open"

    def _break(self, index: int, text: str, is_open: bool = False) -> bool:
        line = BrokenLine(self.first_number + index, text.removesuffix("\r"))
        self._broken.append(BrokenLine(line.number, line.text, OPEN_QUOTE) if is_open else line)
        return False
