"""The first rows of each table that files hold, with nested fields as columns of their own."""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import msgspec
import polars as pl

from jobs.ingest.files import FoundFile, SkippedFile
from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.fill_down import fill_down
from jobs.ingest.formats.registry import SPREADSHEETS, format_of, read_chunks
from jobs.ingest.formats.spreadsheet import sheet_names
from jobs.ingest.nested import LINE, add_paths, explode_rows
from jobs.ingest.plan import SourceFile
from jobs.mapping_inference.profiles import Profile, profile_column
from recsys.errors import RecsysError
from recsys.settings import Table

SAMPLE_ROWS = 50_000
MAX_COLUMNS = 400
SAME_NAME = "another file of this name has other columns: rename one of them"
MAX_JSON_ROWS = 200  # whose keys are read to find the fields of JSON in cells
MONTH = (
    r"(?<![a-z])(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|m(?:ä|ae)rz|apr(?:il)?|may|mai|june?|juni|july?|juli"
    r"|aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)(?![a-z])"
)
VARYING = re.compile(rf"(?i)(?:{MONTH}|\d)(?:[\d_. -]*(?:\d|{MONTH}))*")
SUFFIX = re.compile(r"\.(parquet|csv|tsv|txt|jsonl|ndjson|json|xlsx|xls|ods)(\.gz|\.zst|\.zip)?$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceSample:
    """The first rows of a table: of files of the same columns, or of a query."""

    name: str
    table: Table
    """How the rows are read; it maps no columns yet."""
    raw: pl.DataFrame
    """Rows as the files have them."""
    file: Path | None = None
    """The file that they come from; None for a query."""
    files: tuple[SourceFile, ...] = ()
    """All files of the table."""
    notes: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Return a row for each element of the list that the table explodes, with nested fields as columns."""
        return flatten(self.raw, self.table)

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """Return what the values of each column look like."""
        plain = [column for column in self.rows.iter_columns() if not column.dtype.is_nested()]
        return {column.name: profile_column(column) for column in plain[:MAX_COLUMNS]}


@dataclass(frozen=True)
class FoundSamples:
    """The tables that were found under some paths, and what cannot be read."""

    samples: list[SourceSample] = field(default_factory=list[SourceSample])
    skipped: list[SkippedFile] = field(default_factory=list[SkippedFile])


def sample_files(files: Sequence[SourceFile], scratch: Path) -> FoundSamples:
    """Return the first rows of each table among some files; files of the same columns and like names are one.

    A remote file is copied to `scratch`, one of each table.
    """
    found = FoundSamples()
    groups: dict[tuple[str, ...], SourceSample] = {}
    for file in files:
        try:
            for sheet in _sheets(file):
                key = (sheet or "", *_group(file))
                known = groups.get(key)
                if known is None:
                    groups[key] = _sample_file(file, sheet, scratch)
                else:
                    groups[key] = replace(known, files=(*known.files, file))
        except (RecsysError, OSError) as error:
            reason = str(error).removeprefix(f"{file.display_name}: ")
            found.skipped.append(SkippedFile(file.display_name, reason))
    names: set[str] = set()
    for key, sample in groups.items():
        others = [file.name for other, part in groups.items() if other[1:] != key[1:] for file in part.files]
        found.samples.extend(_with_pattern(sample, others, names))
        ambiguous = [file for file in sample.files if file.name in others]
        found.skipped.extend(SkippedFile(file.display_name, SAME_NAME) for file in ambiguous)
    return found


def views(sample: SourceSample) -> Iterator[SourceSample]:
    """Yield a sample, and one for each list of objects in it, whose elements are then rows."""
    yield sample
    for path in _lists(sample):
        yield replace(sample, table=replace(sample.table, explode=path, missing_columns="null"))


def flatten(raw: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return rows with a column for each field of nested columns, named by its path, after `table.explode`."""
    lines, _ = explode_rows(raw, table)
    lines = lines.drop(LINE, strict=False)
    paths = [path for name, dtype in lines.schema.items() for path in _paths(name, dtype, lines[name])]
    wide = add_paths(lines, paths, "nested columns")
    return wide.select(path for path in paths if path in wide.columns)


def read_first_rows(
    chunks: Iterator[Chunk], table: Table, limit: int = SAMPLE_ROWS
) -> tuple[pl.DataFrame, list[str]]:
    """Return the first rows of a source, and what it says of how it is read."""
    parts: list[pl.DataFrame] = []
    notes: list[str] = []
    rows = 0
    for chunk in fill_down(chunks, table):
        parts.append(chunk.rows.head(limit - rows))
        notes.extend(chunk.notes)
        rows += parts[-1].height
        if rows >= limit:
            break
    return pl.concat(parts), list(dict.fromkeys(notes))


def table_name(text: str) -> str:
    """Return a text as the name of a table in the settings.

    >>> table_name("Bestellungen 2024 (März)")
    'bestellungen_2024_m_rz'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:64] or "table"


def _group(file: SourceFile) -> tuple[str, ...]:
    """Return what files of one table have in common: their names but for numbers, and their columns."""
    file_format = format_of(file.name)
    stem = name_pattern(file.name).lower()
    if not isinstance(file, FoundFile) or file_format is None or file_format.has_inferred_types:
        return (stem,)
    first = next(read_chunks(file.path, Table("sample", "events", "*", {}), 1, file.display_name))
    return (stem, *first.rows.columns)


def _sheets(file: SourceFile) -> list[str | None]:
    """Return the sheets of a workbook of several, else one that is not named."""
    file_format = format_of(file.name)
    if not isinstance(file, FoundFile) or file_format is None or file_format.name not in SPREADSHEETS:
        return [None]
    names = sheet_names(file.path)
    return [*names] if len(names) > 1 else [None]


def _sample_file(file: SourceFile, sheet: str | None, scratch: Path) -> SourceSample:
    copy = file.path if isinstance(file, FoundFile) else file.fetch(scratch)
    table = Table("sample", "events", glob.escape(file.name), {}, sheet=sheet)
    rows, notes = read_first_rows(read_chunks(copy, table, SAMPLE_ROWS, file.display_name), table)
    return SourceSample("sample", table, rows, copy, (file,), tuple(notes))


def name_pattern(name: str) -> str:
    """Return the name of a file as a glob, in which a star stands for numbers, dates and names of months.

    >>> name_pattern("2019-Oct.csv.gz"), name_pattern("orders_export_1.csv"), name_pattern("events.csv")
    ('[0-9]*.csv.gz', 'orders_export_*.csv', 'events.csv')
    """
    suffix = SUFFIX.search(name)
    stem = name[: suffix.start()] if suffix else name
    pattern = VARYING.sub("*", glob.escape(stem))
    return ("[0-9]" if pattern[:1] == "*" and stem[:1].isdigit() else "") + pattern + (suffix[0] if suffix else "")


def _with_pattern(sample: SourceSample, others: list[str], names: set[str]) -> Iterator[SourceSample]:
    """Yield the sample with a glob for all its files, or one for each of them if it would match other files."""
    pattern = name_pattern(sample.files[0].name)
    is_alone = not any(fnmatch(other, pattern) for other in others)
    if is_alone and all(fnmatch(file.name, pattern) for file in sample.files):
        yield _named(replace(sample, table=replace(sample.table, files=pattern)), names)
        return
    for name in dict.fromkeys(file.name for file in sample.files):
        files = tuple(file for file in sample.files if file.name == name)
        yield _named(replace(sample, files=files, table=replace(sample.table, files=glob.escape(name))), names)


def _named(sample: SourceSample, names: set[str]) -> SourceSample:
    stem = re.sub(r"\[0-9\]|\*", " ", SUFFIX.sub("", sample.table.files)).strip()
    folder = Path(sample.files[0].display_name).parent.name
    base = table_name(f"{stem or folder} {sample.table.sheet or ''}".strip())
    name = next(each for each in (base, *(f"{base}_{number}" for number in range(2, 1000))) if each not in names)
    names.add(name)
    return replace(sample, name=name, table=replace(sample.table, name=name))


def _paths(name: str, dtype: pl.DataType, values: pl.Series | None = None) -> Iterator[str]:
    """Yield the paths of the plain values below a column; those of JSON text by the keys of its first rows."""
    if isinstance(dtype, pl.Struct):
        for part in dtype.fields:
            inner = part.dtype if isinstance(part.dtype, pl.DataType) else part.dtype()
            yield from _paths(f"{name}.{part.name}", inner)
        return
    keys = _json_keys(values) if values is not None and dtype == pl.String else []
    yield from (f"{name}.{key}" for key in keys)
    if not keys:
        yield name


def _json_keys(values: pl.Series) -> list[str]:
    """Return the paths of the plain values of the JSON objects in cells; empty if they are no such objects."""
    texts = values.drop_nulls().head(MAX_JSON_ROWS)
    if not texts.len() or not texts.str.contains(r"^\s*\{.*\}\s*$").all():
        return []
    keys: dict[str, None] = {}
    for text in texts:
        keys.update(dict.fromkeys(_leaves(_decoded(text))))
    return list(keys)


def _leaves(value: object, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if re.fullmatch(r"[^\W\d]\w*", str(key)):
                yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _lists(sample: SourceSample) -> Iterator[str]:
    """Yield the paths of the lists of objects of a sample."""
    for name, dtype in sample.raw.schema.items():
        yield from _list_paths(name, dtype)
        if dtype == pl.String:
            texts = sample.raw[name].drop_nulls().head(MAX_JSON_ROWS)
            if texts.len() and texts.str.contains(r"^\s*\[\s*(\{|\])").all():
                yield name
            yield from (path for path in _json_list_paths(texts, name))


def _list_paths(name: str, dtype: pl.DataType) -> Iterator[str]:
    if isinstance(dtype, pl.Struct):
        for part in dtype.fields:
            yield from _list_paths(
                f"{name}.{part.name}", part.dtype if isinstance(part.dtype, pl.DataType) else part.dtype()
            )
    elif isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        yield name


def _json_list_paths(texts: pl.Series, name: str) -> Iterator[str]:
    """Yield the paths of lists of objects inside the JSON objects of cells."""
    paths: dict[str, None] = {}
    for text in texts if texts.len() and texts.str.contains(r"^\s*\{.*\}\s*$").all() else ():
        value = _decoded(text)
        for key in _leaves(value):
            inner: object = value
            for part in key.split("."):
                inner = inner.get(part) if isinstance(inner, dict) else None
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                paths[f"{name}.{key}"] = None
    yield from paths
