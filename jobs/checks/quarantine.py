"""The rows in quarantine: how many there are by table, source and rule, and the rows themselves as they came."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jobs.ingest.mapping import RULES
from jobs.ingest.source_readings import INGEST_NUMBER, SOURCE_NAME
from jobs.ingest.source_records import quarantine_file, read_records
from jobs.lake.event_writer import scan_files
from jobs.lake.fact_tables import ONLINE
from jobs.lake.lake import Lake
from recsys.errors import SourceError


@dataclass(frozen=True)
class QuarantineFile:
    """A file of rows that broke a rule: those of a source's latest reading, of an increment, or of an archive."""

    path: Path
    table: str
    """Name of the table; `online` for what the HTTP server received."""
    source: str
    """Path of the file, name of the connection, or kind of what was received; empty if it is not recorded."""
    ingest: int | None
    """Number of the ingest that read the rows; None if it stopped because of them, or for an archive."""
    rows: int
    rules: dict[str, int]
    """Rule -> rows that broke it; a row may break several."""


def list_quarantine(lake: Lake) -> list[QuarantineFile]:
    """Return all files in quarantine, by table, source and ingest."""
    sources = {quarantine_file(lake, record.source).stem: record.source for record in read_records(lake)}
    files = [_describe(file, sources) for file in (lake.directory / "quarantine").glob("*.parquet")]
    return sorted(files, key=lambda file: (file.table, file.source, file.ingest or 0, file.path.name))


def read_bad_rows(
    files: Sequence[QuarantineFile], table: str | None, rule: str | None, limit: int
) -> Iterator[tuple[QuarantineFile, pl.DataFrame]]:
    """Yield up to `limit` rows in all with the file that each is in: those of a table, and that broke a rule.

    A rule is named with or without its advice (`price_is_readable: set decimal = ','`). Raises `SourceError` for a
    table or a rule without rows.
    """
    _check_name("table", table, [file.table for file in files])
    chosen = [file for file in files if table in (None, file.table)]
    _check_name("rule", rule, [name for file in chosen for broken in file.rules for name in _names(broken)])
    for file in chosen:
        broken = [name for name in file.rules if rule is None or rule in _names(name)]
        if limit <= 0 or not broken:
            continue
        is_broken = pl.col(RULES).str.split(", ").list.eval(pl.element().is_in(broken)).list.any()
        rows = scan_files([file.path]).filter(is_broken).head(limit).collect()
        limit -= rows.height
        yield file, rows


def _check_name(what: str, name: str | None, expected: Sequence[str]) -> None:
    if name is not None and name not in expected:
        names = ", ".join(sorted(set(expected))) or "none"
        raise SourceError(f"{what} {name!r}: no such rows are in quarantine; expected one of: {names}")


def _names(rule: str) -> tuple[str, str]:
    """Return a rule with and without its advice on settings."""
    return rule, rule.partition(": ")[0]


def _describe(path: Path, sources: Mapping[str, str]) -> QuarantineFile:
    rows = scan_files([path])
    rules = rows.select(pl.col(RULES).str.split(", ").explode().drop_nulls().alias("rule"))
    broken = rules.group_by("rule").len().sort("len", "rule", descending=[True, False]).collect()
    height = int(rows.select(pl.len()).collect().item())
    table, source, ingest = _origin(path, sources)
    return QuarantineFile(path, table, source, ingest, height, dict(broken.iter_rows()))


def _origin(path: Path, sources: Mapping[str, str]) -> tuple[str, str, int | None]:
    """Return table, source and ingest of a file; one of an earlier version has only its name and the records."""
    if path.stem.startswith(f"{ONLINE}-"):
        return ONLINE, path.stem.split("-")[1], None
    metadata = pl.read_parquet_metadata(path)
    stem = next((stem for stem in sources if path.stem.startswith(stem)), None)
    name = metadata.get(SOURCE_NAME) or (sources[stem] if stem else f"{path.stem.rpartition('-')[0]}/")
    table, _, source = name.partition("/")
    number = metadata.get(INGEST_NUMBER)
    return table, source, int(number) if number else None
