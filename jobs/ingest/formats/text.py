"""Text files: decompress them, find their encoding, and read their lines in blocks."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import charset_normalizer
import pyarrow as pa

from recsys.errors import SourceError

BLOCK_BYTES = 2**20
SAMPLE_BYTES = 2**16
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_ASCII_LINE = re.compile(rb"[^\n]*[\x80-\xff][^\n]*")
# Encodings of shops' exports that are not UTF-8. The detector has others, which it takes for these on short texts.
WESTERN = "cp1252"
SINGLE_BYTE = (WESTERN, "cp1250", "cp1251", "cp1253", "cp1254")
MULTI_BYTE = ("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr")
MIN_DIFFERENCE = 0.04  # of an encoding's score from that of Western European, which is the most usual


@dataclass(frozen=True)
class Encoding:
    """The encoding of a text file, and whether it was guessed from its bytes."""

    name: str
    is_guessed: bool = False


@dataclass(frozen=True)
class TextBlock:
    """Some whole lines of a file, separated by line feeds; the first one has `first_number`, from 1."""

    first_number: int
    text: str


def find_encoding(file: Path, encoding: str | None) -> Encoding:
    """Return the given encoding, or the one that the whole file is in.

    That is the one of its byte order mark; else UTF-8 if every byte fits; else the most likely one. A file in which
    most lines with other than ASCII characters are UTF-8 is damaged UTF-8. Raises `SourceError` for an empty file.
    """
    blocks = _byte_blocks(file)
    first = next(blocks, b"")
    if not first:
        raise SourceError("the file is empty")
    if encoding is not None:
        _check_is_of_text(encoding)
        return Encoding(encoding)
    mark = next((name for mark, name in BYTE_ORDER_MARKS.items() if first.startswith(mark)), None)
    if mark is not None:
        return Encoding(mark)
    utf_16 = _utf_16(first[:SAMPLE_BYTES])
    if utf_16 is not None:
        return Encoding(utf_16, is_guessed=True)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in chain([first], blocks):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return Encoding(_most_likely_encoding(file), is_guessed=True)
    return Encoding("utf-8")


def text_blocks(file: Path, encoding: str) -> Iterator[TextBlock]:
    """Yield a text file in blocks of whole lines, without its byte order mark.

    A file whose only line ends are carriage returns has line feeds in their place. Raises `SourceError` with the
    line of the first byte that is not in the encoding.
    """
    number, rest, has_carriage_returns = 1, "", False
    for index, text in enumerate(_decoded(file, encoding)):
        if index == 0:
            text = text.removeprefix("\ufeff")
            has_carriage_returns = "\r" in text[:-1] and "\n" not in text
        text = rest + (text.replace("\r", "\n") if has_carriage_returns else text)
        lines, line_end, rest = text.rpartition("\n")
        if line_end:
            yield TextBlock(number, lines)
            number += lines.count("\n") + 1
    if rest:
        yield TextBlock(number, rest)


def numbered_lines(file: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield every line of a text file with its number, from 1, and without its line end."""
    for block in text_blocks(file, encoding):
        for number, line in enumerate(block.text.split("\n"), block.first_number):
            yield number, line.removesuffix("\r")


def read_bytes(file: Path, limit: int) -> bytes:
    """Return the decompressed content of a file; raises `SourceError` for more than `limit` bytes."""
    content = bytearray()
    for block in _byte_blocks(file):
        content += block
        if len(content) > limit:
            raise SourceError(f"it has more than {limit >> 20} MiB; JSON Lines of any size can be read")
    return bytes(content)


def _byte_blocks(file: Path) -> Iterator[bytes]:
    compression = COMPRESSIONS.get(file.suffix.lower())
    with pa.input_stream(str(file), compression=compression) as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def _decoded(file: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 0
    for block in chain(_byte_blocks(file), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].decode(error.encoding, errors="ignore").count("\n") + 1
            found = error.object[error.start : error.end].hex(" ")
            raise SourceError(f"cannot be read in {encoding}: line {line} has the bytes {found}") from None
        lines += text.count("\n")
        yield text


def _check_is_of_text(encoding: str) -> None:
    """Raise `LookupError` for a codec that is unknown, or that no text is in, such as `hex`."""
    try:
        " ".encode(encoding)
    except LookupError:
        raise LookupError(f"unknown encoding: {encoding}") from None


def _utf_16(sample: bytes) -> str | None:
    """Return the UTF-16 encoding of a text without a byte order mark; None if it is in none.

    Most of its characters are below 256, and have a zero as one of their two bytes, always the same one.
    """
    first, second = sample[::2].count(0), sample[1::2].count(0)
    if max(first, second) * 4 <= len(sample) or min(first, second) * 20 > len(sample):
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def _most_likely_encoding(file: Path) -> str:
    """Return the most likely encoding of the lines that are not ASCII, of a file that is not UTF-8."""
    lines: list[bytes] = []
    size = 0
    for block in _byte_blocks(file):
        for match in NOT_ASCII_LINE.finditer(block):
            lines.append(match[0])
            size += len(match[0])
        if size > SAMPLE_BYTES:
            break
    if sum(map(_is_utf_8, lines)) > len(lines) / 2:
        return "utf-8"
    matches = charset_normalizer.from_bytes(
        b"\n".join(lines)[:SAMPLE_BYTES], cp_isolation=[*SINGLE_BYTE, *MULTI_BYTE]
    )
    scores = {name: match.coherence - match.chaos for match in matches for name in match.could_be_from_charset}
    # A language has been recognized where the score is over zero; in a few symbols there is none.
    likely = {name: score for name, score in scores.items() if score > 0 or name in MULTI_BYTE}
    best = max(likely, key=likely.__getitem__, default=WESTERN)
    return WESTERN if likely.get(best, 0) < likely.get(WESTERN, -1) + MIN_DIFFERENCE else best


def _is_utf_8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
