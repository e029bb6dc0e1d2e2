"""Files into the lake: rows that break a rule go to quarantine, a file that cannot be read stops it all."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import dataframely as dy
import polars as pl
import structlog

from jobs.lake import Lake
from jobs.mapping import check_table, map_rows
from jobs.sources import SCHEMAS, find_files, read_chunks, tables_of
from recsys.errors import SourceError
from recsys.files import fingerprint, read_json, write_json, written_whole
from recsys.schema import events_schema
from recsys.settings import Sources, Table

log = structlog.get_logger(__name__)

BROKEN_LINE = "line_is_whole"
RULE_WORDS = {"nullability": "is_given", "dtype": "is_readable"}


@dataclass(frozen=True)
class TableCount:
    """What became of the rows that one table read from one file."""

    file: str
    table: str
    kind: str
    rows: int
    accepted: int  # new to the lake
    duplicates: int  # valid, but there already, or twice in the file
    quarantined: int
    rules: dict[str, int] = field(default_factory=dict[str, int])  # rule broken -> rows; a row may break several


@dataclass(frozen=True)
class _Staged:
    """Checked rows of one table and file, on disk, not yet in the lake."""

    file: Path
    table: Table
    fingerprint: str
    directory: Path
    rows: int
    valid: int
    rules: dict[str, int]


def ingest(
    paths: tuple[str, ...],
    sources: Sources,
    lake: Lake,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> list[TableCount]:
    """Read every file under `paths` into the lake; events later than `latest` are quarantined.

    Files are read and checked before the first row enters the lake: when one cannot be read (`SourceError`),
    the lake is as it was. Reading the same file again changes nothing.
    """
    for table in sources.tables:
        check_table(table)
    named = {Path(path).resolve() for path in paths if Path(path).is_file()}
    with lake.locked(), tempfile.TemporaryDirectory(prefix=".staging-", dir=lake.directory) as scratch:
        staged: list[_Staged] = []
        for file in find_files(paths):
            tables = tables_of(file, sources)
            if not tables and file in named:
                expected = ", ".join(table.files for table in sources.tables) or "events*, items*, users*"
                raise SourceError(f"{file}: no table reads a file of this name; expected one like {expected}")
            for table in tables:
                place = Path(scratch) / f"{len(staged):04d}"
                staged.append(_stage(file, table, sources, latest, place, on_rows))
        if not staged:
            raise SourceError(f"{', '.join(paths)}: no table reads any of the files there")
        counts = [_commit(part, lake) for part in staged]
    return counts


def ingest_history(lake: Lake) -> list[TableCount]:
    """What every file ever taken in brought, in the order of file names."""
    records = sorted((lake.directory / "ingests").glob("*.json"))
    return [TableCount(**read_json(record)) for record in records]


def _stage(
    file: Path,
    table: Table,
    sources: Sources,
    latest: datetime,
    directory: Path,
    on_rows: Callable[[int], None],
) -> _Staged:
    """Read, map and check one table of one file, chunk by chunk, into `directory`."""
    schema = _schema(table, sources, latest)
    rules: Counter[str] = Counter()
    rows = valid = 0
    columns: dict[str, pl.DataType] = {}
    for part in ("valid", "quarantine"):
        (directory / part).mkdir(parents=True)
    for number, chunk in enumerate(read_chunks(file, table, sources.chunk_rows)):
        columns = columns or dict(chunk.rows.schema)
        mapped = _mapped(chunk.rows, columns, file, table, sources)
        good, failure = schema.filter(mapped, cast=True)
        broken = pl.DataFrame({"line": chunk.broken_lines}, schema={"line": pl.String})
        rows += mapped.height + broken.height
        valid += good.height
        rules.update(_readable(failure.counts()))
        rules.update({BROKEN_LINE: broken.height} if broken.height else {})
        good.write_parquet(directory / "valid" / f"{number:06d}.parquet")
        _quarantined(failure, broken).write_parquet(directory / "quarantine" / f"{number:06d}.parquet")
        on_rows(mapped.height)
    return _Staged(file, table, _fingerprint(file, table), directory, rows, valid, dict(rules))


def _schema(table: Table, sources: Sources, latest: datetime) -> type[dy.Schema]:
    return events_schema(sources.event_weights, latest) if table.kind == "events" else SCHEMAS[table.kind]


def _mapped(
    rows: pl.DataFrame, columns: dict[str, pl.DataType], file: Path, table: Table, sources: Sources
) -> pl.DataFrame:
    """The chunk in the contract's columns; a column the first chunk had and this one lacks is null."""
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in columns.items() if name not in rows.columns]
    try:
        return map_rows(rows.with_columns(absent), table, sources)
    except SourceError as error:
        raise SourceError(f"{file}: {error}") from None


def _readable(counts: dict[str, int]) -> dict[str, int]:
    """Rule names in words: `price|dtype` becomes `price_is_readable`."""
    return {_readable_rule(rule): count for rule, count in counts.items()}


def _readable_rule(rule: str) -> str:
    column, _, kind = rule.partition("|")
    return f"{column}_{RULE_WORDS.get(kind, kind)}" if kind else column


def _quarantined(failure: dy.FailureInfo, broken: pl.DataFrame) -> pl.DataFrame:
    """Rows that broke a rule, as text, with the rules' names; `line` holds what was no row at all."""
    details = failure.details()
    invalid = failure.invalid()
    rule_columns = [name for name in details.columns if name not in invalid.columns]
    names = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_readable_rule(rule))) for rule in rule_columns]
    rules = pl.concat_str(names, separator=", ", ignore_nulls=True) if names else pl.lit(None, pl.String)
    rows = details.select(rules.alias("rules"), *(_shown(name, dtype) for name, dtype in invalid.schema.items()))
    return pl.concat([rows, broken.with_columns(pl.lit(BROKEN_LINE).alias("rules"))], how="diagonal")


def _shown(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.String)).list.join(">").alias(name)
    return pl.col(name).cast(pl.String)


def _fingerprint(file: Path, table: Table) -> str:
    """Names what a table reads from a file: changes with the content of the file and with the mapping."""
    text = f"{fingerprint(file)} {sorted(asdict(table).items())!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _commit(staged: _Staged, lake: Lake) -> TableCount:
    """Move what was staged into the lake, its rejects into quarantine, and write down the counts."""
    kind = staged.table.kind
    valid = pl.scan_parquet(staged.directory / "valid" / "*.parquet")
    if kind == "events":
        accepted = lake.add_events(valid, staged.directory / "partitions", staged.fingerprint)
    else:
        accepted = lake.put(kind, valid.collect())
    rejects = pl.read_parquet(staged.directory / "quarantine" / "*.parquet", missing_columns="insert")
    name = f"{staged.table.name}-{staged.fingerprint}"
    if rejects.height:
        with written_whole(lake.directory / "quarantine" / f"{name}.parquet") as aside:
            rejects.write_parquet(aside)
    count = TableCount(
        file=staged.file.name,
        table=staged.table.name,
        kind=kind,
        rows=staged.rows,
        accepted=accepted,
        duplicates=staged.valid - accepted,
        quarantined=staged.rows - staged.valid,
        rules=staged.rules,
    )
    record = lake.directory / "ingests" / f"{name}.json"
    if not record.exists():
        write_json(record, asdict(count))
    log.debug("ingested", **asdict(count))
    return count
