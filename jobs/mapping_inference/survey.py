"""Read all rows of a table, up to a limit, for what its first rows cannot tell."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from jobs.ingest.files import FoundFile
from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.fill_down import fill_down
from jobs.ingest.formats.registry import read_chunks
from jobs.ingest.ids import AROUND
from jobs.ingest.nested import add_nulls, add_paths, explode_rows
from jobs.ingest.times import as_texts, detect_day_order
from jobs.mapping_inference.profiles import amounts_of
from jobs.mapping_inference.samples import SourceSample
from recsys.schema import ITEM_ID, TITLE
from recsys.settings.sources import NULL_IDS

SURVEY_ROWS = 2_000_000
CHUNK_ROWS = 200_000
MAX_NAMES = 200
NULL_ITEMS = [text for text in NULL_IDS if not re.fullmatch(r"-?\d+", text)]
ROWS = "rows"
ITEM_SCHEMA = {ITEM_ID: pl.String, TITLE: pl.String, ROWS: pl.UInt32}


@dataclass
class Survey:
    """What all rows of a table have in the columns that were asked for."""

    rows: int = 0
    is_whole: bool = True
    """Whether no rows were left out."""
    values: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """Column -> value -> rows."""
    missing: Counter[str] = field(default_factory=Counter[str])
    """Column of ids -> rows without an id."""
    nulls: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Column of ids -> texts that mean no id."""
    negative: Counter[str] = field(default_factory=Counter[str])
    """Column of numbers -> rows in which it is below 0."""
    day_orders: set[str] = field(default_factory=set[str])
    items: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ITEM_SCHEMA))
    """The different items and titles, with the number of rows of each."""

    def share_negative(self, column: str) -> float:
        """Return the share of the rows in which a column of numbers is below 0."""
        return self.negative[column] / max(self.rows, 1)

    def share_missing(self, column: str) -> float:
        """Return the share of the rows without an id in a column."""
        return self.missing[column] / max(self.rows, 1)


def survey(
    sample: SourceSample,
    values: Sequence[str] = (),
    ids: Sequence[str] = (),
    times: Sequence[str] = (),
    item: str | None = None,
    title: str | None = None,
    numbers: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> Survey:
    """Read the rows of a sample's files: count values, missing ids and items, and find the order of dates.

    `numbers` are columns of numbers, with the decimal and the thousands separator of each.
    """
    found = Survey(values={name: Counter() for name in values}, nulls={name: set() for name in ids})
    named = [name for name in (*values, *ids, *times, *numbers, item, title) if name is not None]
    needed = list(dict.fromkeys(named))
    for rows in _rows(sample, needed):
        found.rows += rows.height
        for name in values:
            counts = as_texts(rows[name]).str.strip_chars().drop_nulls().value_counts(sort=True).head(MAX_NAMES)
            found.values[name].update(dict(counts.iter_rows()))
        for name in ids:
            text = as_texts(rows[name]).str.strip_chars()
            nulls = text.filter(text.str.to_lowercase().is_in(NULL_ITEMS if name == item else NULL_IDS))
            found.missing[name] += text.null_count() + nulls.len()
            found.nulls[name] |= set(nulls.unique()) - {""}
        for name, separators in numbers.items():
            found.negative[name] += int((amounts_of(rows[name], separators) < 0).sum())
        for name in times:
            order = detect_day_order(as_texts(rows[name]))[0]
            found.day_orders |= {order} if order else set()
        if item is not None:
            found.items = _with_items(found.items, rows, item, title)
        if found.rows >= SURVEY_ROWS:
            found.is_whole = False
            break
    return found


def _rows(sample: SourceSample, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield columns of the rows of a sample, after the list that it explodes."""
    for chunk in read_all(sample):
        lines, _ = explode_rows(chunk.rows, sample.table)
        wide = add_nulls(lines, columns) if sample.table.missing_columns == "null" else lines
        yield add_paths(wide, columns, "survey").select(columns)


def read_all(sample: SourceSample) -> Iterator[Chunk]:
    """Yield the rows of all local files of a sample; of a query and of remote files, those of the sample."""
    local = [file for file in sample.files if isinstance(file, FoundFile)]
    if not local:
        yield Chunk(sample.raw)
    for file in local:
        for chunk in fill_down(read_chunks(file.path, sample.table, CHUNK_ROWS, file.display_name), sample.table):
            if chunk.rows.height:
                yield chunk


def _with_items(known: pl.DataFrame, rows: pl.DataFrame, item: str, title: str | None) -> pl.DataFrame:
    texts = as_texts(rows[item]).str.strip_chars(AROUND).alias(ITEM_ID).to_frame()
    titles = as_texts(rows[title]).str.strip_chars() if title else pl.lit(None, pl.String)
    texts = texts.with_columns(titles.alias(TITLE))
    given = texts.filter(pl.col(ITEM_ID) != "").group_by(ITEM_ID, TITLE).agg(pl.len().alias(ROWS))
    return pl.concat([known, given]).group_by(ITEM_ID, TITLE).agg(pl.col(ROWS).sum())
