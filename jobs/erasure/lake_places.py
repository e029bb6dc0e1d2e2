"""The places of a lake that hold data of persons."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl

from jobs.erasure.parquet_rows import Match, by_id_and_time, by_text, find_rows, remove_rows
from jobs.erasure.persons import Installation, Persons
from jobs.erasure.place import Place
from jobs.lake.event_partitions import STORED_DTYPES, read_partition, write_partition
from jobs.lake.event_writer import bucket_expression, partition_files
from jobs.lake.lake import FLAGS, IMPRESSIONS, LABELS
from recsys.files import read_json, write_json
from recsys.schema import TIMESTAMP, TIMESTAMP_DTYPE, USER_ID

FINDINGS: Final = "findings"
FINDING_OF_USER: Final = re.compile(r"user (\S+) has ")
_FILE: Final = "_file"


def table_place(name: str, *patterns: str, match: Match = by_id_and_time, keeps_empty: bool = True) -> Place:
    """Return the place of the tables of the lake whose files match some patterns, in the order of these."""

    def files(installation: Installation) -> list[Path]:
        directory = installation.lake.directory
        return [file for pattern in patterns for file in sorted(directory.glob(pattern)) if file.name[0] != "."]

    def find(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
        return find_rows(installation.lake.directory, files(installation), persons, match)

    def erase(installation: Installation, persons: Persons) -> int:
        return remove_rows(files(installation), persons, match, keeps_empty)

    return Place(name, find, erase)


def find_events(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the stored rows of events of persons, those that are not current included."""
    for rows in _stored_events(installation, persons).collect_batches(maintain_order=True):
        for row in rows.iter_rows(named=True):
            file = Path(row.pop(_FILE)).relative_to(installation.lake.directory)
            yield {"file": file.as_posix(), **{name: value for name, value in row.items() if value is not None}}


def erase_events(installation: Installation, persons: Persons) -> int:
    """Remove the events of persons: one pass over the partitions of their buckets finds those to write."""
    held = _stored_events(installation, persons).group_by(_FILE).len().collect(engine="streaming")
    for name in sorted(held[_FILE]):
        file = Path(name)
        write_partition(file, read_partition(file).filter(~_is_theirs(persons)))
        if not file.exists():
            file.parent.rmdir()
    return int(held["len"].sum())


def _stored_events(installation: Installation, persons: Persons) -> pl.LazyFrame:
    """Return the stored rows of events of persons, with the file of each."""
    files = event_files(installation, persons)
    if not files:
        return pl.LazyFrame(schema={**STORED_DTYPES, _FILE: pl.String()})
    rows = pl.scan_parquet(files, glob=False, hive_partitioning=False, include_file_paths=_FILE)
    return rows.filter(_is_theirs(persons))


def event_files(installation: Installation, persons: Persons) -> list[Path]:
    """Return the partitions of events in the buckets of some persons."""
    directory = installation.lake.directory / "events"
    buckets = persons.series.to_frame().select(bucket_expression(installation.lake.buckets).unique()).to_series()
    return [file for bucket in sorted(buckets) for file in partition_files(directory, bucket)]


def find_findings(installation: Installation, persons: Persons) -> Iterator[dict[str, Any]]:
    """Yield the remarks on sources that name persons."""
    for file, value in _records(installation):
        found: list[str] = []
        _without_findings(value, persons, found.append)
        name = file.relative_to(installation.lake.directory).as_posix()
        yield from ({"file": name, "finding": finding} for finding in found)


def erase_findings(installation: Installation, persons: Persons) -> int:
    """Remove the remarks on sources that name persons."""
    removed: list[str] = []
    for file, value in _records(installation):
        count = len(removed)
        kept = _without_findings(value, persons, removed.append)
        if len(removed) > count:
            write_json(file, kept)
    return len(removed)


def _records(installation: Installation) -> Iterator[tuple[Path, Any]]:
    for folder in ("sources", "ingests"):
        for file in sorted((installation.lake.directory / folder).rglob("[!.]*.json")):
            if FINDINGS in file.read_text(encoding="utf-8"):
                yield file, read_json(file)


def _without_findings(value: Any, persons: Persons, on_found: Callable[[str], None]) -> Any:
    """Return a record without the findings that name persons."""
    if isinstance(value, list):
        return [_without_findings(each, persons, on_found) for each in value]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for name, each in value.items():
        if name != FINDINGS:
            kept[name] = _without_findings(each, persons, on_found)
            continue
        kept[name] = [finding for finding in each if not _names(finding, persons)]
        for finding in each:
            if _names(finding, persons):
                on_found(finding)
    return kept


def _names(finding: str, persons: Persons) -> bool:
    named = FINDING_OF_USER.match(finding)
    return named is not None and named[1] in persons.ids


def _is_theirs(persons: Persons) -> pl.Expr:
    is_before = pl.col(TIMESTAMP) < pl.lit(persons.before, TIMESTAMP_DTYPE)
    return pl.col(USER_ID).is_in(persons.series.implode()) & is_before


LAKE_PLACES: Final = (
    Place("lake events", find_events, erase_events),
    table_place("lake users", "facts/users/*.parquet", "undo/*/users/*.parquet", "users.parquet"),
    table_place(
        "lake identities", "facts/identities/*.parquet", "undo/*/identities/*.parquet", "identities.parquet"
    ),
    table_place("lake impressions", f"{IMPRESSIONS}/*/*.parquet", keeps_empty=False),
    table_place("lake flags", f"{FLAGS}/*/*.parquet", keeps_empty=False),
    table_place("lake labels", f"{LABELS}.parquet"),
    table_place(
        *("lake quarantine", "quarantine/**/*.parquet", "undo/*/quarantine/*.parquet"),
        match=by_text,
        keeps_empty=False,
    ),
    Place("lake findings", find_findings, erase_findings),
)
