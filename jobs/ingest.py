"""Files into the lake: rows that break a rule go to quarantine, a file that cannot be read stops it all."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

import dataframely as dy
import polars as pl
import structlog

from jobs.lake import TABLES, Lake, scan
from jobs.mapping import check_table, map_rows
from jobs.sources import SCHEMAS, Chunk, find_files, first_line, located, read_chunks, tables_of
from recsys.errors import SourceError
from recsys.files import fingerprint, read_json, write_json, written_whole
from recsys.schema import TIMESTAMP, events_schema
from recsys.settings import Sources, Table

log = structlog.get_logger(__name__)

BROKEN_LINE = "line_is_whole"
RULE_WORDS = {"nullability": "is_given", "dtype": "is_readable"}
UNREADABLE_TIME = f"{TIMESTAMP}|nullability"  # a time that cannot be read is null


@dataclass(frozen=True)
class TableCount:
    """What became of the rows that one table read from one file."""

    file: str
    table: str
    kind: str
    rows: int
    accepted: int  # events new to the lake; items and users, each once, put over what was known of them
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
    named = {located(Path(path)) for path in paths if Path(path).is_file()}
    with lake.locked() as scratch:
        staged: list[_Staged] = []
        for file in find_files(paths):
            tables = tables_of(file, sources)
            if not tables and file in named:
                expected = ", ".join(table.files for table in sources.tables) or "events*, items*, users*"
                raise SourceError(f"{file}: no table reads a file of this name; expected one like {expected}")
            for table in tables:
                place = scratch / f"{len(staged):04d}"
                staged.append(_stage(file, table, sources, latest, place, on_rows))
        if not staged:
            raise SourceError(f"{', '.join(paths)}: no table reads any of the files there")
        counts = [_commit(part, lake) for part in staged]
    return counts


def ingest_history(lake: Lake) -> list[TableCount]:
    """What every file ever taken in brought to the lake, all its ingests together, by table."""
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
    rules: Counter[str] = Counter()
    rows = valid = 0
    for part in ("valid", "quarantine"):
        (directory / part).mkdir(parents=True)
    schema = _schema(table, sources, latest)
    for number, chunk in enumerate(read_chunks(file, table, sources.chunk_rows)):
        good, failure = _checked(chunk, schema, file, table, sources)
        broken = pl.DataFrame({"line": chunk.broken_lines}, schema={"line": pl.String})
        rows += chunk.rows.height + broken.height
        valid += good.height
        rules.update({_readable_rule(rule): count for rule, count in failure.counts().items()})
        rules.update({BROKEN_LINE: broken.height} if broken.height else {})
        _last_of_each(good, table).write_parquet(directory / "valid" / f"{number:06d}.parquet")
        _quarantined(failure, broken).write_parquet(directory / "quarantine" / f"{number:06d}.parquet")
        on_rows(chunk.rows.height)
    return _Staged(file, table, _fingerprint(file, table, sources), directory, rows, valid, dict(rules))


def _schema(table: Table, sources: Sources, latest: datetime) -> type[dy.Schema]:
    return events_schema(sources.event_weights, latest) if table.kind == "events" else SCHEMAS[table.kind]


def _checked(
    chunk: Chunk, schema: type[dy.Schema], file: Path, table: Table, sources: Sources
) -> tuple[pl.DataFrame, dy.FailureInfo]:
    """The rows in the contract's columns that keep its rules, and what is known of those that do not."""
    try:
        return schema.filter(map_rows(chunk.rows, table, sources), cast=True)
    except SourceError as error:
        raise SourceError(f"{file}: {error}") from None
    except pl.exceptions.PolarsError as error:
        reason = first_line(error)
        raise SourceError(f"{file}: columns of table {table.name!r} cannot be computed: {reason}") from None


def _last_of_each(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Items and users are held whole later on, so a file that names each many times is thinned as it is read."""
    if table.kind == "events":
        return rows
    return rows.unique(TABLES[table.kind][1], keep="last", maintain_order=True)


def _readable_rule(rule: str) -> str:
    """A rule's name in words: `price|dtype` becomes `price_is_readable`."""
    column, _, kind = rule.replace(UNREADABLE_TIME, f"{TIMESTAMP}|dtype").partition("|")
    return f"{column}_{RULE_WORDS.get(kind, kind)}" if kind else column


def _quarantined(failure: dy.FailureInfo, broken: pl.DataFrame) -> pl.DataFrame:
    """Rows that broke a rule, as text, with the rules' names; `line` holds what was no row at all."""
    details = failure.details()
    invalid = failure.invalid()
    rule_columns = [name for name in details.columns if name not in invalid.columns]
    names = [pl.when(pl.col(rule) == "invalid").then(pl.lit(_readable_rule(rule))) for rule in rule_columns]
    rules = pl.concat_str(names, separator=", ", ignore_nulls=True)
    rows = details.select(rules.alias("rules"), *(_shown(name, dtype) for name, dtype in invalid.schema.items()))
    return pl.concat([rows, broken.with_columns(pl.lit(BROKEN_LINE).alias("rules"))], how="diagonal")


def _shown(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List):
        return pl.col(name).cast(pl.List(pl.String)).list.join(">").alias(name)
    return pl.col(name).cast(pl.String)


def _fingerprint(file: Path, table: Table, sources: Sources) -> str:
    """Names what a table reads from a file: changes with the file's name and content and with the mapping."""
    mapping = sorted(asdict(table).items())
    text = f"{file.name} {fingerprint(file)} {sources.time_zone} {mapping!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _commit(staged: _Staged, lake: Lake) -> TableCount:
    """Move what was staged into the lake, its rejects into quarantine, and write down the counts."""
    kind = staged.table.kind
    valid = scan(sorted((staged.directory / "valid").iterdir()))
    if kind == "events":
        accepted = lake.add_events(valid, staged.fingerprint)
        brought = lake.brought_by(staged.fingerprint)
    else:
        accepted = brought = lake.put(kind, valid.collect())
    name = f"{staged.table.name}-{staged.fingerprint}"
    _keep_rejects(staged, lake.directory / "quarantine" / f"{name}.parquet")
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
    # Fewer may be valid now than were once taken in: an event's name may have left the settings.
    history = replace(count, accepted=brought, duplicates=max(staged.valid - brought, 0))
    write_json(lake.directory / "ingests" / f"{name}.json", asdict(history))
    log.debug("ingested", **asdict(count))
    return count


def _keep_rejects(staged: _Staged, file: Path) -> None:
    """Write the rows that broke a rule to `file`; without any, it is not there."""
    if staged.rows == staged.valid:
        file.unlink(missing_ok=True)
        return
    with written_whole(file) as aside:
        scan(sorted((staged.directory / "quarantine").iterdir())).sink_parquet(aside)
