"""The rows in quarantine: how many there are by table, source and rule, and the rows themselves as they came."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from jobs.ingest.mapping import RULES, SOURCE_ROW
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
    for file, broken in choose_files(files, None, table, rule):
        if limit <= 0:
            return
        rows = scan_files([file.path]).filter(breaks_rule(broken)).head(limit)
        rows = rows.drop(SOURCE_ROW, strict=False).collect()
        limit -= rows.height
        yield file, rows


def choose_files(
    files: Sequence[QuarantineFile], source: str | None, table: str | None, rule: str | None
) -> list[tuple[QuarantineFile, list[str]]]:
    """Return the files of a source and a table that have rows that broke a rule, and its names in each file.

    A source is named as `list_quarantine` does, or by the name of its file alone. Raises `SourceError` for a name
    without rows.
    """
    _check_name("table", table, [file.table for file in files])
    _check_name("source", source, [name for file in files for name in (file.source, Path(file.source).name)])
    chosen = [
        file
        for file in files
        if table in (None, file.table) and source in (None, file.source, Path(file.source).name)
    ]
    _check_name("rule", rule, [name for file in chosen for broken in file.rules for name in _names(broken)])
    broken = [(file, [name for name in file.rules if rule is None or rule in _names(name)]) for file in chosen]
    return [(file, rules) for file, rules in broken if rules]


def count_rules(path: Path) -> tuple[int, dict[str, int]]:
    """Return the number of rows of a file in quarantine, and of those that broke each rule."""
    rows = scan_files([path])
    rules = rows.select(pl.col(RULES).str.split(", ").explode().drop_nulls().alias("rule"))
    broken = rules.group_by("rule").len().sort("len", "rule", descending=[True, False]).collect()
    return int(rows.select(pl.len()).collect().item()), dict(broken.iter_rows())


def breaks_rule(rules: Sequence[str]) -> pl.Expr:
    """Return whether a row in quarantine broke one of some rules."""
    return pl.col(RULES).str.split(", ").list.eval(pl.element().is_in(rules)).list.any()


def _check_name(what: str, name: str | None, expected: Sequence[str]) -> None:
    if name is not None and name not in expected:
        names = ", ".join(sorted(set(expected))) or "none"
        raise SourceError(f"{what} {name!r}: no such rows are in quarantine; expected one of: {names}")


def _names(rule: str) -> tuple[str, str]:
    """Return a rule with and without its advice on settings."""
    return rule, rule.partition(": ")[0]


def _describe(path: Path, sources: Mapping[str, str]) -> QuarantineFile:
    table, source, ingest = _origin(path, sources)
    return QuarantineFile(path, table, source, ingest, *count_rules(path))


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
