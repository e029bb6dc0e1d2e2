"""Find and remove the rows of persons in Parquet files; a file is written aside, then renamed."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl

from jobs.erasure.persons import Persons
from jobs.ingest.mapping import SOURCE_ROW
from jobs.lake.event_writer import scan_files
from recsys.files import atomic_write, copy_times
from recsys.schema import GUEST_ID, LABELED_AT, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID

ROW_GROUP_ROWS: Final = 16_384
SEPARATORS: Final = r"\s,;|\"'{}\[\]()<>="
"""Characters that end an id within a line of text."""
ARROW_SCHEMA: Final = "ARROW:schema"
FILE: Final = "file"

Match = Callable[[pl.Schema, Persons], pl.Expr | None]
"""Whether a row of a file is one of the persons'; None for a file that has no rows of persons."""


def by_id(schema: pl.Schema, persons: Persons) -> pl.Expr | None:
    """Match rows by their columns of users and guests, whatever their time."""
    names = [name for name in (USER_ID, GUEST_ID) if schema.get(name) == pl.String()]
    if not names:
        return None
    ids = persons.series.implode()
    return pl.any_horizontal(pl.col(name).is_in(ids).fill_null(value=False) for name in names)


def by_id_and_time(schema: pl.Schema, persons: Persons) -> pl.Expr | None:
    """Match rows by their columns of users and guests, and by their time if they have one."""
    match = by_id(schema, persons)
    if match is None:
        return None
    for name in (TIMESTAMP, LABELED_AT):
        if schema.get(name) == TIMESTAMP_DTYPE:
            match &= (pl.col(name) < pl.lit(persons.before, TIMESTAMP_DTYPE)).fill_null(value=True)
    return match


def by_text(schema: pl.Schema, persons: Persons) -> pl.Expr:
    """Match rows in quarantine: by their user, or where that was not read, by an id anywhere in their text."""
    texts = [pl.col(name) for name, dtype in schema.items() if dtype == pl.String()]
    if SOURCE_ROW in schema.names():
        texts.append(pl.col(SOURCE_ROW).struct.json_encode())
    words = [text for text in persons.series if not re.search(f"[{SEPARATORS}]", text)]
    others = [text for text in persons.series if text not in set(words)]
    has_id = pl.any_horizontal(_mentions(text, words, others) for text in texts)
    known = by_id(schema, persons)
    if known is None:
        return has_id
    is_given = pl.any_horizontal(
        pl.col(name).is_not_null() for name in (USER_ID, GUEST_ID) if name in schema.names()
    )
    return known | (~is_given & has_id)


def find_rows(root: Path, files: Iterable[Path], persons: Persons, match: Match) -> Iterator[dict[str, Any]]:
    """Yield the rows of persons in some files, each with its file's name below `root`."""
    for file in files:
        rows = scan_files([file])
        matched = match(rows.collect_schema(), persons)
        if matched is not None:
            name = file.relative_to(root).as_posix()
            found = rows.filter(matched).collect(engine="streaming")
            yield from ({FILE: name, **_filled(row)} for row in found.iter_rows(named=True))


def has_rows(files: Iterable[Path], persons: Persons, match: Match) -> bool:
    """Return whether some file has a row of persons."""
    return any(_count_rows(file, persons, match) for file in files)


def remove_rows(files: Iterable[Path], persons: Persons, match: Match, keeps_empty: bool = True) -> int:
    """Remove the rows of persons from some files; return how many. Other files are not written.

    Without `keeps_empty`, a file that has no other rows is removed.
    """
    removed = 0
    for file in files:
        count = _count_rows(file, persons, match)
        if count:
            _rewrite(file, persons, match, keeps_empty)
            removed += count
    return removed


def _rewrite(file: Path, persons: Persons, match: Match, keeps_empty: bool) -> None:
    rows = scan_files([file])
    matched = match(rows.collect_schema(), persons)
    if matched is None:
        return
    kept = rows.filter(~matched)
    if not keeps_empty and not kept.limit(1).collect().height:
        file.unlink()
        return
    metadata = {name: text for name, text in pl.read_parquet_metadata(file).items() if name != ARROW_SCHEMA}
    with atomic_write(file) as temporary:
        kept.sink_parquet(temporary, row_group_size=ROW_GROUP_ROWS, metadata=metadata, engine="streaming")
        copy_times(file, temporary)


def _count_rows(file: Path, persons: Persons, match: Match) -> int:
    rows = scan_files([file])
    matched = match(rows.collect_schema(), persons)
    if matched is None:
        return 0
    return int(rows.select(matched.sum()).collect(engine="streaming").item() or 0)


def _mentions(text: pl.Expr, words: list[str], others: list[str]) -> pl.Expr:
    """Return whether a text has an id as a word, or, of ids with separators in them, anywhere."""
    found = text.str.extract_all(f"[^{SEPARATORS}]+").list.eval(pl.element().is_in(words)).list.any()
    if others:
        found |= text.str.contains_any(others)
    return found.fill_null(value=False)


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
